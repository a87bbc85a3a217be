//! Configuration files: the round's own, which is compiled into LoadGen, and the submitter's `user.conf`.
//!
//! LoadGen's parser ignores unknown keys, unknown benchmarks, and `a=b` without spaces; it reads `6e5` as 6
//! and `010` as 8. Every line is therefore checked here before LoadGen sees the file.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::ffi;
use crate::scenario::{Mode, Scenario};
use crate::settings::TestSettings;

/// The name of a benchmark in LoadGen's configuration, such as `llama3_1-8b`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Benchmark(String);

impl Benchmark {
    /// Looks a name up. LoadGen itself accepts any name, and silently runs a test without the benchmark's
    /// limits for a wrong one.
    ///
    /// ```
    /// use mlperf_loadgen::Benchmark;
    ///
    /// assert!(Benchmark::named("llama3_1-8b").is_ok());
    /// let error = Benchmark::named("llama3.1-8b").unwrap_err().to_string();
    /// assert!(error.contains("did you mean llama3_1-8b?"));
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownBenchmark`], with the nearest name.
    pub fn named(name: &str) -> Result<Self> {
        let all = Self::all();
        if let Some(known) = all.iter().find(|known| known.0 == name) {
            return Ok(known.clone());
        }
        let near = all.iter().min_by_key(|known| distance(name, &known.0));
        Err(Error::UnknownBenchmark {
            name: name.to_owned(),
            near: near.map(|near| near.0.clone()).unwrap_or_default(),
            known: all.iter().map(Benchmark::as_str).collect::<Vec<_>>().join(", "),
        })
    }

    /// All names in LoadGen's configuration, sorted.
    pub fn all() -> Vec<Self> {
        let names: BTreeSet<String> = mlperf_conf()
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|token| !token.starts_with('#'))
            // A benchmark's name may contain dots (wan-2.2-…); scenario and key do not.
            .filter_map(|key| key.rsplitn(3, '.').nth(2))
            .filter(|model| *model != "*")
            .map(str::to_owned)
            .collect();
        names.into_iter().map(Self).collect()
    }

    fn is_known(name: &str) -> bool {
        Self::all().iter().any(|known| known.0 == name)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Benchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text of the configuration that is compiled into LoadGen: the round's seeds, limits and counts.
pub fn mlperf_conf() -> String {
    ffi::mlperf_conf_text()
}

/// LoadGen's version, such as `6.0.17`.
pub fn loadgen_version() -> String {
    ffi::loadgen_version()
}

/// One line of a configuration file that sets a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigLine {
    /// Line number, counted from 1.
    pub line: usize,
    /// The benchmark, or `*`.
    pub model: String,
    /// The scenario, or `*`.
    pub scenario: String,
    /// The key.
    pub key: String,
    /// The value, as written.
    pub value: String,
}

impl fmt::Display for ConfigLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            model,
            scenario,
            key,
            value,
        } = self;
        write!(f, "line {line}: {model}.{scenario}.{key} = {value}")
    }
}

/// Which lines of a `user.conf` took effect. Show the unused ones to the user: a line without effect is often
/// a mistake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigReport {
    /// Lines that LoadGen used, in file order.
    pub applied: Vec<ConfigLine>,
    /// Lines that LoadGen did not use for this benchmark and scenario, with the reason.
    pub unused: Vec<(ConfigLine, String)>,
}

static USER_CONF_READ: AtomicBool = AtomicBool::new(false);

impl TestSettings {
    /// The settings that the round's configuration and a `user.conf` give for a benchmark and a scenario, by
    /// LoadGen's own `FromConfig`.
    ///
    /// The round's configuration is compiled into LoadGen; there is no way to pass another one. LoadGen takes
    /// one `user.conf` per process, so a second call with a file is refused; calls without one are free.
    ///
    /// Each line of the file is checked first. The following are errors, reported with file, line and a
    /// remedy: values that are not plain decimal numbers of the right kind (LoadGen reads `6e5` as 6 and
    /// `010` as 8), lines that LoadGen's parser fails on, and keys, benchmarks and scenarios that differ from
    /// a known one by a letter or two. Lines that LoadGen ignores are returned in the report with the reason:
    /// lines for other benchmarks or scenarios, unknown names that resemble no known one (MLCommons' own
    /// files have `expected_qps` and `performance_sample_count`), and keys that LoadGen takes only from the
    /// round's configuration, such as the seeds.
    ///
    /// Limits: 1 MiB and 10,000 lines.
    ///
    /// The mode is [`Mode::Performance`], unless the file sets it.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::ConfigReadTwice`], [`Error::ReadLog`] or [`Error::FromConfig`].
    pub fn from_config(
        benchmark: &Benchmark,
        scenario: Scenario,
        user_conf: Option<&Path>,
    ) -> Result<(Self, ConfigReport)> {
        let settings = Self::new(scenario, Mode::Performance).to_raw();
        let (path, kind, report) = match user_conf {
            None => ("", 0, ConfigReport::default()),
            Some(path) => {
                let text = read(path)?;
                let report = sort_lines(&parse(path, &text)?, benchmark.as_str(), scenario);
                let unicode = path.to_str().ok_or_else(|| Error::Config {
                    path: path.to_owned(),
                    line: 0,
                    problem: "the file's path is not UTF-8".to_owned(),
                })?;
                if USER_CONF_READ.swap(true, Ordering::AcqRel) {
                    return Err(Error::ConfigReadTwice);
                }
                (unicode, 1, report)
            }
        };
        let read = ffi::from_config(settings, path, benchmark.as_str(), scenario.as_str(), kind)
            .map_err(|error| Error::LoadGen(error.what().to_owned()))?;
        if read.code != 0 {
            return Err(Error::FromConfig {
                path: path.into(),
                code: read.code,
            });
        }
        Ok((Self::from_raw(&read.settings), report))
    }
}

