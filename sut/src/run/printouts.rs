//! The output of `--print-timing` and `--print-histogram`, above the closing table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::harness::request_log::RequestTimes;
use crate::plan::Plan;

/// Most batches that are listed individually; the batches file has all of them.
const LISTED: usize = 50;
/// Number of bars in a histogram.
const BARS: usize = 12;
/// Longest bar, in characters.
const WIDTH: usize = 48;

/// The output that the plan requests; empty if it requests none.
pub(crate) fn render(plan: &Plan, answers: &[RequestTimes]) -> String {
    let mut out = String::new();
    if plan.print_timing {
        timing(&mut out, answers);
    }
    if plan.print_histogram {
        let prompts: Vec<u32> = answers.iter().filter_map(|a| a.prompt_tokens).collect();
        histogram(&mut out, "prompt tokens", &prompts);
        let outputs: Vec<u32> = answers.iter().map(|a| a.output_tokens).collect();
        histogram(&mut out, "output tokens", &outputs);
    }
    out
}

/// Size, first send and last answer of one batch.
#[derive(Debug, Clone, Copy)]
struct BatchTimes {
    size: usize,
    sent_ns: i64,
    done_ns: i64,
}

fn timing(out: &mut String, answers: &[RequestTimes]) {
    let Some(start_ns) = answers.iter().map(|a| a.sent_ns).min() else {
        let _ = writeln!(out, "  timing         no query was answered");
        return;
    };
    let mut batches: BTreeMap<u64, BatchTimes> = BTreeMap::new();
    for answer in answers {
        let batch = batches.entry(answer.batch).or_insert(BatchTimes {
            size: 0,
            sent_ns: answer.sent_ns,
            done_ns: answer.done_ns,
        });
        batch.size += 1;
        batch.sent_ns = batch.sent_ns.min(answer.sent_ns);
        batch.done_ns = batch.done_ns.max(answer.done_ns);
    }
    let secs = |ns: i64| ns as f64 / 1e9;
    let _ = writeln!(out, "  batch     size    sent s    done s  duration s");
    for (id, batch) in batches.iter().take(LISTED) {
        let _ = writeln!(
            out,
            "  {id:<8} {:>5} {:>9.3} {:>9.3} {:>11.3}",
            batch.size,
            secs(batch.sent_ns - start_ns),
            secs(batch.done_ns - start_ns),
            secs(batch.done_ns - batch.sent_ns)
        );
    }
    if batches.len() > LISTED {
        let _ = writeln!(
            out,
            "  … and {} more (with metrics collection the batches file has them all)",
            batches.len() - LISTED
        );
    }
    let durations: Vec<f64> = batches.values().map(|b| secs(b.done_ns - b.sent_ns)).collect();
    let mean = durations.iter().sum::<f64>() / durations.len() as f64;
    let variance = durations.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / durations.len() as f64;
    let least = durations.iter().copied().fold(f64::INFINITY, f64::min);
    let most = durations.iter().copied().fold(0.0, f64::max);
    let _ = writeln!(
        out,
        "  {} batches: min {least:.3} s, max {most:.3} s, mean {mean:.3} s, std {:.3} s",
        durations.len(),
        variance.sqrt()
    );
}

fn histogram(out: &mut String, what: &str, values: &[u32]) {
    let (Some(least), Some(most)) = (values.iter().min(), values.iter().max()) else {
        let _ = writeln!(out, "  {what}: none reported");
        return;
    };
    let step = ((most - least) as usize / BARS + 1) as u32;
    let mut counts = vec![0_usize; ((most - least) / step) as usize + 1];
    for value in values {
        counts[((value - least) / step) as usize] += 1;
    }
    let highest = counts.iter().max().copied().unwrap_or(1).max(1);
    let _ = writeln!(out, "  {what} (n = {})", values.len());
    for (bar, count) in counts.iter().enumerate() {
        let from = least + step * bar as u32;
        let length = (count * WIDTH).div_ceil(highest);
        let _ = writeln!(
            out,
            "  {from:>7} to {:>7} {count:>7} {}",
            from + step - 1,
            "█".repeat(length)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(batch: u64, sent_ns: i64, done_ns: i64, output_tokens: u32) -> RequestTimes {
        RequestTimes {
            batch,
            scheduled_ns: 0,
            sent_ns,
            first_token_ns: None,
            done_ns,
            output_tokens,
            prompt_tokens: Some(7),
        }
    }

    #[test]
    fn batches_last_from_first_send_to_last_answer() {
        let mut out = String::new();
        timing(
            &mut out,
            &[
                answer(0, 0, 1_000_000_000, 1),
                answer(0, 5, 3_000_000_000, 1),
                answer(1, 9, 1_000_000_009, 1),
            ],
        );
        assert!(
            out.contains("2 batches: min 1.000 s, max 3.000 s, mean 2.000 s, std 1.000 s"),
            "{out}"
        );
    }

    #[test]
    fn histograms_hold_every_value() {
        let mut out = String::new();
        histogram(&mut out, "tokens", &[1, 1, 2, 128]);
        let total: usize = out
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().nth(3).unwrap().parse::<usize>().unwrap())
            .sum();
        assert_eq!(total, 4, "{out}");
        histogram(&mut out, "tokens", &[]);
        assert!(out.contains("none reported"));
    }
}
