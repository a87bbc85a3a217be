//! Counters of everything that the steps said since the start.

use std::collections::BTreeMap;

use crate::latency::Latencies;
use crate::message::{FinishReason, Finished, Message, Step};

/// Sum and number of one quantity of finished requests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) sum: f64,
    pub(crate) count: u64,
}

impl Sum {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }
}

/// Counters of one engine. Its newest step is `last`.
#[derive(Debug, Clone, Default)]
pub(crate) struct EngineTally {
    pub(crate) last: Step,
    pub(crate) steps: u64,
    /// The engine tells what each step was made of.
    tells_schedule: bool,
    pub(crate) steps_with_output: u64,
    pub(crate) step_tokens: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) generation_tokens: u64,
    pub(crate) preemptions: u64,
    pub(crate) corrupted: u64,
    pub(crate) finished: [u64; FinishReason::ALL.len()],
    pub(crate) inter_token: Latencies,
    pub(crate) first_token: Latencies,
    /// Durations of the steps that have one, in seconds.
    pub(crate) durations: Sum,
    pub(crate) queued: Sum,
    pub(crate) inference: Sum,
    pub(crate) request_prompt_tokens: Sum,
    pub(crate) request_generation_tokens: Sum,
}

/// What one step adds to the record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CountedStep {
    pub(crate) step: Step,
    /// Number of the step within its engine, from 0.
    pub(crate) number: u64,
    /// Time since the step before it. `None` for the first step and for a step after which the engine had been idle,
    /// unless the engine itself told how long it took.
    pub(crate) duration_ns: Option<i64>,
}

/// Counters of all engines behind one frontend.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) engines: BTreeMap<u32, EngineTally>,
}

impl EngineTally {
    fn count_tokens(&mut self, step: &Step) {
        self.step_tokens += u64::from(step.prompt_tokens) + u64::from(step.generation_tokens);
        self.prompt_tokens += u64::from(step.prompt_tokens);
        self.cached_tokens += u64::from(step.cached_tokens);
        self.generation_tokens += u64::from(step.generation_tokens);
        self.preemptions += u64::from(step.preemptions);
        self.corrupted += u64::from(step.corrupted);
    }
}

impl Tally {
    /// Counts a step. `None` for a call that was none: outputs alone, of which only the tokens count, and the empty
    /// round after requests ended, in which nothing is computed and of which only the gauges count.
    pub(crate) fn step(&mut self, step: Step) -> Option<CountedStep> {
        let engine = self.engines.entry(step.engine).or_default();
        engine.count_tokens(&step);
        if !step.is_step {
            return None;
        }
        engine.tells_schedule |= step.scheduled.is_some();
        if engine.tells_schedule && step.scheduled.is_none() && !step.has_output {
            engine.last = step;
            return None;
        }
        let had_work = engine.steps > 0 && engine.last.running + engine.last.waiting > 0;
        let told_ns = step
            .scheduled
            .map(|scheduled| i64::try_from(scheduled.elapsed_ns).unwrap_or(i64::MAX));
        let duration_ns = if had_work {
            Some(step.at_ns.saturating_sub(engine.last.at_ns).max(0))
        } else {
            told_ns
        };
        let number = engine.steps;
        engine.steps += 1;
        engine.steps_with_output += u64::from(step.has_output);
        if let Some(ns) = duration_ns {
            engine.durations.add(ns as f64 / 1e9);
        }
        engine.last = step;
        Some(CountedStep {
            step,
            number,
            duration_ns,
        })
    }

    /// Counts a message that is no step.
    pub(crate) fn other(&mut self, message: &Message<'_>) {
        match message {
            Message::Step(_) => {}
            Message::InterToken { engine, secs } => {
                let latencies = &mut self.engines.entry(*engine).or_default().inter_token;
                secs.iter().for_each(|bits| latencies.add(f64::from_bits(*bits)));
            }
            Message::FirstToken { engine, secs } => {
                let latencies = &mut self.engines.entry(*engine).or_default().first_token;
                secs.iter().for_each(|bits| latencies.add(f64::from_bits(*bits)));
            }
            Message::Finished { request, .. } => self.finished(request),
        }
    }

    fn finished(&mut self, request: &Finished<'_>) {
        let engine = self.engines.entry(request.engine).or_default();
        engine.finished[request.reason as usize] += 1;
        engine.queued.add(request.queued_secs);
        engine.inference.add(request.prefill_secs + request.decode_secs);
        engine.request_prompt_tokens.add(f64::from(request.prompt_tokens));
        engine
            .request_generation_tokens
            .add(f64::from(request.generation_tokens));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Scheduled;

    fn step(at_ms: i64, running: u32) -> Step {
        Step {
            at_ns: at_ms * 1_000_000,
            running,
            is_step: true,
            has_output: true,
            generation_tokens: running,
            ..Step::default()
        }
    }

    #[test]
    fn durations_leave_idle_time_out() {
        let mut tally = Tally::default();
        let durations: Vec<_> = [step(0, 1), step(10, 1), step(20, 0), step(5000, 1), step(5012, 0)]
            .into_iter()
            .map(|step| tally.step(step).expect("a step").duration_ns)
            .collect();
        let ms = |ms: i64| Some(ms * 1_000_000);
        assert_eq!(durations, [None, ms(10), ms(10), None, ms(12)]);
        let after_idle = tally.step(Step {
            scheduled: Some(Scheduled {
                prefill_tokens: 10,
                decode_tokens: 0,
                elapsed_ns: 7_000_000,
            }),
            ..step(9000, 1)
        });
        let after_idle = after_idle.expect("a step");
        assert_eq!((after_idle.number, after_idle.duration_ns), (5, ms(7)));
        let engine = &tally.engines[&0];
        assert_eq!((engine.steps, engine.durations.count), (6, 4));
        assert!((engine.durations.sum - 0.039).abs() < 1e-9);
    }

    #[test]
    fn empty_rounds_are_no_steps_where_the_engine_tells_what_it_computes() {
        let scheduled = Some(Scheduled {
            prefill_tokens: 0,
            decode_tokens: 1,
            elapsed_ns: 5_000_000,
        });
        let empty = |at_ms| Step {
            has_output: false,
            ..step(at_ms, 0)
        };
        let mut tally = Tally::default();
        assert!(
            tally.step(empty(0)).is_some(),
            "without being told, every call counts"
        );
        assert!(
            tally
                .step(Step {
                    scheduled,
                    ..step(10, 1)
                })
                .is_some()
        );
        let chunk = Step {
            scheduled,
            has_output: false,
            ..step(20, 1)
        };
        assert!(tally.step(chunk).is_some(), "a chunk of a long prefill computes");
        assert_eq!(tally.step(empty(30)), None);
        let engine = &tally.engines[&0];
        assert_eq!((engine.steps, engine.last.running), (3, 0));
    }

    #[test]
    fn engines_are_counted_apart() {
        let mut tally = Tally::default();
        tally.step(step(0, 2));
        tally.step(Step {
            engine: 1,
            ..step(1, 3)
        });
        assert_eq!(tally.engines[&0].generation_tokens, 2);
        assert_eq!(tally.engines[&1].generation_tokens, 3);
        let outputs_alone = Step {
            is_step: false,
            ..step(2, 4)
        };
        assert_eq!(tally.step(outputs_alone), None);
        let engine = &tally.engines[&0];
        assert_eq!(
            (engine.steps, engine.generation_tokens, engine.last.running),
            (1, 6, 2)
        );
    }
}