/// Checks an audit configuration by the same rules; LoadGen reads it itself when the test starts.
pub(crate) fn check_audit_config(path: &Path) -> Result<()> {
    parse(path, &read(path)?).map(drop)
}

/// Largest configuration file, in bytes and in lines; the longest published files have a few hundred lines.
const MOST_BYTES: u64 = 1 << 20;
const MOST_LINES: usize = 10_000;

fn read(path: &Path) -> Result<String> {
    let failed = |source| Error::ReadLog {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let bad = |line, problem: String| Error::Config {
        path: path.to_owned(),
        line,
        problem,
    };
    if bytes.len() as u64 > MOST_BYTES {
        return Err(bad(1, format!("the file is longer than {MOST_BYTES} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let start = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = start.iter().filter(|byte| **byte == b'\n').count() + 1;
        bad(line, "the line is not UTF-8".to_owned())
    })?;
    match text.lines().count() {
        lines if lines > MOST_LINES => Err(bad(
            MOST_LINES + 1,
            format!("the file has {lines} lines, where {MOST_LINES} are allowed"),
        )),
        _ => Ok(text),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// 0 or 1.
    Flag,
    /// A whole number; LoadGen truncates a fraction or an exponent.
    Count,
    /// Milliseconds that LoadGen reads as a whole number.
    Millis,
    /// A number above 0.
    Rate,
    /// Above 0 and below 100.
    Percentile,
    /// 0 to 3.
    Mode,
}

use Scenario::{MultiStream, Offline, Server, SingleStream};

/// Keys that LoadGen's `FromConfig` reads from a user's file. If scenarios are listed, it looks the key up
/// only under these, otherwise under the scenario that is run.
const KEYS: &[(&str, Kind, &[Scenario])] = &[
    ("mode", Kind::Mode, &[]),
    ("use_token_latencies", Kind::Flag, &[]),
    ("ttft_latency", Kind::Millis, &[Server]),
    ("tpot_latency", Kind::Millis, &[Server]),
    ("infer_token_latencies", Kind::Flag, &[]),
    ("token_latency_scaling_factor", Kind::Count, &[]),
    (
        "target_latency_percentile",
        Kind::Percentile,
        &[SingleStream, MultiStream, Server],
    ),
    ("samples_per_query", Kind::Count, &[MultiStream]),
    // A whole number in Server, where it is a limit; elsewhere it is an estimate and may have a fraction.
    ("target_latency", Kind::Rate, &[SingleStream, MultiStream, Server]),
    ("performance_issue_unique", Kind::Flag, &[]),
    ("performance_issue_same", Kind::Flag, &[]),
    ("performance_issue_same_index", Kind::Count, &[]),
    ("sample_concatenate_permutation", Kind::Flag, &[]),
    ("coalesce_queries", Kind::Flag, &[Server]),
    ("max_async_queries", Kind::Count, &[Server]),
    ("min_duration", Kind::Millis, &[]),
    ("max_duration", Kind::Millis, &[]),
    ("min_query_count", Kind::Count, &[]),
    ("max_query_count", Kind::Count, &[]),
    ("performance_sample_count_override", Kind::Count, &[]),
    ("accuracy_sample_count_override", Kind::Count, &[]),
    ("target_qps", Kind::Rate, &[Server, Offline]),
    ("print_timestamps", Kind::Flag, &[]),
    ("accuracy_log_rng_seed", Kind::Count, &[]),
    ("accuracy_log_sampling_target", Kind::Count, &[]),
];

/// Keys that LoadGen reads only from the round's configuration.
const ROUND_ONLY: &[&str] = &[
    "qsl_rng_seed",
    "sample_index_rng_seed",
    "schedule_rng_seed",
    "accuracy_log_probability",
    "test05",
    "test05_qsl_rng_seed",
    "test05_sample_index_rng_seed",
    "test05_schedule_rng_seed",
];

fn parse(path: &Path, text: &str) -> Result<Vec<ConfigLine>> {
    let models: Vec<Benchmark> = Benchmark::all();
    let mut lines = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let bad = |problem: String| Error::Config {
            path: path.to_owned(),
            line: i + 1,
            problem,
        };
        if let Some(parsed) = parse_line(i + 1, line, &models).map_err(bad)? {
            lines.push(parsed);
        }
    }
    Ok(lines)
}

fn parse_line(number: usize, line: &str, models: &[Benchmark]) -> Result<Option<ConfigLine>, String> {
    let tokens: Vec<&str> = line.split_whitespace().collect();
    let (path, value) = match tokens.as_slice() {
        [] | ["#", ..] => return Ok(None),
        [glued, rest @ ..] if glued.starts_with('#') => {
            // LoadGen takes "#word" for a key and then expects an equals sign.
            return match rest {
                [] | ["=", _] => Ok(None),
                _ => Err("LoadGen takes a line for a comment only if a blank follows the '#'".to_owned()),
            };
        }
        [path, "=", value] => (*path, *value),
        [path, "=", _, ..] => {
            return Err(format!(
                "{path} takes one number and nothing behind it, not even a comment"
            ));
        }
        _ => return Err("expected `model.scenario.key = number`, with blanks around '='".to_owned()),
    };

    let mut parts = path.rsplitn(3, '.');
    let (Some(key), Some(scenario), Some(model)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(format!("{path} is not of the form model.scenario.key"));
    };
    let known = |what: &str, word: &str, all: &mut dyn Iterator<Item = &str>| match Known::of(word, all) {
        Known::Typo(near) => Err(format!(
            "LoadGen knows no {what} {word:?} in {path}; did you mean {near}?"
        )),
        known => Ok(known == Known::Yes),
    };
    let scenarios = &mut Scenario::ALL.iter().map(|known| known.as_str());
    known("benchmark", model, &mut models.iter().map(Benchmark::as_str))?;
    known("scenario", scenario, scenarios)?;
    let keys = &mut KEYS
        .iter()
        .map(|(known, ..)| *known)
        .chain(ROUND_ONLY.iter().copied());
    known("key", key, keys)?;
    if let Some((_, kind, _)) = KEYS.iter().find(|(known, ..)| *known == key) {
        let limit_of_server = key == "target_latency" && (scenario == "Server" || scenario == "*");
        check_value(key, value, if limit_of_server { Kind::Millis } else { *kind })?;
    } else if value.parse::<f64>().is_err() {
        // LoadGen reads no settings from a file with such a line.
        return Err(format!("{key} wants a number, not {value:?}"));
    }
    Ok(Some(ConfigLine {
        line: number,
        model: model.to_owned(),
        scenario: scenario.to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    }))
}

/// Whether a word is known.
#[derive(Debug, PartialEq)]
enum Known {
    Yes,
    No,
    /// Similar enough to this known word to be a typing mistake.
    Typo(String),
}

impl Known {
    fn of(word: &str, all: &mut dyn Iterator<Item = &str>) -> Self {
        let mut near = None;
        for known in all {
            if word == "*" || known == word {
                return Self::Yes;
            }
            if known.len().abs_diff(word.len()) <= TYPO && distance(word, known) <= TYPO {
                near = near.or(Some(known.to_owned()));
            }
        }
        near.map_or(Self::No, Self::Typo)
    }
}

/// Largest edit distance that counts as a typing mistake.
const TYPO: usize = 2;

fn check_value(key: &str, value: &str, kind: Kind) -> Result<(), String> {
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    // LoadGen reads a leading zero as octal and 0x as hexadecimal.
    let whole = digits && (value == "0" || !value.starts_with('0'));
    let number: Option<f64> = value
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        .then(|| value.parse().ok())
        .flatten();
    let want = match kind {
        Kind::Flag if value == "0" || value == "1" => return Ok(()),
        Kind::Flag => "0 or 1",
        Kind::Mode if matches!(value, "0" | "1" | "2" | "3") => return Ok(()),
        Kind::Mode => "0 (submission), 1 (accuracy), 2 (performance) or 3 (find peak)",
        Kind::Count if whole && value.parse::<u64>().is_ok() => return Ok(()),
        Kind::Count => "a whole decimal number",
        Kind::Millis if whole && value.parse::<u64>().is_ok_and(|ms| ms < u64::MAX / 1_000_000) => {
            return Ok(());
        }
        Kind::Millis => "a whole decimal number of milliseconds",
        Kind::Rate if number.is_some_and(|n| n > 0.0 && n.is_finite()) => return Ok(()),
        Kind::Rate => "a number above 0",
        Kind::Percentile if number.is_some_and(|n| n > 0.0 && n < 100.0) => return Ok(()),
        Kind::Percentile => "a percentile above 0 and below 100",
    };
    let meant = number.filter(|n| *n >= 0.0 && n.fract() == 0.0 && *n <= 9e15);
    Err(match (kind, meant, loadgen_reads(value)) {
        (Kind::Count | Kind::Millis, Some(meant), Some(read)) => format!(
            "{key} wants {want}, not {value:?}: LoadGen would read {read}; write {meant:.0} if that is meant"
        ),
        _ => format!("{key} wants {want}, not {value:?}"),
    })
}

/// The whole number that LoadGen parses from a text: C's `strtoull` with base 0.
fn loadgen_reads(value: &str) -> Option<u64> {
    let (digits, radix) = match value.strip_prefix("0x").or(value.strip_prefix("0X")) {
        Some(hexadecimal) => (hexadecimal, 16),
        None if value.starts_with('0') => (value, 8),
        None => (value, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    u64::from_str_radix(&digits[..end], radix).ok()
}

/// Sorts lines by whether LoadGen uses them, by LoadGen's own rule: the most specific key wins, with the
/// model before the scenario; among equal keys, the last wins.
fn sort_lines(lines: &[ConfigLine], model: &str, scenario: Scenario) -> ConfigReport {
    // 0 is the most specific match.
    let rank = |line: &ConfigLine| match (line.model.as_str(), line.scenario.as_str()) {
        (m, s) if m == model && s == scenario.as_str() => Some(0),
        ("*", s) if s == scenario.as_str() => Some(1),
        (m, "*") if m == model => Some(2),
        ("*", "*") => Some(3),
        _ => None,
    };
    // The winning line for each key.
    let mut winners: HashMap<&str, (u8, usize)> = HashMap::new();
    for line in lines {
        if let Some(rank) = rank(line) {
            let winner = winners.entry(&line.key).or_insert((rank, line.line));
            if rank <= winner.0 {
                *winner = (rank, line.line);
            }
        }
    }
    let mut report = ConfigReport::default();
    for line in lines {
        let key = KEYS.iter().find(|(key, ..)| *key == line.key);
        let winner = winners.get(line.key.as_str()).map(|(_, line)| *line);
        let reason = if line.model != "*" && line.model != model {
            Some(match Benchmark::is_known(&line.model) {
                true => format!("is for {}, not {model}", line.model),
                false => format!("does nothing: LoadGen knows no benchmark {}", line.model),
            })
        } else if line.scenario != "*" && line.scenario != scenario.as_str() {
            Some(match Scenario::ALL.iter().any(|s| s.as_str() == line.scenario) {
                true => format!("is for {}, not {scenario}", line.scenario),
                false => format!("does nothing: LoadGen knows no scenario {}", line.scenario),
            })
        } else if ROUND_ONLY.contains(&line.key.as_str()) {
            Some("does nothing: LoadGen takes this key from its own configuration only".to_owned())
        } else if let Some((_, _, scenarios)) = key {
            if !scenarios.is_empty() && !scenarios.contains(&scenario) {
                Some(format!("has no meaning in {scenario}"))
            } else {
                winner
                    .filter(|winner| *winner != line.line)
                    .map(|winner| format!("is overridden by line {winner}"))
            }
        } else {
            Some("does nothing: LoadGen has no such key".to_owned())
        };
        match reason {
            None => report.applied.push(line.clone()),
            Some(reason) => report.unused.push((line.clone(), reason)),
        }
    }
    report
}

/// Edit distance, to name the nearest known word.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn problem(line: &str) -> String {
        let path = Path::new("user.conf");
        match parse(path, &format!("# first line\n{line}\n")) {
            Ok(lines) => format!("accepted: {lines:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_line_that_loadgen_would_misread_is_refused_with_file_line_and_key() {
        for (line, expected) in [
            (
                "*.Server.target_qsp = 5",
                "user.conf, line 2: LoadGen knows no key \"target_qsp\" in *.Server.target_qsp; did you mean target_qps?",
            ),
            ("llama3.1-8b.Server.target_qps = 5", "did you mean llama3_1-8b?"),
            ("llama3_1-8b.Sever.target_qps = 5", "no scenario \"Sever\""),
            ("*.Server.target_qps=5", "expected `model.scenario.key = number`"),
            ("*.Server.target_qps = 5 # fast", "nothing behind it"),
            (
                "*.Server.target_qps = five",
                "target_qps wants a number above 0, not \"five\"",
            ),
            ("*.Server.target_qps = 0", "target_qps wants a number above 0"),
            ("*.Server.target_qps = inf", "target_qps wants a number above 0"),
            (
                "*.Server.min_duration = 6e5",
                "whole decimal number of milliseconds",
            ),
            (
                "*.Server.min_duration = 010",
                "whole decimal number of milliseconds",
            ),
            (
                "*.Server.min_duration = -1",
                "whole decimal number of milliseconds",
            ),
            ("*.Server.target_latency_percentile = 100", "below 100"),
            (
                "*.Server.target_latency = 1.5",
                "whole decimal number of milliseconds",
            ),
            (
                "*.Server.min_duration = 6e5",
                "LoadGen would read 6; write 600000 if that is meant",
            ),
            (
                "*.Server.min_query_count = 010",
                "LoadGen would read 8; write 10 if that is meant",
            ),
            ("*.*.qsl_rng_sed = 1", "did you mean qsl_rng_seed?"),
            ("*.Offline.expected_qps = fast", "wants a number"),
            ("*.*.mode = 7", "mode wants 0"),
            ("target_qps = 5", "not of the form model.scenario.key"),
            ("#old *.Server.target_qps = 5", "a blank follows"),
        ] {
            let message = problem(line);
            assert!(message.contains(expected), "{line}\n{message}");
        }
        assert!(problem("*.SingleStream.target_latency = 1.5").starts_with("accepted"));
        assert!(problem("#").starts_with("accepted"));
    }

    #[test]
    fn loadgens_rule_of_precedence_decides_what_is_applied() {
        let text = "*.*.min_duration = 1\n\
                    *.Server.min_duration = 2\n\
                    llama3_1-8b.*.min_duration = 3\n\
                    llama3_1-8b.Server.target_qps = 4\n\
                    llama3_1-8b.Server.target_qps = 5\n\
                    llama2-70b.Server.target_qps = 6\n\
                    *.Offline.target_qps = 7\n\
                    *.Server.samples_per_query = 8\n";
        let report = sort_lines(
            &parse(Path::new("x"), text).unwrap(),
            "llama3_1-8b",
            Scenario::Server,
        );
        let applied: Vec<usize> = report.applied.iter().map(|line| line.line).collect();
        assert_eq!(applied, [2, 5]);
        let reasons: Vec<String> = report
            .unused
            .iter()
            .map(|(l, r)| format!("{} {r}", l.line))
            .collect();
        assert_eq!(
            reasons,
            [
                "1 is overridden by line 2",
                "3 is overridden by line 2",
                "4 is overridden by line 5",
                "6 is for llama2-70b, not llama3_1-8b",
                "7 is for Offline, not Server",
                "8 has no meaning in Server",
            ]
        );
    }

    #[test]
    fn lines_of_published_files_that_loadgen_ignores_are_remarks() {
        let text = "gpt-oss-120b.*.performance_sample_count = 6396\n\
                    *.Offline.expected_qps = 80\n\
                    *.*.target_duration = 600000\n\
                    llama2-70b-low-latency.Server.target_qps = 1\n\
                    *.Interactive.target_qps = 2\n\
                    *.*.qsl_rng_seed = 1\n\
                    *.Offline.target_qps = 9\n";
        let lines = parse(Path::new("user.conf"), text).unwrap();
        let report = sort_lines(&lines, "gpt-oss-120b", Scenario::Offline);
        let applied: Vec<usize> = report.applied.iter().map(|line| line.line).collect();
        assert_eq!(applied, [7]);
        let reasons: Vec<&str> = report.unused.iter().map(|(_, reason)| reason.as_str()).collect();
        assert_eq!(
            reasons,
            [
                "does nothing: LoadGen has no such key",
                "does nothing: LoadGen has no such key",
                "does nothing: LoadGen has no such key",
                "does nothing: LoadGen knows no benchmark llama2-70b-low-latency",
                "does nothing: LoadGen knows no scenario Interactive",
                "does nothing: LoadGen takes this key from its own configuration only",
            ]
        );
    }

    #[test]
    fn a_file_has_a_longest_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("user.conf");
        fs::write(&path, "*.*.min_query_count = 1\n".repeat(MOST_LINES)).unwrap();
        let lines = parse(&path, &read(&path).unwrap()).unwrap();
        let report = sort_lines(&lines, "llama3_1-8b", Scenario::Server);
        assert_eq!((report.applied.len(), report.unused.len()), (1, MOST_LINES - 1));
        fs::write(&path, "*.*.min_query_count = 1\n".repeat(MOST_LINES + 1)).unwrap();
        let refused = read(&path).unwrap_err().to_string();
        assert!(refused.contains("user.conf, line 10001"), "{refused}");
        fs::write(&path, b"# ok\n\xff\n").unwrap();
        assert!(
            read(&path)
                .unwrap_err()
                .to_string()
                .contains("line 2: the line is not UTF-8")
        );
    }

    #[test]
    fn the_rounds_configuration_gives_a_benchmark_its_limits() {
        let benchmark = Benchmark::named("llama3_1-8b").unwrap();
        let (settings, report) = TestSettings::from_config(&benchmark, Scenario::Server, None).unwrap();
        assert_eq!(report, ConfigReport::default());
        assert!(settings.use_token_latencies && settings.needs_first_token());
        assert_eq!(settings.server_ttft_latency, Duration::from_secs(2));
        assert_eq!(settings.server_tpot_latency, Duration::from_millis(100));
        assert_eq!(settings.min_duration, Duration::from_secs(600));
        assert_eq!(settings.performance_sample_count_override, Some(13_368));
        assert_eq!(settings.qsl_rng_seed, 2_085_463_073_848_966_840);
        let (offline, _) = TestSettings::from_config(&benchmark, Scenario::Offline, None).unwrap();
        assert_eq!(offline.min_query_count, 13_368);
        assert!(!offline.needs_first_token());
    }

    #[test]
    fn names_with_dots_are_known_and_the_wildcard_is_not_a_benchmark() {
        let all = Benchmark::all();
        assert!(
            all.iter().any(|known| known.as_str() == "wan-2.2-t2v-a14b"),
            "{all:?}"
        );
        assert!(all.iter().all(|known| known.as_str() != "*"), "{all:?}");
        assert!(Benchmark::named("*").is_err());
    }

    #[test]
    fn keys_that_this_crate_accepts_are_keys_that_loadgen_reads() {
        // Every key of the round's configuration is known and changes LoadGen's settings.
        for line in mlperf_conf().lines() {
            let Some(key) = line
                .split_whitespace()
                .next()
                .and_then(|path| path.rsplit('.').next())
            else {
                continue;
            };
            if !line.contains('=') || line.starts_with('#') {
                continue;
            }
            let known = KEYS.iter().any(|(known, ..)| *known == key) || ROUND_ONLY.contains(&key);
            // This key is in the file, but LoadGen never reads it.
            assert!(known || key == "target_duration", "{line}");
        }
    }

    #[test]
    fn edit_distance() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
