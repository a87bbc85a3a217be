//! LoadGen's settings: the round's settings for the benchmark, then the user's file, then the flags. Each
//! override that makes the run unofficial adds a remark.

use std::time::Duration;

use anyhow::anyhow;
use mlperf_loadgen::{EffectiveSettings, LogSettings, Mode, Scenario, TestSettings};
use mlperf_rules::compliance::ComplianceTest;

use super::official;
use crate::exit::Fail;
use crate::plan::Plan;

/// Length of the demonstration on the simulator: long enough for plots, and short enough to wait for.
const DEMO_DURATION: Duration = Duration::from_secs(20);
/// Rates that the simulated server sustains without a growing queue.
const DEMO_OFFLINE_QPS: f64 = 50.0;
const DEMO_SERVER_QPS: f64 = 30.0;

/// The settings of the run, and what a reader of the result must know about them.
///
/// # Errors
/// [`crate::exit::Exit::Usage`] for an unknown benchmark, an invalid line in user.conf, or settings that
/// LoadGen cannot run with.
pub(crate) fn settings(plan: &Plan, samples: usize) -> Result<Load, Fail> {
    let mut remarks = Vec::new();
    let benchmark = plan
        .loadgen_benchmark()
        .map_err(|error| Fail::usage(anyhow!(error).context("--lg-model-name")))?;
    let scenario = plan.scenario.loadgen();
    // First, since LoadGen reads a user's file once per process and then keeps it.
    let (round, _) = TestSettings::from_config(&benchmark, scenario, None).map_err(Fail::usage)?;
    let (mut settings, report) =
        TestSettings::from_config(&benchmark, scenario, plan.user_conf.as_deref()).map_err(Fail::usage)?;
    for (line, why) in &report.unused {
        remarks.push(format!("user.conf line {} has no effect here: {why}", line.line));
    }
    settings.mode = plan.mode;
    let from_files = settings.clone();
    // An accuracy run sends every sample once, and an audit file has its own counts: neither has a duration
    // to shorten.
    let demo = plan.simulated()
        && plan.user_conf.is_none()
        && settings.mode == Mode::Performance
        && !plan.is_compliance();
    if let Some(qps) = plan.target_qps {
        set_rate(&mut settings, qps)?;
    } else if demo {
        set_rate(
            &mut settings,
            if scenario == Scenario::Server {
                DEMO_SERVER_QPS
            } else {
                DEMO_OFFLINE_QPS
            },
        )?;
    }
    let shortened = plan
        .duration
        .or((demo && plan.num_samples.is_none()).then_some(DEMO_DURATION));
    if let Some(duration) = shortened.or(plan.num_samples.map(|_| Duration::ZERO).filter(|_| demo)) {
        settings.min_duration = duration;
    }
    let samples = samples as u64;
    let wanted = settings.performance_sample_count_override.unwrap_or(samples);
    if samples < wanted {
        // Only trial runs have a short dataset, official runs never do.
        settings.performance_sample_count_override = Some(samples);
    }
    if (plan.num_samples.is_some() || shortened.is_some() || samples < wanted)
        && settings.min_query_count > samples
    {
        settings.min_query_count = samples;
    }
    let effective = settings
        .effective(samples as usize, samples as usize)
        .map_err(Fail::usage)?;
    let unofficial = official::settings(plan, &effective);
    Ok(Load {
        compliance: audited(plan)?,
        settings,
        effective,
        round,
        from_files,
        remarks,
        unofficial,
    })
}

/// LoadGen's settings, and what a reader of the result must know about them.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// The compliance test whose audit file is applied; `None` without one, and for an audit file of a test
    /// that this program cannot identify or verify for the benchmark.
    pub(crate) compliance: Option<ComplianceTest>,
    /// The settings of this run.
    pub(crate) settings: TestSettings,
    /// The settings that LoadGen computes from them.
    pub(crate) effective: EffectiveSettings,
    /// The round's own settings for the benchmark and scenario.
    pub(crate) round: TestSettings,
    /// The round's settings with the user's file, before the flags.
    pub(crate) from_files: TestSettings,
    /// Remarks, such as lines of user.conf without effect.
    pub(crate) remarks: Vec<String>,
    /// Differences from the rules.
    pub(crate) unofficial: Vec<String>,
}

/// The test that an audit file belongs to, even if this program did not write the file.
fn audited(plan: &Plan) -> Result<Option<ComplianceTest>, Fail> {
    let Some(path) = &plan.audit_config else {
        return Ok(plan.compliance);
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Fail::usage(anyhow!("--audit-config {}: {error}", path.display())))?;
    Ok(ComplianceTest::of_audit(&text).filter(|test| plan.benchmark.asks(test.name())))
}

fn set_rate(settings: &mut TestSettings, qps: f64) -> Result<(), Fail> {
    let between = || {
        Duration::try_from_secs_f64(1.0 / qps).map_err(|error| {
            Fail::usage(anyhow!(
                "--target-qps {qps}: the time between two queries: {error}"
            ))
        })
    };
    match settings.scenario {
        Scenario::Server => settings.server_target_qps = qps,
        Scenario::Offline => settings.offline_expected_qps = qps,
        Scenario::SingleStream => settings.single_stream_expected_latency = between()?,
        Scenario::MultiStream => settings.multi_stream_expected_latency = between()?,
    }
    Ok(())
}

