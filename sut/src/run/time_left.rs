//! The time left of a load, where it can be known: in Server, whose queries arrive at a known rate, and in SingleStream
//! and MultiStream, whose queries follow one another.
//!
//! Offline has no forecast: all samples are sent at once, and their answers come in waves as long as an answer takes, so
//! the rate of answers shows the time left only shortly before the end.

use std::time::Duration;

use mlperf_loadgen::{Scenario, TestSettings};

/// Answers that a rate is computed from, at least.
const FEWEST: u64 = 16;
/// Marks that are kept; beyond them every second one is dropped.
const MARKS: usize = 512;

/// How often queries are issued.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pace {
    /// Samples per second, as scheduled.
    Scheduled(f64),
    /// A query is issued when the one before is answered, until the least duration is over.
    Sequential { least: Duration },
}

/// Follows the answers of a load.
#[derive(Debug, Clone)]
pub(super) struct TimeLeft {
    pace: Pace,
    planned: u64,
    /// Time since the start, and answers until then.
    marks: Vec<(Duration, u64)>,
}

impl TimeLeft {
    /// `None` where the time left is not known: Offline, and a load of unknown size.
    pub(super) fn new(settings: &TestSettings, planned: Option<u64>) -> Option<Self> {
        let pace = match settings.scenario {
            Scenario::Offline => return None,
            Scenario::Server => Pace::Scheduled(settings.server_target_qps),
            Scenario::SingleStream | Scenario::MultiStream => Pace::Sequential {
                least: match settings.mode {
                    mlperf_loadgen::Mode::Performance => settings.min_duration,
                    _ => Duration::ZERO,
                },
            },
        };
        Some(Self {
            pace,
            planned: planned?,
            marks: Vec::new(),
        })
    }

