//! A serving client under load: ours and its peers drive the same simulated server with the same requests, one after
//! the other, the server on one core and the client on another.

mod clients;
mod processes;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

pub use clients::Client;
pub use processes::{Simulated, pin_self};

use processes::Watched;

/// Cores of the client and of the simulated server.
pub const CLIENT_CORE: &str = "0";
/// See [`CLIENT_CORE`].
pub const SERVER_CORE: &str = "1";
/// Length of every prompt in token ids, as in LoadGen's benchmarks.
pub const PROMPT_TOKENS: usize = 128;

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrivals {
    /// Poisson with this many a second, independent of the requests in flight.
    Poisson(f64),
    /// This many in flight; the next one is sent when one has ended.
    Closed(usize),
}

/// One load, the same for every client.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// When requests are sent.
    pub arrivals: Arrivals,
    /// How many.
    pub requests: usize,
    /// Tokens of every answer.
    pub output_tokens: u32,
}

/// What one client did with a load.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Requests sent.
    pub sent: usize,
    /// Requests answered in full.
    pub answered: usize,
    /// Tokens streamed in them.
    pub tokens: u64,
    /// From the first request sent to the last answer, as reported by the client.
    pub wall_secs: f64,
    /// Scheduled to sent, ascending, in microseconds; empty where the client does not report it.
    pub sent_delay_us: Vec<f64>,
    /// Scheduled to handed over by LoadGen, ascending, in microseconds; only for `sut`.
    pub issue_delay_us: Vec<f64>,
    /// CPU time of the client's processes, including startup.
    pub cpu_secs: f64,
    /// Peak memory of the client's processes together.
    pub peak_bytes: u64,
    /// Peak number of threads of the client's processes together.
    pub most_threads: u64,
    /// CPU time of the simulated server.
    pub server_cpu_secs: f64,
}

impl Seen {
    /// Value at percentile `p` of an ascending list; `None` when it is empty.
    pub fn percentile(sorted: &[f64], p: f64) -> Option<f64> {
        let last = sorted.len().checked_sub(1)?;
        sorted.get((p / 100.0 * last as f64).round() as usize).copied()
    }

    /// Whether the client kept up with a rate: all requests answered, and 99 of 100 sent within `limit_us` of
    /// their time.
    pub fn kept_up(&self, load: &Load, limit_us: f64) -> bool {
        self.answered == self.sent
            && self.sent >= load.requests
            && Self::percentile(&self.sent_delay_us, 99.0).is_some_and(|p99| p99 < limit_us)
    }

    /// Tokens streamed per second.
    pub fn tokens_per_sec(&self) -> f64 {
        self.tokens as f64 / self.wall_secs.max(f64::MIN_POSITIVE)
    }

    /// One line of readable text.
    pub fn line(&self, name: &str) -> String {
        let p99 = |what: &str, sorted: &[f64]| match Self::percentile(sorted, 99.0) {
            Some(us) => format!("scheduled to {what} p99 {us:.0} us, "),
            None => String::new(),
        };
        let delays = p99("issued", &self.issue_delay_us) + p99("sent", &self.sent_delay_us).as_str();
        format!(
            "{name}: {} of {} answered, {:.0} tokens/s, {delays}{:.1} CPU us a token \
             (client, start included), {} threads at most, {:.0} MiB at most; server {:.0} % of its core",
            self.answered,
            self.sent,
            self.tokens_per_sec(),
            self.cpu_secs / (self.tokens.max(1) as f64) * 1e6,
            self.most_threads,
            self.peak_bytes as f64 / f64::from(1 << 20),
            100.0 * self.server_cpu_secs / self.wall_secs.max(f64::MIN_POSITIVE),
        )
    }
}

/// What a measurement needs: the path of our program, and a folder for the clients' output.
#[derive(Debug)]
pub struct Bench {
    /// The program `sut`.
    pub sut: PathBuf,
    /// Emptied by its owner.
    pub dir: PathBuf,
    /// Further arguments of the simulated server, after its address and answer length.
    pub server_args: Vec<String>,
}

impl Bench {
    /// Runs one client against a fresh simulated server.
    ///
    /// # Errors
    /// The client is not installed, failed, ran longer than `limit`, or left no results.
    pub fn drive(&self, client: &Client, load: &Load, limit: Duration) -> Result<Seen> {
        let dir = tempfile::tempdir_in(&self.dir)?;
        let server = Simulated::start(&self.sut, load.output_tokens, &self.server_args)?;
        let command = client.command(self, load, &server.url, dir.path())?;
        let before = server.cpu_seconds()?;
        let watched = Watched::run(command, dir.path(), limit)?;
        let after = server.cpu_seconds()?;
        if !client.ended_well(watched.status) {
            bail!(
                "{} ended with {}: {}",
                client.name(),
                watched.status,
                watched.last_words()
            );
        }
        let mut seen = client
            .read(dir.path())
            .with_context(|| format!("{} left nothing to read: {}", client.name(), watched.last_words()))?;
        if let Arrivals::Closed(_) = load.arrivals {
            // Requests that wait for others to end have no scheduled time.
            (seen.issue_delay_us, seen.sent_delay_us) = (Vec::new(), Vec::new());
        }
        seen.cpu_secs = watched.cpu_secs;
        seen.peak_bytes = watched.peak_bytes;
        seen.most_threads = watched.most_threads;
        seen.server_cpu_secs = after - before;
        Ok(seen)
    }
}

/// Poisson arrivals in seconds from the start, the same for the same seed.
fn poisson(rate: f64, count: usize) -> Vec<f64> {
    // SplitMix64: good enough for arrival times, and needs no dependency.
    let mut state = 0x5eed_u64;
    let mut at = 0.0;
    (0..count)
        .map(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let unit = ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
            at += -(1.0 - unit).ln() / rate;
            at
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_have_the_rate_that_was_asked_for() {
        let times = poisson(1000.0, 10_000);
        let last = times.last().copied().expect("some");
        assert!((9.5..10.5).contains(&last), "{last}");
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
    }

    #[test]
    fn keeping_up_needs_every_answer_and_its_time() {
        let load = Load {
            arrivals: Arrivals::Poisson(1.0),
            requests: 2,
            output_tokens: 1,
        };
        let seen = Seen {
            sent: 2,
            answered: 2,
            sent_delay_us: vec![1.0, 9.0],
            ..Seen::default()
        };
        assert!(seen.kept_up(&load, 10.0) && !seen.kept_up(&load, 5.0));
        assert!(
            !Seen {
                answered: 1,
                ..seen.clone()
            }
            .kept_up(&load, 10.0)
        );
        assert!(
            !Seen {
                sent_delay_us: Vec::new(),
                ..seen
            }
            .kept_up(&load, 10.0),
            "not told is not kept"
        );
    }
}
