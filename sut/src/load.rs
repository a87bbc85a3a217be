//! What LoadGen is told: the round's settings for the benchmark, the user's file, then the flags that override them,
//! each with a remark when it makes the run an unofficial one.

use std::time::Duration;

use anyhow::anyhow;
use mlperf_loadgen::{Benchmark, EffectiveSettings, LogSettings, Mode, Scenario, TestSettings};
use vllm_client::RequestBody;

use crate::cli::{ModeArg, ScenarioArg};
use crate::exit::Fail;
use crate::official;
use crate::plan::Plan;
use mlperf_accuracy::{AnswerFormat, Measure};
use mlperf_rules::compliance::ComplianceTest;
use mlperf_rules::{BenchmarkSpec, Sampling};

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
pub fn settings(plan: &Plan, samples: usize) -> Result<Load, Fail> {
    let mut remarks = Vec::new();
    let benchmark = Benchmark::named(&plan.loadgen_name())
        .map_err(|error| Fail::usage(anyhow!(error).context("--lg-model-name")))?;
    let scenario = scenario(plan.scenario);
    // First, since LoadGen reads a user's file once per process and then keeps it.
    let (round, _) = TestSettings::from_config(&benchmark, scenario, None).map_err(Fail::usage)?;
    let (mut settings, report) =
        TestSettings::from_config(&benchmark, scenario, plan.user_conf.as_deref()).map_err(Fail::usage)?;
    for (line, why) in &report.unused {
        remarks.push(format!("user.conf line {} has no effect here: {why}", line.line));
    }
    settings.mode = mode(plan.mode);
    let from_files = settings.clone();
    // An accuracy run sends every sample once and an audit file has its own counts: neither has a duration to shorten.
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
        // A short dataset is what a trial run has, and never what an official one has.
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
    let unofficial = official::settings(plan, &effective)?;
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

/// What LoadGen is told, and what a reader of the result must know about it.
#[derive(Debug, Clone)]
pub struct Load {
    /// The compliance test whose audit file is in effect; `None` without one, and with one that is of no test that this
    /// program can tell and verify for the benchmark.
    pub compliance: Option<ComplianceTest>,
    /// The settings of this run.
    pub settings: TestSettings,
    /// What LoadGen makes of them.
    pub effective: EffectiveSettings,
    /// The round's own for the benchmark and scenario.
    pub round: TestSettings,
    /// The round's with the user's file, before the flags.
    pub from_files: TestSettings,
    /// Lines of user.conf without effect, and the like.
    pub remarks: Vec<String>,
    /// Where they are not what the rules say.
    pub unofficial: Vec<String>,
}

/// Which test an audit file is of, whoever wrote it.
fn audited(plan: &Plan) -> Result<Option<ComplianceTest>, Fail> {
    let Some(path) = &plan.audit_config else {
        return Ok(plan.compliance);
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Fail::usage(anyhow!("--audit-config {}: {error}", path.display())))?;
    let spec = BenchmarkSpec::named(&plan.benchmark)
        .map_err(|error| Fail::usage(anyhow!(error).context("--lg-model-name")))?;
    Ok(ComplianceTest::of_audit(&text).filter(|test| spec.asks(test.name())))
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

fn scenario(arg: ScenarioArg) -> Scenario {
    match arg {
        ScenarioArg::Offline => Scenario::Offline,
        // LoadGen has no fifth scenario: the tighter limits come with the benchmark's other name.
        ScenarioArg::Server | ScenarioArg::Interactive => Scenario::Server,
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

/// Samples of a compliance test's set; refused where the round does not ask the test.
fn set_of(plan: &Plan, test: ComplianceTest) -> Result<u64, Fail> {
    let spec = BenchmarkSpec::named(&plan.benchmark)
        .map_err(|error| Fail::usage(anyhow!(error).context("--lg-model-name")))?;
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
        plan.benchmark
    )))
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

/// How answers are generated: the benchmark's rules with the flags' overrides.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    rules: Sampling,
    /// The text must show the special tokens, since the answer is found by them.
    special_tokens: bool,
    /// Longest answer.
    pub max_tokens: u32,
}

impl Generation {
    /// The plan's.
    ///
    /// # Errors
    /// [`crate::exit::Exit::Usage`] when nobody told how the benchmark's answers are generated.
    pub fn of(plan: &Plan) -> Result<Self, Fail> {
        let spec = BenchmarkSpec::named(&plan.benchmark)
            .map_err(|error| Fail::usage(anyhow!(error).context("--lg-model-name")))?;
        let mode = mode(plan.mode);
        Ok(Self {
            max_tokens: plan.max_tokens.unwrap_or(spec.sampling.max_tokens_in(mode)),
            special_tokens: Measure::of_benchmark(&spec.loadgen_name)
                == Some(Measure::ExactMatch(AnswerFormat::Channels)),
            rules: spec.sampling,
        })
    }

    /// Writes it into a body.
    pub fn apply(&self, body: RequestBody) -> RequestBody {
        let mut body = body
            .max_tokens(self.max_tokens)
            .min_tokens(self.rules.min_tokens.min(self.max_tokens))
            .temperature(self.rules.temperature)
            .top_p(self.rules.top_p);
        if let Some(top_k) = self.rules.top_k.and_then(|top_k| i32::try_from(top_k).ok()) {
            body = body.top_k(top_k);
        }
        if self.special_tokens {
            body = body.field("skip_special_tokens", false);
        }
        if let Some(seed) = self.rules.seed.and_then(|seed| i64::try_from(seed).ok()) {
            body = body.seed(seed);
        }
        body
    }
}

fn mode(arg: ModeArg) -> Mode {
    match arg {
        // Each half of both runs in a process of its own, so here it can only be shown: the first.
        ModeArg::Performance | ModeArg::Both => Mode::Performance,
        ModeArg::Accuracy => Mode::Accuracy,
    }
}
