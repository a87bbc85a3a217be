//! Progress output: a bar on a terminal, otherwise a plain line every few seconds.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::harness::counters::Counters;
use crate::harness::forecast::{EarlyStopForecast, RunState};

/// Time between two plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Shows the run's progress; call [`Progress::tick`] a few times a second.
#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
    expected: Option<u64>,
    bar: Option<ProgressBar>,
    next_line: Instant,
    previous: (Instant, u64, u64),
    rate: (f64, f64),
    forecast: Option<Arc<EarlyStopForecast>>,
    /// The forecast's last sentence, cached since computing it ten times a second is wasteful.
    sentence: String,
}

impl Progress {
    /// `expected` is the number of queries that LoadGen will issue, if known; `forecast` is set if LoadGen
    /// judges latencies.
    pub(crate) fn start(expected: Option<u64>, forecast: Option<Arc<EarlyStopForecast>>) -> Self {
        let now = Instant::now();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(expected, ProgressDrawTarget::stderr_with_hz(8));
            bar.set_style(
                // Two lines, so that it fits into 80 columns.
                ProgressStyle::with_template(
                    "{elapsed_precise} [{bar:20.cyan/dim}] {pos}/{len} {prefix}\n         {wide_msg}",
                )
                .expect("the template is valid")
                .progress_chars("━╸─"),
            );
            bar
        });
        Self {
            started: now,
            expected,
            bar,
            next_line: now + PLAIN_EVERY,
            previous: (now, 0, 0),
            rate: (0.0, 0.0),
            forecast,
            sentence: String::new(),
        }
    }

    /// Shows the current counts. `streamed` is the number of tokens received so far, including those of answers
    /// that are not complete.
    pub(crate) fn tick(&mut self, counters: &Counters, streamed: u64) {
        let now = Instant::now();
        let done = Counters::get(&counters.completed) + Counters::get(&counters.failed);
        // Answers that are not streamed are counted at their end.
        let tokens = streamed.max(Counters::get(&counters.output_tokens));
        let window = now.duration_since(self.previous.0).as_secs_f64();
        if window >= 1.0 {
            self.rate = (
                (done - self.previous.1) as f64 / window,
                tokens.saturating_sub(self.previous.2) as f64 / window,
            );
            self.previous = (now, done, tokens);
            if let Some(forecast) = &self.forecast {
                self.sentence = forecast.sentence(RunState {
                    failed: Counters::get(&counters.failed),
                    planned: self.expected,
                    elapsed: now.duration_since(self.started),
                });
            }
        }
        let issued = Counters::get(&counters.issued);
        let total = self.expected.unwrap_or(0).max(issued);
        let (rates, rest) = self.message(counters, now, done, total);
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_prefix(rates);
            bar.set_message(rest);
        } else if now >= self.next_line {
            self.next_line = now + PLAIN_EVERY;
            let elapsed = now.duration_since(self.started).as_secs();
            // A closed pipe must not end a benchmark.
            let _ = writeln!(
                std::io::stderr(),
                "progress: {elapsed} s, {done} of {total} samples, {rates}, {rest}"
            );
        }
    }

    fn message(&self, counters: &Counters, now: Instant, done: u64, total: u64) -> (String, String) {
        let (queries_per_sec, tokens_per_sec) = self.rate;
        let in_flight = counters.in_flight.load(std::sync::atomic::Ordering::Relaxed);
        let failed = Counters::get(&counters.failed);
        let rates = format!("{queries_per_sec:.1} samples/s, {tokens_per_sec:.0} tokens/s");
        let mut rest = format!("{in_flight} in flight");
        if failed > 0 {
            rest.push_str(&format!(", {failed} FAILED"));
        }
        // The remaining time is known only if the number of samples is.
        if self.expected.is_some() && done > 0 && done < total {
            let elapsed = now.duration_since(self.started).as_secs_f64();
            let remaining = elapsed * (total - done) as f64 / done as f64;
            rest.push_str(&format!(", about {remaining:.0} s left"));
        }
        if !self.sentence.is_empty() {
            rest.push_str("; ");
            rest.push_str(&self.sentence);
        }
        (rates, rest)
    }

    /// Removes the bar from the screen.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_answers_that_are_not_complete_count() {
        let counters = Counters::default();
        for _ in 0..128 {
            Counters::bump(&counters.issued);
        }
        let mut progress = Progress::start(Some(128), None);
        progress.previous.0 -= Duration::from_secs(2);
        progress.tick(&counters, 4000);
        let (rates, rest) = progress.message(&counters, Instant::now(), 0, 128);
        assert!(rates.starts_with("0.0 samples/s, "), "{rates}");
        let tokens: f64 = rates
            .split(", ")
            .nth(1)
            .and_then(|part| part.strip_suffix(" tokens/s"))
            .and_then(|number| number.parse().ok())
            .expect("a rate of tokens");
        // 4000 tokens in slightly more than 2 s.
        assert!(tokens > 0.0 && tokens <= 2000.0, "{rates}");
        assert!(!rest.contains("left"), "no remaining time is made up: {rest}");
    }
}