    /// The time left at `elapsed`, after `done` answers; call it in order of time. `None` as long as it is not known: the
    /// rate of answers is that of the second half of the time so far, and in Server it has to be the scheduled one within
    /// two standard deviations. A server that does not keep up ends later than the schedule, by a time that depends on how
    /// it works off its queue.
    pub(super) fn at(&mut self, elapsed: Duration, done: u64) -> Option<Duration> {
        self.marks.push((elapsed, done));
        if self.marks.len() > MARKS {
            let mut index = 0;
            self.marks.retain(|_| {
                index += 1;
                index % 2 == 0
            });
        }
        let half = self.marks.partition_point(|mark| mark.0 <= elapsed / 2);
        let (since, before) = half
            .checked_sub(1)
            .map_or((Duration::ZERO, 0), |at| self.marks[at]);
        let answers = done.saturating_sub(before);
        if answers < FEWEST {
            return None;
        }
        let rate = answers as f64 / (elapsed - since).as_secs_f64();
        let remaining = self.planned.saturating_sub(done) as f64;
        match self.pace {
            Pace::Scheduled(scheduled) => {
                let keeps_up = rate >= scheduled * (1.0 - 2.0 / (answers as f64).sqrt());
                keeps_up
                    .then(|| Duration::try_from_secs_f64(remaining / scheduled).ok())
                    .flatten()
            }
            Pace::Sequential { least } => {
                let by_count = Duration::try_from_secs_f64(remaining / rate).ok()?;
                Some(by_count.max(least.saturating_sub(elapsed)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mlperf_loadgen::Mode;

    use super::*;

    /// Times of answers in seconds, ascending.
    struct Load {
        settings: TestSettings,
        answers: Vec<f64>,
    }

    fn settings(scenario: Scenario, qps: f64) -> TestSettings {
        TestSettings {
            server_target_qps: qps,
            min_duration: Duration::from_secs(1),
            ..TestSettings::new(scenario, Mode::Performance)
        }
    }

    fn recorded() -> Vec<Load> {
        let mut loads: Vec<Load> = Vec::new();
        for line in include_str!("recorded_runs.txt").lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["#", ..] => {}
                ["run", scenario, _, ref qps @ ..] => loads.push(Load {
                    settings: match scenario {
                        "Server" => settings(Scenario::Server, qps[0].parse().unwrap()),
                        _ => settings(Scenario::SingleStream, 1.0),
                    },
                    answers: Vec::new(),
                }),
                _ => {
                    let times = words.iter().map(|ms| ms.parse::<f64>().unwrap() / 1e3);
                    loads.last_mut().unwrap().answers.extend(times);
                }
            }
        }
        loads
    }

    /// The forecasts of each second: elapsed, forecast, truth.
    fn replayed(load: &Load) -> Vec<(f64, f64, f64)> {
        let end = *load.answers.last().unwrap();
        let mut left = TimeLeft::new(&load.settings, Some(load.answers.len() as u64)).unwrap();
        (1_u32..)
            .map(f64::from)
            .take_while(|secs| *secs < end)
            .filter_map(|secs| {
                let done = load.answers.partition_point(|answer| *answer <= secs) as u64;
                let forecast = left.at(Duration::from_secs_f64(secs), done)?;
                Some((secs, forecast.as_secs_f64(), end - secs))
            })
            .collect()
    }

    #[test]
    fn on_recorded_runs_the_forecast_is_right_within_an_eighth_of_the_run() {
        let loads = recorded();
        assert_eq!(loads.len(), 4);
        for load in loads {
            let end = *load.answers.last().unwrap();
            let forecasts = replayed(&load);
            assert!(
                forecasts.len() as f64 > 0.6 * end,
                "{} forecasts in {end} s",
                forecasts.len()
            );
            for (at, forecast, truth) in forecasts {
                let wrong = (forecast - truth).abs();
                assert!(
                    wrong <= end / 8.0,
                    "at {at} s of {end}: {forecast:.1} s instead of {truth:.1}"
                );
            }
        }
    }

    /// A server with answers of 20 s that answers at most `capacity` queries a second.
    fn server(qps: f64, capacity: f64, queries: u32) -> Load {
        let rate = qps.min(capacity);
        Load {
            settings: settings(Scenario::Server, qps),
            answers: (0..queries).map(|n| 20.0 + f64::from(n) / rate).collect(),
        }
    }

    #[test]
    fn long_answers_delay_the_forecast_but_do_not_bend_it() {
        let forecasts = replayed(&server(10.0, 20.0, 6000));
        let (first, ..) = forecasts[0];
        assert!((20.0..60.0).contains(&first), "{first}");
        for (at, forecast, truth) in forecasts {
            assert!((forecast - truth).abs() < 1.0, "at {at}: {forecast} for {truth}");
        }
    }

    #[test]
    fn a_server_that_does_not_keep_up_gets_no_forecast() {
        assert_eq!(replayed(&server(10.0, 7.0, 6000)), []);
    }

    #[test]
    fn a_stream_lasts_its_least_duration() {
        let settings = TestSettings {
            min_duration: Duration::from_secs(60),
            ..settings(Scenario::SingleStream, 1.0)
        };
        let mut left = TimeLeft::new(&settings, Some(100)).unwrap();
        assert_eq!(left.at(Duration::from_secs(1), 10), None);
        assert_eq!(left.at(Duration::from_secs(2), 40), Some(Duration::from_secs(58)));
        assert_eq!(
            left.at(Duration::from_secs(50), 100),
            Some(Duration::from_secs(10))
        );
    }

    #[test]
    fn offline_and_an_unknown_count_have_none() {
        assert!(TimeLeft::new(&settings(Scenario::Offline, 1.0), Some(10)).is_none());
        assert!(TimeLeft::new(&settings(Scenario::Server, 1.0), None).is_none());
    }

    #[test]
    fn marks_are_bounded() {
        let mut left = TimeLeft::new(&settings(Scenario::Server, 10.0), Some(1_000_000)).unwrap();
        let mut last = None;
        for secs in 1..50_000 {
            last = left.at(Duration::from_secs(secs), secs * 10);
        }
        assert!(left.marks.len() <= MARKS);
        assert_eq!(
            last,
            Some(Duration::from_secs_f64((1_000_000.0 - 499_990.0) / 10.0))
        );
    }
}
