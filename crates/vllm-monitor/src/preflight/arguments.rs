//! The server's arguments against those that its version knows. The table is data: `data/arguments-0.32.csv`, taken
//! from the parser of vLLM 0.32.

use super::{Change, Facts, Finding};

const TABLE: &str = include_str!("../../data/arguments-0.32.csv");

/// Arguments of older releases that 0.32 no longer knows, and what takes their place.
const GONE: &[(&str, &str)] = &[
    (
        "--swap-space",
        "leave it out: preempted requests are computed again, not swapped",
    ),
    (
        "--num-scheduler-steps",
        "leave it out: scheduling is asynchronous by itself",
    ),
    ("--use-v2-block-manager", "leave it out"),
    (
        "--preemption-mode",
        "leave it out: preempted requests are computed again",
    ),
    ("--guided-decoding-backend", "use --structured-outputs-config"),
    ("--task", "use --runner and --convert"),
    ("--max-seq-len-to-capture", "use --max-cudagraph-capture-size"),
    (
        "--disable-log-requests",
        "leave it out: requests are not logged unless --enable-log-requests is given",
    ),
    ("--enable-reasoning", "leave it out: --reasoning-parser is enough"),
    ("--speculative-model", "use --speculative-config"),
    ("--rope-scaling", "use --hf-overrides"),
    ("--device", "leave it out: the platform decides"),
];

/// Arguments of the monitor, taken out before the server is started.
const OURS: &[&str] = &[
    "--enable-monitoring",
    "--enable-auto-mitigation",
    "--enable-predictive-detection",
    "--enable-continuous-learning",
    "--monitor-config",
];

/// What an argument takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    None,
    /// Nothing; it can be turned off with `--no-`.
    Switch,
    /// One value.
    One,
    /// One value or none.
    Optional,
    /// One or more values.
    Many,
}

/// One argument of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name, with dashes.
    pub flag: &'static str,
    /// Other names.
    pub aliases: Vec<&'static str>,
    /// What it takes.
    pub value: Value,
    /// The values that it may have; empty if there is no fixed set.
    pub choices: Vec<&'static str>,
}

/// The arguments of one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgumentTable {
    arguments: Vec<Argument>,
    /// The table is that of the server's own release.
    is_exact: bool,
}

/// vLLM's port unless `--port` is given.
const PORT: u16 = 8000;

/// Arguments as the server would read them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParsedArguments {
    /// Flag and values, in order; flags by their canonical names.
    pub given: Vec<(String, Vec<String>)>,
    /// Arguments without a flag, such as the model.
    pub positional: Vec<String>,
    /// What is wrong: the argument and why.
    pub problems: Vec<(String, String)>,
    /// The monitor's own arguments.
    pub ours: Vec<String>,
    is_exact: bool,
}

impl ArgumentTable {
    /// The table for a version. There is one, of 0.32; for other versions its answers are not exact.
    pub fn for_version(version: Option<&str>) -> Self {
        let arguments = TABLE
            .lines()
            .skip(1)
            .map(|line| row(line).expect("a test reads every row"))
            .collect();
        Self {
            arguments,
            is_exact: version.is_some_and(|version| version.starts_with("0.32")),
        }
    }

    /// All arguments.
    pub fn arguments(&self) -> &[Argument] {
        &self.arguments
    }

    /// Reads a command line as vLLM's parser does: underscores stand for dashes, a prefix that fits one argument only
    /// is that argument, and keys of an argument that takes JSON may be given with dots.
    ///
    /// ```
    /// use vllm_monitor::preflight::ArgumentTable;
    ///
    /// let line = ["tiny", "--max_model_len=2048", "-tp", "2", "--no-enable-prefix-caching", "--sway"];
    /// let parsed = ArgumentTable::for_version(Some("0.32.0")).parse(&line.map(String::from));
    /// assert_eq!(parsed.number("--tensor-parallel-size"), Some(2.0));
    /// assert_eq!(parsed.number("--max-model-len"), Some(2048.0));
    /// assert_eq!(parsed.problems[0].0, "--sway");
    /// ```
    pub fn parse(&self, line: &[String]) -> ParsedArguments {
        let mut parsed = ParsedArguments {
            is_exact: self.is_exact,
            ..ParsedArguments::default()
        };
        let mut rest = line.iter().peekable();
        while let Some(word) = rest.next() {
            let is_flag = word.starts_with('-') && word.parse::<f64>().is_err() && word.len() > 1;
            if !is_flag {
                parsed.positional.push(word.clone());
                continue;
            }
            let (name, mut values) = match word.split_once('=') {
                Some((name, value)) => (canonical(name), vec![value.to_owned()]),
                // `-O3` is `--optimization-level 3`.
                None if word.starts_with("-O") && word.len() > 2 => {
                    ("--optimization-level".to_owned(), vec![word[2..].to_owned()])
                }
                None => (canonical(word), Vec::new()),
            };
            let is_inline = !values.is_empty();
            if OURS.contains(&name.as_str()) {
                parsed.ours.push(word.clone());
                if name == "--monitor-config" && !is_inline {
                    parsed
                        .ours
                        .extend(rest.next_if(|next| !next.starts_with('-')).cloned());
                }
                continue;
            }
            let Some((argument, is_negated)) = self.find(&name) else {
                parsed.problems.push((name.clone(), self.unknown(&name)));
                while rest.next_if(|next| !next.starts_with('-')).is_some() {}
                continue;
            };
            let most = match argument.value {
                _ if is_negated || is_inline => 0,
                Value::None | Value::Switch => 0,
                Value::One | Value::Optional => 1,
                Value::Many => usize::MAX,
            };
            while values.len() < most + usize::from(is_inline)
                && let Some(value) =
                    rest.next_if(|next| !next.starts_with('-') || next.parse::<f64>().is_ok())
            {
                values.push(value.clone());
            }
            let takes_value = matches!(argument.value, Value::One | Value::Many) && !is_negated;
            if takes_value && values.is_empty() {
                parsed.problems.push((name.clone(), "needs a value".to_owned()));
            }
            if matches!(argument.value, Value::None | Value::Switch) && is_inline {
                parsed.problems.push((name.clone(), "takes no value".to_owned()));
            }
            if let Some(value) = values
                .iter()
                .find(|v| !argument.choices.is_empty() && !argument.choices.contains(&v.as_str()))
            {
                let words = format!("`{value}` is not one of {}", argument.choices.join(", "));
                parsed.problems.push((name.clone(), words));
            }
            if is_negated {
                values = vec!["false".to_owned()];
            }
            parsed.given.push((argument.flag.to_owned(), values));
        }
        parsed
    }