/// LoadGen's log settings; the folder is created if missing.
///
/// # Errors
/// [`crate::exit::Exit::Usage`] when the folder is not writable.
pub(crate) fn logs(plan: &Plan) -> Result<LogSettings, Fail> {
    std::fs::create_dir_all(&plan.log_dir).map_err(|error| {
        Fail::usage(anyhow!(
            "--output-log-dir {}: cannot make the folder: {error}",
            plan.log_dir.display()
        ))
    })?;
    let audit_config = match plan.compliance {
        None => plan.audit_config.clone(),
        Some(test) => {
            let samples = set_of(plan, test)?;
            let written = test.write_audit(&plan.log_dir, samples);
            Some(written.map_err(|error| {
                Fail::usage(anyhow!("--output-log-dir {}: {error}", plan.log_dir.display()))
            })?)
        }
    };
    let logs = LogSettings {
        audit_config,
        ..LogSettings::new(&plan.log_dir)
    };
    logs.check()
        .map_err(|error| Fail::usage(anyhow!(error).context("--output-log-dir")))?;
    Ok(logs)
}

/// Number of samples in a compliance test's set; an error if the round does not require the test.
fn set_of(plan: &Plan, test: ComplianceTest) -> Result<u64, Fail> {
    let spec = &plan.benchmark;
    if spec.asks(test.name()) {
        return Ok(spec.compliance_limits(test.name()).samples);
    }
    let asked = match spec.compliance.as_slice() {
        [] => "no compliance test".to_owned(),
        tests => tests.join(" and "),
    };
    Err(Fail::usage(anyhow!(
        "--compliance {test}: the round asks {asked} of {}; run another with MLCommons' audit.config (--audit-config) \
         and its verification script",
        spec.loadgen_name
    )))
}

/// How many samples LoadGen will issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExpectedSamples {
    /// Samples in all. In SingleStream and MultiStream, LoadGen continues after them until the minimum duration is
    /// over.
    pub(crate) issued: u64,
    /// Samples that the minimum duration asks for, where LoadGen issues more: whole passes, and at least
    /// `min_query_count` queries.
    pub(crate) rounded_up_from: Option<u64>,
    /// Samples in a pass over the performance set, where LoadGen issues whole passes only.
    pub(crate) pass: Option<u64>,
}

impl ExpectedSamples {
    /// The rounding in words, where there is one.
    pub(crate) fn rounding(&self) -> Option<String> {
        let asked = self.rounded_up_from?;
        // Whole passes alone add less than one.
        let Some(pass) = self.pass.filter(|pass| self.issued - asked < *pass) else {
            return Some(format!("raised from {asked} samples by min_query_count"));
        };
        let passes = self.issued / pass;
        Some(format!(
            "rounded up from {asked} samples to {passes} whole {} over the {pass} samples of the set \
             (sample_concatenate_permutation)",
            if passes == 1 { "pass" } else { "passes" }
        ))
    }
}

/// How many samples LoadGen will issue from a dataset of `samples`.
pub(crate) fn expected_samples(load: &Load, samples: usize) -> ExpectedSamples {
    let settings = &load.settings;
    let exactly = |issued| ExpectedSamples {
        issued,
        rounded_up_from: None,
        pass: None,
    };
    if settings.mode == Mode::Accuracy {
        return exactly(settings.accuracy_sample_count_override.unwrap_or(samples as u64));
    }
    let set = settings
        .performance_sample_count_override
        .unwrap_or(samples as u64)
        .max(1);
    let pass = settings.sample_concatenate_permutation.then_some(set);
    let by_time = settings.target_qps() * settings.min_duration.as_secs_f64();
    let count = match settings.scenario {
        Scenario::Offline => by_time * 1.1,
        Scenario::Server => by_time,
        Scenario::SingleStream | Scenario::MultiStream => {
            return ExpectedSamples {
                pass,
                ..exactly(load.effective.min_sample_count)
            };
        }
    };
    let asked = count.ceil() as u64;
    let count = asked.max(settings.min_query_count);
    let issued = pass.map_or(count, |set| count.div_ceil(set) * set);
    ExpectedSamples {
        issued,
        rounded_up_from: (asked > 0 && issued > asked).then_some(asked),
        pass,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_raised_the_number_of_samples_is_named() {
        let rounding = |issued, pass| {
            let expected = ExpectedSamples {
                issued,
                rounded_up_from: Some(600),
                pass,
            };
            expected.rounding().unwrap()
        };
        assert!(rounding(640, Some(64)).contains("to 10 whole passes over the 64 samples"));
        for pass in [None, Some(64)] {
            assert_eq!(
                rounding(24_576, pass),
                "raised from 600 samples by min_query_count"
            );
        }
    }
}
