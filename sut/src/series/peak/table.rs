//! The table of a search, and its result with the evidence for it.

use std::fmt::Write as _;

use mlperf_loadgen::TestSettings;

use super::{Answer, Found, Outcome};
use crate::exit::Exit;

/// The text and its exit status.
pub(super) fn render(found: &Found, settings: &TestSettings, simulated: bool) -> (String, Exit) {
    let mark = if simulated { "   [SIMULATED]" } else { "" };
    let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
    let mut out = format!(
        "find peak{mark}   limits at the 99th percentile: TTFT {} ms, TPOT {} ms\n",
        ms(settings.server_ttft_latency),
        ms(settings.server_tpot_latency)
    );
    let _ = writeln!(
        out,
        "  {:>3}  {:<5}  {:>10}  {:>8}  {:<9}  {:>12}  {:>12}  {:>10}  folder",
        "#", "kind", "queries/s", "queries", "result", "TTFT p99", "TPOT p99", "tokens/s"
    );
    for (at, trial) in found.trials.iter().enumerate() {
        row(&mut out, at + 1, at < found.short, trial);
    }
    let (answer, exit) = answer(found);
    let _ = writeln!(out, "  {answer}");
    (out, exit)
}

fn row(out: &mut String, number: usize, short: bool, trial: &Outcome) {
    let absent = || "none".to_owned();
    let ms = |ns: Option<i64>| ns.map_or_else(absent, |ns| format!("{:.2} ms", ns as f64 / 1e6));
    let _ = writeln!(
        out,
        "  {number:>3}  {:<5}  {:>10}  {:>8}  {:<9}  {:>12}  {:>12}  {:>10}  {}",
        if short { "short" } else { "long" },
        trial.rate,
        trial.queries.map_or_else(absent, |queries| queries.to_string()),
        trial.word,
        ms(trial.ttft_p99_ns),
        ms(trial.tpot_p99_ns),
        trial
            .tokens_per_sec
            .map_or_else(absent, |tokens| format!("{tokens:.1}")),
        trial.folder.display()
    );
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
