//! How fast a load generator can go: `sut` and its peers drive the same simulated server with the same requests, one
//! after the other in the same run, with the server on one core and the client on another.
//!
//! `cargo build --release -p sut && cargo run --release -p benches --bin serving`
//!
//! Three figures, one line each, `name<TAB>value<TAB>unit<TAB>context`:
//!
//! - `server_scenario_max_qps`: the highest rate of a ladder at which every request is answered and 99 of 100 are sent
//!   within 10 ms of their time;
//! - `issue_delay_p99_us`: from the scheduled time to LoadGen's hand-over, at 2,000 queries a second (and to the
//!   sending of the request, which is what peers report);
//! - `client_streamed_tokens_per_s`: tokens read with 256 requests in flight.
//!
//! `sut` records metrics during the measurement. Variables: `SUT` is the program (by default the one next to
//! this program), `REAL_VLLM_DIR` the folder of `scripts/real-vllm` for `vllm bench serve`, `AIPERF` the
//! program aiperf (available from pip). A peer that is not installed is SKIPPED by name. Arguments choose
//! clients: `ours`, `vllm`, `aiperf`.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use benches::serving::{Arrivals, Bench, Client, Load, SERVER_CORE, Seen, pin_self};

/// Rates in queries per second, tried in order.
const LADDER: &[f64] = &[
    125.0, 250.0, 500.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0, 6000.0, 8000.0, 10_000.0, 12_000.0, 16_000.0,
];
/// The rate at which delays are compared.
const RATE: f64 = 2000.0;
/// Seconds of load at each rate.
const SECS: f64 = 8.0;
/// A client that sends later than this does not keep up.
const LATE_US: f64 = 10_000.0;
/// Tokens per answer at a fixed rate.
const SERVER_TOKENS: u32 = 16;
/// With this many requests in flight, a client spends most of its time on tokens.
const CLOSED: Load = Load {
    arrivals: Arrivals::Closed(256),
    requests: 2000,
    output_tokens: 128,
};
/// For starting Python, the load itself, and writing the results.
const LIMIT: Duration = Duration::from_secs(240);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = words
        .iter()
        .find(|word| !["ours", "vllm", "aiperf"].contains(&word.as_str()))
    {
        bail!("{unknown}: the clients are ours, vllm and aiperf");
    }
    pin_self(SERVER_CORE)?;
    let folder = tempfile::tempdir()?;
    let bench = Bench {
        sut: sut()?,
        dir: folder.path().to_owned(),
        server_args: ["--preset", "h100-8b", "--speed", "50"]
            .map(str::to_owned)
            .to_vec(),
    };
    let clients = [
        ("ours", Ok(Client::Ours)),
        ("vllm", Client::vllm_bench()),
        ("aiperf", Client::aiperf()),
    ];
    for (word, client) in clients {
        if !words.is_empty() && !words.iter().any(|wanted| wanted == word) {
            continue;
        }
        let suffix = if word == "ours" {
            String::new()
        } else {
            format!("_{word}")
        };
        match client {
            Ok(client) => measure(&bench, &client, &suffix)?,
            Err(reason) => {
                for name in [
                    "server_scenario_max_qps",
                    "issue_delay_p99_us",
                    "client_streamed_tokens_per_s",
                ] {
                    say(&format!("{name}{suffix}\tSKIPPED\t\t{reason:#}"))?;
                }
            }
        }
    }
    Ok(())
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// The program to measure.
fn sut() -> Result<PathBuf> {
    let path = match std::env::var_os("SUT") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("sut"),
    };
    path.canonicalize().with_context(|| {
        format!(
            "{}: build it with cargo build --release -p sut, or name it in SUT",
            path.display()
        )
    })
}

/// All three figures of one client. A failed measurement is SKIPPED with its reason; the others still run.
fn measure(bench: &Bench, client: &Client, suffix: &str) -> Result<()> {
    match highest_rate(bench, client) {
        Ok((rate, context)) => say(&format!(
            "server_scenario_max_qps{suffix}\t{rate:.0}\tqueries/s\t{context}"
        ))?,
        Err(error) => say(&format!(
            "server_scenario_max_qps{suffix}\tSKIPPED\tqueries/s\t{error:#}"
        ))?,
    }
    let load = under(RATE);
    match bench.drive(client, &load, LIMIT) {
        Ok(seen) => {
            let delays = if seen.issue_delay_us.is_empty() {
                &seen.sent_delay_us
            } else {
                &seen.issue_delay_us
            };
            let value = Seen::percentile(delays, 99.0).map_or("SKIPPED".to_owned(), |us| format!("{us:.1}"));
            let context = seen.line(client.name());
            say(&format!(
                "issue_delay_p99_us{suffix}\t{value}\tus\tat {RATE} queries/s of {SERVER_TOKENS} tokens; {context}"
            ))?;
        }
        Err(error) => say(&format!("issue_delay_p99_us{suffix}\tSKIPPED\tus\t{error:#}"))?,
    }
    match bench.drive(client, &CLOSED, LIMIT) {
        Ok(seen) => say(&format!(
            "client_streamed_tokens_per_s{suffix}\t{:.0}\ttokens/s\t256 in flight, {} tokens each; {}",
            seen.tokens_per_sec(),
            CLOSED.output_tokens,
            seen.line(client.name())
        )),
        Err(error) => say(&format!(
            "client_streamed_tokens_per_s{suffix}\tSKIPPED\ttokens/s\t{error:#}"
        )),
    }
}

fn under(rate: f64) -> Load {
    Load {
        arrivals: Arrivals::Poisson(rate),
        requests: (rate * SECS) as usize,
        output_tokens: SERVER_TOKENS,
    }
}

/// Tries increasing rates until the client does not keep up.
fn highest_rate(bench: &Bench, client: &Client) -> Result<(f64, String)> {
    let mut reached = None;
    for &rate in LADDER {
        let load = under(rate);
        let seen = bench
            .drive(client, &load, LIMIT)
            .with_context(|| format!("at {rate} queries/s"))?;
        if !seen.kept_up(&load, LATE_US) {
            let context = format!("at {rate} it does not keep up: {}", seen.line(client.name()));
            return Ok((reached.unwrap_or(0.0), context));
        }
        reached = Some(rate);
    }
    let top = LADDER.last().copied().unwrap_or(0.0);
    Ok((
        top,
        format!("the top of the ladder; {SERVER_TOKENS} tokens an answer"),
    ))
}
