//! The table of a search, and its result with the evidence for it.

use std::fmt::Write as _;

use mlperf_loadgen::TestSettings;

use super::{Answer, Found, Outcome};
use crate::exit::Exit;
use crate::series::trial::HEADINGS;

/// The text and its exit status.
pub(super) fn render(found: &Found, settings: &TestSettings, simulated: bool) -> (String, Exit) {
    let mark = if simulated { "   [SIMULATED]" } else { "" };
    let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
    let mut out = format!(
        "find peak{mark}   limits at the 99th percentile: TTFT {} ms, TPOT {} ms\n",
        ms(settings.server_ttft_latency),
        ms(settings.server_tpot_latency)
    );
    let _ = writeln!(out, "  {:>3}  {:<5}  {HEADINGS}", "#", "kind");
    for (at, trial) in found.trials.iter().enumerate() {
        row(&mut out, at + 1, at < found.short, trial);
    }
    let (answer, exit) = answer(found);
    let _ = writeln!(out, "  {answer}");
    (out, exit)
}

fn row(out: &mut String, number: usize, short: bool, trial: &Outcome) {
    let kind = if short { "short" } else { "long" };
    let _ = writeln!(out, "  {number:>3}  {kind:<5}  {}", trial.cells());
}

fn answer(found: &Found) -> (String, Exit) {
    let (short, long) = (found.short, found.trials.len() - found.short);
    let lowest_failed = found
        .trials
        .iter()
        .filter(|trial| !trial.valid)
        .map(|trial| trial.rate)
        .reduce(f64::min);
    match found.answer {
        Answer::Confirmed(rate) => {
            let above = lowest_failed.map_or_else(
                || "nothing above it was tried".to_owned(),
                |failed| format!("the lowest rate that was not valid is {failed}"),
            );
            (
                format!(
                    "peak: {rate} queries/s. It rests on a run of full length that was VALID, after {short} short \
                     trials and {} long runs that were not; {above}. Submit with --target-qps {rate}.",
                    long - 1
                ),
                Exit::Valid,
            )
        }
        Answer::Unconfirmed(rate) => (
            format!(
                "no peak: {long} runs of full length were not valid, down to {} queries/s, although short trials were. \
                 Try again below: --target-qps {rate}, with longer trials: --peak-trial.",
                found.trials.last().map_or(rate, |trial| trial.rate)
            ),
            Exit::NotValid,
        ),
        Answer::Ended => (
            match found
                .trials
                .iter()
                .filter(|trial| trial.valid)
                .map(|trial| trial.rate)
                .reduce(f64::max)
            {
                Some(rate) => format!(
                    "no peak: the search was ended. The highest rate that was valid so far is {rate} queries/s; go on \
                     from there with --target-qps {rate}."
                ),
                None => "no peak: the search was ended before a trial was valid.".to_owned(),
            },
            Exit::Partial,
        ),
        Answer::Above(rate) => (
            format!(
                "no peak: all {short} short trials were valid, up to {rate} queries/s. Begin higher: --target-qps {rate}."
            ),
            Exit::NotValid,
        ),
        Answer::None => (
            format!(
                "no peak: none of {short} short trials was valid, down to {} queries/s. Look at the console.txt of the \
                 last one for why.",
                lowest_failed.unwrap_or(0.0)
            ),
            Exit::NotValid,
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn trial(rate: f64, valid: bool) -> Outcome {
        Outcome {
            rate,
            valid,
            word: if valid { "VALID" } else { "INVALID" },
            queries: Some(700),
            ttft_p99_ns: Some(5_000_000),
            tpot_p99_ns: None,
            tokens_per_sec: Some(80.0),
            other_reason: false,
            took: Duration::from_secs(1),
            folder: format!("logs/peak/{rate}qps").into(),
        }
    }

    #[test]
    fn a_search_that_was_ended_keeps_what_it_found() {
        let found = Found {
            trials: vec![trial(10.0, true), trial(36.68, true), trial(60.0, false)],
            short: 3,
            answer: Answer::Ended,
        };
        let (text, exit) = render(&found, &TestSettings::default(), false);
        assert_eq!(exit, Exit::Partial);
        assert!(text.contains("valid so far is 36.68 queries/s"), "{text}");
        assert!(text.contains("logs/peak/60qps"), "{text}");
        let none = Found {
            trials: vec![trial(1.0, false)],
            short: 1,
            answer: Answer::Ended,
        };
        let (text, _) = render(&none, &TestSettings::default(), false);
        assert!(text.contains("ended before a trial was valid"), "{text}");
    }
}