    fn find(&self, name: &str) -> Option<(&Argument, bool)> {
        // `--compilation-config.mode` sets a key of `--compilation-config`.
        let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
        let stem = if stem == "-O" {
            "--optimization-level"
        } else {
            stem
        };
        if let Some(argument) = self.exact(stem) {
            return Some((argument, false));
        }
        if let Some(rest) = stem.strip_prefix("--no-")
            && let Some(argument) = self
                .exact(&format!("--{rest}"))
                .filter(|a| a.value == Value::Switch)
        {
            return Some((argument, true));
        }
        let mut starts = self
            .arguments
            .iter()
            .filter(|a| stem.len() > 3 && a.flag.starts_with(stem));
        match (starts.next(), starts.next()) {
            (Some(only), None) => Some((only, false)),
            _ => None,
        }
    }

    fn exact(&self, name: &str) -> Option<&Argument> {
        self.arguments
            .iter()
            .find(|a| a.flag == name || a.aliases.contains(&name))
    }

    fn unknown(&self, name: &str) -> String {
        if let Some((_, instead)) = GONE.iter().find(|(gone, _)| *gone == name) {
            return format!("no longer known: {instead}");
        }
        let nearest = self
            .arguments
            .iter()
            .map(|a| (distance(a.flag, name), a.flag))
            .min();
        match nearest {
            Some((distance, flag)) if distance <= 3 => format!("not known; did you mean {flag}?"),
            _ => "not known".to_owned(),
        }
    }
}

impl ParsedArguments {
    /// The last value of an argument.
    pub fn value(&self, flag: &str) -> Option<&str> {
        let (_, values) = self.given.iter().rev().find(|(given, _)| given == flag)?;
        values.last().map(String::as_str)
    }

    /// The port that the server would listen on: vLLM's default unless `--port` is given.
    pub fn port(&self) -> u16 {
        self.number("--port").map_or(PORT, |port| port as u16)
    }

    /// The last value as a number; `4k` is 4,000 and `4K` is 4,096.
    pub fn number(&self, flag: &str) -> Option<f64> {
        let text = self.value(flag)?.trim();
        let (digits, factor) = match text.chars().last()? {
            'k' => (&text[..text.len() - 1], 1e3),
            'm' => (&text[..text.len() - 1], 1e6),
            'g' => (&text[..text.len() - 1], 1e9),
            'K' => (&text[..text.len() - 1], 1024.0),
            'M' => (&text[..text.len() - 1], 1024.0 * 1024.0),
            'G' => (&text[..text.len() - 1], 1024.0 * 1024.0 * 1024.0),
            _ => (text, 1.0),
        };
        digits.parse::<f64>().ok().map(|number| number * factor)
    }
}

pub(super) fn check(facts: &Facts, parsed: &ParsedArguments) -> Vec<Finding> {
    let mut findings: Vec<Finding> = parsed
        .problems
        .iter()
        .map(|(argument, problem)| {
            let what = format!("{argument}: {problem}");
            if parsed.is_exact {
                let finding = Finding::blocks("arguments", what)
                    .way_out("correct or remove it: vLLM refuses to start with it");
                let is_gone = GONE.iter().any(|(gone, _)| gone == argument);
                if is_gone {
                    // The feature no longer exists, but the command line is the user's, so the fix is not marked safe.
                    let change = Change::Argument {
                        flag: argument.clone(),
                        value: String::new(),
                    };
                    finding.fix(change, false, format!("put {argument} back"))
                } else {
                    finding
                }
            } else {
                Finding::unknown("arguments", format!("{what} (in 0.32; this is another version)"))
            }
        })
        .collect();
    if findings.is_empty() {
        findings.push(if facts.arguments.is_empty() {
            Finding::unknown("arguments", "no arguments were given to look at")
        } else {
            Finding::pass("arguments", format!("{} arguments are known", parsed.given.len()))
        });
    }
    findings
}

