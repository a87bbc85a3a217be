//! The `user.conf` that repeats a run: the user's own file, and a line for everything that flags changed.
//!
//! A submission carries it, and the rules want it to be what LoadGen worked with.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use mlperf_loadgen::{Scenario, TestSettings};

use crate::plan::Plan;

/// Name of the file, in the folder of LoadGen's logs and in a submission.
pub const USER_CONF: &str = "user.conf";

/// Writes it into the folder of LoadGen's logs.
///
/// # Errors
/// When the user's file cannot be read, or ours cannot be written.
pub fn write(
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
    if plan
        .user_conf
        .as_deref()
        .is_some_and(|given| same_file(given, &path))
    {
        // A run that is repeated from its own file: what flags add would be added again each time.
        return Ok(path);
    }
    let text = text(
        &plan.loadgen_name(),
        given.as_deref(),
        settings,
        from_files,
        simulated,
    );
    std::fs::write(&path, text)?;
    Ok(path)
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

fn text(
    benchmark: &str,
    given: Option<&str>,
    settings: &TestSettings,
    from_files: &TestSettings,
    simulated: bool,
) -> String {
    let mut text = String::new();
    if simulated {
        text.push_str("# SIMULATED: the run was made against the simulator.\n");
    }
    if let Some(given) = given {
        text.push_str(given.trim_end());
        text.push('\n');
    }
    let mut changed = String::new();
    let mut line = |key: &str, value: String| {
        // Writing to a text cannot fail.
        let _infallible = writeln!(changed, "{benchmark}.{}.{key} = {value}", settings.scenario);
    };
    let rate = settings.target_qps();
    if rate.to_bits() != from_files.target_qps().to_bits() || given.is_none() {
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
    if !changed.is_empty() {
        if given.is_some() {
            text.push_str("# Changed by flags:\n");
        }
        text.push_str(&changed);
    }
    text
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
        assert_eq!(text("llama3_1-8b", Some(given), &round, &round, false), given);
    }
}
