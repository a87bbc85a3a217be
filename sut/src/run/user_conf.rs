//! The `user.conf` that reproduces a run: the user's own file, plus a line for everything that flags changed.
//!
//! A submission includes it, and the rules require it to be what LoadGen used.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use mlperf_loadgen::{Scenario, TestSettings};
use mlperf_rules::files::{self, USER_CONF};

use super::clean::same_file;
use crate::plan::Plan;

/// Writes the file into LoadGen's log folder.
///
/// # Errors
/// When the user's file cannot be read, or the new one cannot be written.
pub(crate) fn write(
    plan: &Plan,
    settings: &TestSettings,
    from_files: &TestSettings,
    simulated: bool,
) -> io::Result<PathBuf> {
    let given = match &plan.user_conf {
        Some(path) => Some(std::fs::read_to_string(path)?),
        None => None,
    };
    let path = plan.log_dir.join(USER_CONF);
    // A run may be repeated from its own file: what flags add now replaces what flags added before.
    let own = plan
        .user_conf
        .as_deref()
        .is_some_and(|given| same_file(given, &path));
    let text = text(
        &plan.loadgen_name(),
        given.as_deref().map(|text| {
            if own {
                Given::Ours(text)
            } else {
                Given::Theirs(text)
            }
        }),
        settings,
        from_files,
        simulated,
    );
    files::write(&path, &text)?;
    Ok(path)
}

/// The file that a run was given.
#[derive(Debug, Clone, Copy)]
enum Given<'a> {
    /// A user's file, which is copied unchanged.
    Theirs(&'a str),
    /// The file that an earlier run wrote here, which is rewritten.
    Ours(&'a str),
}

const SIMULATED: &str = "# SIMULATED: the run was made against the simulator.\n";
const CHANGED: &str = "# Changed by flags:\n";

fn text(
    benchmark: &str,
    given: Option<Given<'_>>,
    settings: &TestSettings,
    from_files: &TestSettings,
    simulated: bool,
) -> String {
    let changed = changed(benchmark, given.is_none(), settings, from_files);
    let mut text = String::new();
    if simulated {
        text.push_str(SIMULATED);
    }
    match given {
        None => {
            text.push_str(&changed);
            return text;
        }
        Some(Given::Theirs(given)) => {
            text.push_str(given.trim_end());
            text.push('\n');
        }
        Some(Given::Ours(given)) => {
            let set_anew: Vec<&str> = changed.lines().filter_map(key).collect();
            let kept = given.trim_end().lines().filter(|line| {
                let line_of = |text: &str| text.trim_end() == *line;
                let mark = line_of(SIMULATED) || (line_of(CHANGED) && !changed.is_empty());
                !mark && key(line).is_none_or(|key| !set_anew.contains(&key))
            });
            for line in kept {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    if !changed.is_empty() {
        text.push_str(CHANGED);
        text.push_str(&changed);
    }
    text
}

/// The key of a line that sets one.
fn key(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    Some(key.trim()).filter(|key| !key.starts_with('#'))
}

/// A line for everything that differs from the files.
fn changed(benchmark: &str, no_file: bool, settings: &TestSettings, from_files: &TestSettings) -> String {
    let mut changed = String::new();
    let mut line = |key: &str, value: String| {
        // Writing to a `String` cannot fail.
        let _infallible = writeln!(changed, "{benchmark}.{}.{key} = {value}", settings.scenario);
    };
    let rate = settings.target_qps();
    if rate.to_bits() != from_files.target_qps().to_bits() || no_file {
        match settings.scenario {
            Scenario::Server | Scenario::Offline => line("target_qps", rate.to_string()),
            Scenario::SingleStream | Scenario::MultiStream => {
                line("target_latency", (1000.0 / rate).to_string());
            }
        }
    }
    if settings.min_duration != from_files.min_duration {
        line("min_duration", settings.min_duration.as_millis().to_string());
    }
    if settings.min_query_count != from_files.min_query_count {
        line("min_query_count", settings.min_query_count.to_string());
    }
    let samples = settings.performance_sample_count_override;
    if samples != from_files.performance_sample_count_override
        && let Some(samples) = samples
    {
        line("performance_sample_count_override", samples.to_string());
    }
    changed
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use mlperf_loadgen::Benchmark;

    #[test]
    fn loadgen_reads_what_flags_changed() {
        let benchmark = Benchmark::named("llama3_1-8b-interactive").unwrap();
        let (round, _) = TestSettings::from_config(&benchmark, Scenario::Server, None).unwrap();
        let mut settings = round.clone();
        settings.server_target_qps = 22.5;
        settings.min_duration = Duration::from_millis(601_500);
        settings.min_query_count = 77;
        settings.performance_sample_count_override = Some(900);
        let text = text("llama3_1-8b-interactive", None, &settings, &round, true);
        assert!(text.starts_with("# SIMULATED"), "{text}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(USER_CONF);
        std::fs::write(&path, &text).unwrap();
        let (again, report) = TestSettings::from_config(&benchmark, Scenario::Server, Some(&path)).unwrap();
        assert!(report.unused.is_empty(), "{report:?}");
        assert_eq!(again, settings);
    }

    #[test]
    fn a_file_that_nothing_changed_stays_as_it_is() {
        let benchmark = Benchmark::named("llama3_1-8b").unwrap();
        let (round, _) = TestSettings::from_config(&benchmark, Scenario::Offline, None).unwrap();
        let given = "# mine\n*.Offline.target_qps = 1\n";
        assert_eq!(
            text("llama3_1-8b", Some(Given::Theirs(given)), &round, &round, false),
            given
        );
    }

    #[test]
    fn a_run_repeated_from_its_own_file_sets_each_key_once() {
        let benchmark = Benchmark::named("llama3_1-8b").unwrap();
        let (round, _) = TestSettings::from_config(&benchmark, Scenario::Server, None).unwrap();
        let mut settings = round.clone();
        let mut text_of = |given: Given<'_>, rate: f64, from: f64, simulated: bool| {
            settings.server_target_qps = rate;
            let mut from_files = round.clone();
            from_files.server_target_qps = from;
            text("llama3_1-8b", Some(given), &settings, &from_files, simulated)
        };
        let given = "# mine\n*.Server.min_query_count = 50\n";
        let first = text_of(Given::Theirs(given), 22.5, 1.0, true);
        assert!(first.ends_with("= 22.5\n"), "{first}");
        let second = text_of(Given::Ours(&first), 30.0, 22.5, true);
        assert_eq!(
            second,
            "# SIMULATED: the run was made against the simulator.\n# mine\n*.Server.min_query_count = 50\n\
             # Changed by flags:\nllama3_1-8b.Server.target_qps = 30\n"
        );
        assert_eq!(text_of(Given::Ours(&second), 30.0, 30.0, true), second);
        let real = text_of(Given::Ours(&second), 30.0, 30.0, false);
        assert_eq!(second.split_once('\n').map(|(_, rest)| rest), Some(real.as_str()));
    }
}