fn canonical(name: &str) -> String {
    // Only up to the first dot: what follows is a key of JSON.
    let (stem, rest) = name
        .split_once('.')
        .map_or((name, None), |(stem, rest)| (stem, Some(rest)));
    let stem = if stem.starts_with("--") {
        stem.replace('_', "-")
    } else {
        stem.to_owned()
    };
    match rest {
        Some(rest) => format!("{stem}.{rest}"),
        None => stem,
    }
}

fn row(line: &'static str) -> Option<Argument> {
    let mut cells = line.split(',');
    let (flag, aliases, value, choices) = (cells.next()?, cells.next()?, cells.next()?, cells.next()?);
    let words =
        |text: &'static str, separator| text.split(separator).filter(|w: &&str| !w.is_empty()).collect();
    Some(Argument {
        flag,
        aliases: words(aliases, ' '),
        value: match value {
            "none" => Value::None,
            "switch" => Value::Switch,
            "one" => Value::One,
            "optional" => Value::Optional,
            "many" => Value::Many,
            _ => return None,
        },
        choices: words(choices, '|'),
    })
}

/// Edits that make one word of another.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            row.push(
                (before[j] + usize::from(x != *y))
                    .min(before[j + 1] + 1)
                    .min(row[j] + 1),
            );
        }
        before = row;
    }
    before[b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    fn parse(line: &[&str]) -> ParsedArguments {
        let line: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
        ArgumentTable::for_version(Some("0.32.0")).parse(&line)
    }

    #[test]
    fn the_table_is_sound() {
        let table = ArgumentTable::for_version(None);
        assert!(table.arguments().len() > 300);
        for argument in table.arguments() {
            assert!(argument.flag.starts_with("--"), "{argument:?}");
            assert_eq!(
                table.exact(argument.flag),
                Some(argument),
                "twice: {}",
                argument.flag
            );
        }
        for (gone, _) in GONE {
            assert!(table.exact(gone).is_none(), "{gone} is still known");
        }
    }

    #[test]
    fn spellings_that_vllm_understands() {
        let parsed = parse(&[
            "model/name",
            "--max_num_seqs",
            "16",
            "--tensor-parallel=2",
            "-O3",
            "--compilation-config.mode",
            "3",
            "--served-model-name",
            "a",
            "b",
            "--enable-prefix-caching",
            "--seed",
            "-1",
        ]);
        assert_eq!(parsed.problems, []);
        assert_eq!(parsed.positional, ["model/name"]);
        assert_eq!(parsed.number("--tensor-parallel-size"), Some(2.0));
        assert_eq!(parsed.value("--served-model-name"), Some("b"));
        assert_eq!(parsed.number("--seed"), Some(-1.0));
        assert_eq!(
            parse(&["--max-model-len", "32K"]).number("--max-model-len"),
            Some(32_768.0)
        );
    }

    #[test]
    fn mistakes_are_named_with_a_way_out() {
        for (line, words) in [
            (
                &["--gpu-memory-utilisation", "0.9"][..],
                "did you mean --gpu-memory-utilization?",
            ),
            (&["--swap-space", "4"], "computed again"),
            (&["--dtype", "bf16"], "`bf16` is not one of"),
            (&["--port"], "needs a value"),
            (&["--headless=1"], "takes no value"),
            (&["--max"], "not known"),
        ] {
            let parsed = parse(line);
            assert_eq!(parsed.problems.len(), 1, "{line:?}: {:?}", parsed.problems);
            assert!(
                parsed.problems[0].1.contains(words),
                "{line:?}: {:?}",
                parsed.problems
            );
        }
    }

    #[test]
    fn our_own_arguments_are_taken_out() {
        let parsed = parse(&[
            "m",
            "--enable-monitoring",
            "--monitor-config",
            "a.toml",
            "--port",
            "8000",
        ]);
        assert_eq!(parsed.ours, ["--enable-monitoring", "--monitor-config", "a.toml"]);
        assert_eq!(
            (parsed.problems.len(), parsed.number("--port")),
            (0, Some(8000.0))
        );
    }

    #[test]
    fn for_another_version_nothing_is_sure() {
        let facts = Facts {
            arguments: vec!["--swap-space".into(), "4".into()],
            ..Facts::default()
        };
        let parsed = ArgumentTable::for_version(Some("0.8.5")).parse(&facts.arguments);
        assert_eq!(check(&facts, &parsed)[0].outcome, Outcome::Unknown);
        let parsed = ArgumentTable::for_version(Some("0.32.1")).parse(&facts.arguments);
        assert_eq!(check(&facts, &parsed)[0].outcome, Outcome::Fail);
    }
}
