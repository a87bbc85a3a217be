//! Compares LoadGen's settings for a benchmark with the rules, before any load is sent.

use std::fmt;
use std::time::Duration;

use mlperf_loadgen::{EffectiveSettings, Mode};

use super::{BenchmarkError, BenchmarkSpec, RuleScenario};

impl BenchmarkSpec {
    /// The settings of LoadGen that differ from the rules, checked before any load is sent. Empty for an
    /// official run.
    ///
    /// # Errors
    /// [`BenchmarkError::Scenario`].
    pub fn differences(
        &self,
        scenario: RuleScenario,
        effective: &EffectiveSettings,
    ) -> Result<Vec<Difference>, BenchmarkError> {
        let limits = self.limits_in(scenario)?;
        let mut compare = Comparison::default();
        compare.equal("scenario", effective.scenario, scenario.loadgen());
        compare.equal("use_token_latencies", effective.use_token_latencies, true);
        compare.equal(
            "sample_concatenate_permutation",
            effective.sample_concatenate_permutation,
            true,
        );
        if let (Some(ttft), Some(tpot)) = (limits.ttft_ms, limits.tpot_ms) {
            compare.equal(
                "ttft_latency",
                effective.ttft_latency,
                Duration::from_millis(ttft),
            );
            compare.equal(
                "tpot_latency",
                effective.tpot_latency,
                Duration::from_millis(tpot),
            );
            compare.equal("target_latency_percentile", effective.target_percentile, 0.99);
        }
        if effective.mode == Mode::Accuracy {
            compare.equal(
                "accuracy_sample_count",
                effective.accuracy_sample_count,
                self.samples.accuracy,
            );
            return Ok(compare.0);
        }
        compare.equal(
            "performance_sample_count",
            effective.performance_sample_count,
            self.samples.performance,
        );
        if scenario == RuleScenario::Offline {
            compare.at_least(
                "samples_per_query",
                effective.samples_per_query,
                self.samples.offline_min,
            );
        }
        compare.at_least("min_duration", effective.min_duration, Duration::from_secs(600));
        Ok(compare.0)
    }
}

/// A LoadGen setting that differs from the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// LoadGen's name of the setting.
    pub key: &'static str,
    /// The value that LoadGen would use.
    pub effective: String,
    /// The value in the rules.
    pub wanted: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            effective,
            wanted,
        } = self;
        write!(f, "{key} is {effective}, where the rules have {wanted}")
    }
}

#[derive(Default)]
struct Comparison(Vec<Difference>);

impl Comparison {
    fn equal<T: Copy + PartialEq + fmt::Debug>(&mut self, key: &'static str, effective: T, wanted: T) {
        if effective != wanted {
            self.push(key, &effective, format!("{wanted:?}"));
        }
    }

    fn at_least<T: Copy + PartialOrd + fmt::Debug>(&mut self, key: &'static str, effective: T, wanted: T) {
        if effective < wanted {
            self.push(key, &effective, format!("at least {wanted:?}"));
        }
    }

    fn push(&mut self, key: &'static str, effective: &impl fmt::Debug, wanted: String) {
        self.0.push(Difference {
            key,
            effective: format!("{effective:?}"),
            wanted,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlperf_loadgen::{Scenario, TestSettings};

    fn differences(name: &str, scenario: RuleScenario, mode: Mode) -> Vec<String> {
        let spec = BenchmarkSpec::named(name).unwrap();
        let benchmark = spec.loadgen_benchmark(scenario).unwrap();
        let (mut settings, _) = TestSettings::from_config(&benchmark, scenario.loadgen(), None).unwrap();
        settings.mode = mode;
        let samples = match mode {
            Mode::Accuracy => spec.samples.accuracy,
            _ => spec.samples.performance,
        } as usize;
        let effective = settings.effective(samples, samples).unwrap();
        let differences = spec.differences(scenario, &effective).unwrap();
        differences.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_file_agrees_with_the_configuration_in_loadgen() {
        for name in BenchmarkSpec::names() {
            for scenario in BenchmarkSpec::named(name).unwrap().limits.into_keys() {
                let found = differences(name, scenario, Mode::Performance);
                if (name, scenario) == ("gpt-oss-120b", RuleScenario::Offline) {
                    // LoadGen has no count for this scenario: a user.conf must set it.
                    assert_eq!(
                        found,
                        ["samples_per_query is 660, where the rules have at least 6396"]
                    );
                } else {
                    assert_eq!(found, Vec::<String>::new(), "{name} {scenario}");
                }
                assert_eq!(
                    differences(name, scenario, Mode::Accuracy),
                    Vec::<String>::new(),
                    "{name} {scenario}"
                );
            }
        }
    }

    #[test]
    fn settings_that_are_not_the_rules_are_named() {
        let spec = BenchmarkSpec::named("llama3_1-8b").unwrap();
        let benchmark = spec.loadgen_benchmark(RuleScenario::Server).unwrap();
        let (mut settings, _) = TestSettings::from_config(&benchmark, Scenario::Server, None).unwrap();
        settings.min_duration = Duration::from_secs(60);
        settings.performance_sample_count_override = Some(100);
        let effective = settings.effective(100, 100).unwrap();
        // A conversational configuration is not an interactive one, although LoadGen runs both as Server.
        let texts = |scenario| -> Vec<String> {
            let differences = spec.differences(scenario, &effective).unwrap();
            differences.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            texts(RuleScenario::Server),
            [
                "performance_sample_count is 100, where the rules have 13368",
                "min_duration is 60s, where the rules have at least 600s",
            ]
        );
        assert_eq!(
            texts(RuleScenario::Interactive)[0],
            "ttft_latency is 2s, where the rules have 500ms"
        );
    }
}
