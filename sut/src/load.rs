//! What LoadGen is told: the round's settings for the benchmark, the user's file, then the flags that override them,
//! each with a remark when it makes the run an unofficial one.

use std::time::Duration;

use anyhow::anyhow;
use mlperf_loadgen::{Benchmark, LogSettings, Mode, Scenario, TestSettings};
use vllm_client::RequestBody;

use crate::cli::{ModeArg, ScenarioArg};
use crate::exit::Fail;
use crate::plan::Plan;

/// Length of the demonstration on the simulator, long enough for pictures and short enough to wait for.
const DEMO_DURATION: Duration = Duration::from_secs(20);
/// Rates that the simulated server sustains without its queue growing.
const DEMO_OFFLINE_QPS: f64 = 50.0;
const DEMO_SERVER_QPS: f64 = 30.0;

/// Settings of the run, and what a reader of the result must know about them.
///
/// # Errors
/// [`crate::exit::Exit::Usage`] for an unknown benchmark, a wrong line of user.conf, or settings that LoadGen cannot
/// run with.
pub fn settings(plan: &Plan, samples: usize) -> Result<(TestSettings, Vec<String>), Fail> {
    let mut remarks = Vec::new();
    let benchmark = Benchmark::named(&plan.benchmark)
        .map_err(|error| Fail::usage(anyhow!(error).context("--lg-model-name")))?;
    let scenario = scenario(plan.scenario);
    let (mut settings, report) =
        TestSettings::from_config(&benchmark, scenario, plan.user_conf.as_deref()).map_err(Fail::usage)?;
    for (line, why) in &report.unused {
        remarks.push(format!("user.conf line {} has no effect here: {why}", line.line));
    }
    settings.mode = match plan.mode {
        ModeArg::Performance => Mode::Performance,
        ModeArg::Accuracy => Mode::Accuracy,
    };
    let demo = plan.simulated() && plan.user_conf.is_none();
    if let Some(qps) = plan.target_qps {
        set_rate(&mut settings, qps);
    } else if demo {
        set_rate(
            &mut settings,
            if scenario == Scenario::Server {
                DEMO_SERVER_QPS
            } else {
                DEMO_OFFLINE_QPS
            },
        );
    }
    let shortened = plan
        .duration
        .or((demo && plan.num_samples.is_none()).then_some(DEMO_DURATION));
    if let Some(duration) = shortened.or(plan.num_samples.map(|_| Duration::ZERO).filter(|_| demo)) {
        if duration < settings.min_duration {
            remarks.push(format!(
                "not an official run: it has to last {} s, the round asks for {} s",
                duration.as_secs_f64(),
                settings.min_duration.as_secs_f64()
            ));
        }
        settings.min_duration = duration;
    }
    let samples = samples as u64;
    let wanted = settings.performance_sample_count_override.unwrap_or(samples);
    if samples < wanted {
        // A short dataset is what a trial run has, and never what an official one has.
        remarks.push(format!(
            "not an official run: the dataset has {samples} samples, the round asks for {wanted}"
        ));
        settings.performance_sample_count_override = Some(samples);
    }
    if (plan.num_samples.is_some() || shortened.is_some() || samples < wanted)
        && settings.min_query_count > samples
    {
        settings.min_query_count = samples;
    }
    settings
        .check(samples as usize, samples as usize)
        .map_err(Fail::usage)?;
    Ok((settings, remarks))
}

fn set_rate(settings: &mut TestSettings, qps: f64) {
    match settings.scenario {
        Scenario::Server => settings.server_target_qps = qps,
        Scenario::Offline => settings.offline_expected_qps = qps,
        Scenario::SingleStream => {
            settings.single_stream_expected_latency = Duration::from_secs_f64(1.0 / qps);
        }
        Scenario::MultiStream => settings.multi_stream_expected_latency = Duration::from_secs_f64(1.0 / qps),
    }
}

fn scenario(arg: ScenarioArg) -> Scenario {
    match arg {
        ScenarioArg::Offline => Scenario::Offline,
        ScenarioArg::Server => Scenario::Server,
        ScenarioArg::SingleStream => Scenario::SingleStream,
        ScenarioArg::MultiStream => Scenario::MultiStream,
    }
}

/// Where LoadGen logs; the folder is made when it is missing.
///
/// # Errors
/// [`crate::exit::Exit::Usage`] when it cannot be written.
pub fn logs(plan: &Plan) -> Result<LogSettings, Fail> {
    std::fs::create_dir_all(&plan.log_dir).map_err(|error| {
        Fail::usage(anyhow!(
            "--output-log-dir {}: cannot make the folder: {error}",
            plan.log_dir.display()
        ))
    })?;
    let logs = LogSettings {
        audit_config: plan.audit_config.clone(),
        ..LogSettings::new(&plan.log_dir)
    };
    logs.check()
        .map_err(|error| Fail::usage(anyhow!(error).context("--output-log-dir")))?;
    Ok(logs)
}

/// How many queries LoadGen will issue, where that can be told before: for the progress display only.
pub fn expected_queries(settings: &TestSettings, samples: usize) -> Option<u64> {
    if settings.mode == Mode::Accuracy {
        return Some(settings.accuracy_sample_count_override.unwrap_or(samples as u64));
    }
    let by_time = settings.target_qps() * settings.min_duration.as_secs_f64();
    let count = match settings.scenario {
        Scenario::Offline => by_time * 1.1,
        Scenario::Server => by_time,
        Scenario::SingleStream | Scenario::MultiStream => return None,
    };
    let count = (count.ceil() as u64).max(settings.min_query_count);
    let set = settings
        .performance_sample_count_override
        .unwrap_or(samples as u64)
        .max(1);
    Some(if settings.sample_concatenate_permutation {
        count.div_ceil(set) * set
    } else {
        count
    })
}

/// How the benchmark wants its answers generated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Longest answer.
    pub max_tokens: u32,
    /// Shortest answer.
    pub min_tokens: u32,
    /// 0 is greedy.
    pub temperature: f64,
    /// Seed of the server's sampling.
    pub seed: i64,
}

impl Sampling {
    /// Writes it into a body.
    pub fn apply(&self, body: RequestBody) -> RequestBody {
        body.max_tokens(self.max_tokens)
            .min_tokens(self.min_tokens)
            .temperature(self.temperature)
            .seed(self.seed)
    }
}

/// The benchmark's sampling with the flags' overrides.
pub fn benchmark_sampling(plan: &Plan) -> Sampling {
    Sampling {
        max_tokens: plan.max_tokens.unwrap_or(128),
        min_tokens: 1,
        temperature: 0.0,
        seed: 42,
    }
}
