//! What is known about a run before its load: how many samples LoadGen will issue, how long that takes at
//! least, whether the run can be VALID, and what scoring will lack.

use std::time::Duration;

use duration_text::Shown;
use mlperf_accuracy::lacking;
use mlperf_loadgen::{Mode, Scenario};
use mlperf_rules::early_stopping::queries_needed;

use super::prepare::Prepared;
use crate::workload::ExpectedSamples;

/// The outlook of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Outlook {
    /// What LoadGen will do, one sentence each.
    pub(super) load: Vec<String>,
    /// Why the run cannot be VALID or cannot be scored, with the remedy, one sentence each.
    pub(super) obstacles: Vec<String>,
}

/// The input of the outlook.
struct Facts {
    scenario: Scenario,
    mode: Mode,
    /// `None` under an audit file.
    samples: Option<ExpectedSamples>,
    samples_per_query: u64,
    target_qps: f64,
    min_duration: Duration,
    percentile: f64,
    token_limits: Option<(Duration, Duration)>,
}

impl Outlook {
    /// The outlook of a prepared run.
    pub(super) fn of(prepared: &Prepared) -> Self {
        let load = &prepared.workload.load;
        let mut outlook = outlook(&Facts {
            scenario: load.settings.scenario,
            mode: load.settings.mode,
            samples: prepared.workload.expected,
            samples_per_query: load.effective.samples_per_query,
            target_qps: load.effective.target_qps,
            min_duration: load.settings.min_duration,
            percentile: load.effective.target_percentile,
            token_limits: load.settings.use_token_latencies.then_some((
                load.settings.server_ttft_latency,
                load.settings.server_tpot_latency,
            )),
        });
        if prepared.plan.mode == Mode::Accuracy {
            let lacking = lacking(&prepared.plan.benchmark, &prepared.workload.dataset);
            outlook
                .obstacles
                .extend(lacking.into_iter().map(|what| format!("scoring: {what}")));
        }
        outlook
    }
}

fn outlook(facts: &Facts) -> Outlook {
    let Some(expected) = facts.samples else {
        return Outlook {
            load: vec!["the audit file sets how many queries LoadGen issues".into()],
            ..Outlook::default()
        };
    };
    let samples = expected.issued;
    let mut load = Vec::new();
    if facts.mode == Mode::Accuracy {
        load.push(format!("{samples} samples, each once; no least duration"));
        return Outlook {
            load,
            ..Outlook::default()
        };
    }
    let duration = Shown(facts.min_duration);
    let queries = match facts.scenario {
        Scenario::Offline => {
            load.push(format!(
                "{samples} samples in one query: 1.1 × {duration} at {} samples/s (--target-qps); INVALID if they are \
                 answered in less than {duration}",
                facts.target_qps
            ));
            samples
        }
        Scenario::Server => {
            let secs = samples as f64 / facts.target_qps;
            load.push(format!(
                "{samples} queries at {} per second, Poisson arrivals fixed by the round's seed: about {}",
                facts.target_qps,
                Shown(Duration::from_secs(secs.round().min(1e9) as u64))
            ));
            samples
        }
        Scenario::SingleStream | Scenario::MultiStream => {
            let queries = samples / facts.samples_per_query.max(1);
            let each = match facts.samples_per_query {
                0 | 1 => String::new(),
                several => format!(" of {several} samples"),
            };
            load.push(format!(
                "at least {queries} queries{each}, one after the other, and for at least {duration}: as many as the \
                 expected latency of {:.3} ms asks for; give --target-qps as 1 / latency in seconds to change it",
                1e3 / facts.target_qps
            ));
            queries
        }
    };
    load.extend(
        expected
            .rounding()
            .map(|rounding| format!("{samples} samples: {rounding}")),
    );
    if let Some((ttft, tpot)) = facts.token_limits.filter(|_| facts.scenario == Scenario::Server) {
        load.push(format!(
            "limits at the {}th percentile: TTFT {}, TPOT {}",
            facts.percentile * 100.0,
            Shown(ttft),
            Shown(tpot)
        ));
    }
    let mut obstacles = Vec::new();
    // In the stream scenarios LoadGen estimates the percentile, and leaves out at least one query for that.
    let needed = match facts.scenario {
        Scenario::Offline => 0,
        Scenario::Server => queries_needed(0, facts.percentile),
        Scenario::SingleStream | Scenario::MultiStream => queries_needed(1, facts.percentile),
    };
    if queries < needed {
        let fix = match facts.scenario {
            Scenario::Server => {
                let secs = (needed as f64 * 1.05 / facts.target_qps).ceil();
                format!("--duration {secs}s")
            }
            other => format!("*.{other}.min_query_count = {needed} in user.conf"),
        };
        obstacles.push(format!(
            "the run cannot be VALID: {queries} queries are planned, and LoadGen's early-stopping test needs at least \
             {needed} at the {}th percentile; to fix: {fix}",
            facts.percentile * 100.0
        ));
    }
    Outlook { load, obstacles }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(scenario: Scenario, samples: u64, samples_per_query: u64, target_qps: f64) -> Facts {
        Facts {
            scenario,
            mode: Mode::Performance,
            samples: Some(ExpectedSamples {
                issued: samples,
                rounded_up_from: None,
                pass: None,
            }),
            samples_per_query,
            target_qps,
            min_duration: Duration::from_secs(10),
            percentile: match scenario {
                Scenario::SingleStream => 0.9,
                _ => 0.99,
            },
            token_limits: Some((Duration::from_secs(2), Duration::from_millis(100))),
        }
    }

    #[test]
    fn a_length_that_is_rounded_up_is_said_before_the_load() {
        let mut server = facts(Scenario::Server, 640, 1, 10.0);
        server.min_duration = Duration::from_secs(60);
        assert_eq!(outlook(&server).load.len(), 2);
        server.samples = Some(ExpectedSamples {
            issued: 640,
            rounded_up_from: Some(600),
            pass: Some(64),
        });
        let said = outlook(&server).load;
        assert!(said[0].ends_with("about 64s"), "{said:?}");
        assert!(
            said[1].starts_with(
                "640 samples: rounded up from 600 samples to 10 whole passes over the 64 samples"
            ),
            "{said:?}"
        );
    }

    #[test]
    fn what_cannot_be_valid_is_known_before_the_load() {
        let server = outlook(&facts(Scenario::Server, 64, 1, 2.0));
        assert!(
            server.load[0].contains("64 queries at 2 per second") && server.load[0].ends_with("about 32s")
        );
        assert!(server.load[1].contains("TTFT 2s, TPOT 100ms"));
        assert!(
            server.obstacles[0].contains("at least 459") && server.obstacles[0].contains("--duration 241s")
        );
        assert!(
            outlook(&facts(Scenario::Server, 459, 1, 2.0))
                .obstacles
                .is_empty()
        );
        let multi = outlook(&facts(Scenario::MultiStream, 4096, 8, 100.0));
        assert!(
            multi.obstacles[0].contains("512 queries") && multi.obstacles[0].contains("662"),
            "{multi:?}"
        );
        let single = outlook(&facts(Scenario::SingleStream, 2048, 1, 100.0));
        assert!(single.load[0].contains("at least 2048 queries") && single.load[0].contains("10.000 ms"));
        assert!(single.obstacles.is_empty());
        assert!(
            outlook(&facts(Scenario::Offline, 10, 10, 5.0))
                .obstacles
                .is_empty()
        );
    }
}
