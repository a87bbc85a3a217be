//! `sut watch`: a record or a server on the terminal.

use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use run_terminal::{History, Options, Output, Screen, Snapshot, Source, State};
use vllm_metrics::EndpointConfig;
use vllm_metrics::config::DEFAULT_INTERVAL;
use vllm_metrics::view::LiveView;

use super::report::{folder_of, must_exist};
use crate::cli::WatchArgs;
use crate::console::{self, print};
use crate::exit::{Exit, Fail};
use crate::live::{self, Scraped, Stored};
use crate::plan::{refusal, words};
use crate::recorder;
use crate::shutdown::Shutdown;

/// Time between two lines where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// Longest time until the end of a screen is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Window of a line's figures.
const PLAIN_WINDOW_NS: i64 = 10_000_000_000;

pub(super) fn run(args: &WatchArgs) -> Result<Exit, Fail> {
    let mut wrong = Vec::new();
    let interval = words::interval("--interval", args.interval.as_ref(), DEFAULT_INTERVAL, &mut wrong);
    if !wrong.is_empty() {
        return Err(refusal("nothing is shown", &wrong));
    }
    let (source, keep, whole): (Box<dyn Source>, _, _) = if args.run.contains("://") {
        (Box::new(scrape(&args.run, interval)?), live::KEEP, false)
    } else {
        let path = Path::new(&args.run);
        must_exist(path)?;
        let stored = Stored::open(path, folder_of(path)).map_err(Fail::usage)?;
        // A finished record is shown as a whole, one that grows with its newest figures.
        let whole = stored.has_ended();
        (Box::new(stored), Duration::MAX, whole)
    };
    let (runtime, shutdown) = Shutdown::watched()?;
    if live::can_show(Output::Stdout) {
        let options = Options {
            output: Output::Stdout,
            keep,
            whole,
            asks: false,
        };
        let log = console::hold();
        let screen = Screen::start(source, options);
        let shown = screen.map(|screen| {
            while !screen.is_closed() && !shutdown.stop.is_cancelled() {
                std::thread::sleep(LOOK_EVERY);
            }
            screen.finish()
        });
        drop(log);
        let cost = shown.map_err(|error| anyhow!("the terminal cannot be used: {error}"))?;
        tracing::debug!("the screen took {cost}");
    } else {
        lines(source, keep, &shutdown);
    }
    runtime.shutdown_background();
    Ok(Exit::Valid)
}

/// Checks the endpoint, so that a wrong URL is an error and not an empty screen.
fn scrape(url: &str, interval: Duration) -> Result<Scraped, Fail> {
    let endpoint = EndpointConfig::new(url);
    let probed = recorder::probe_endpoints(std::slice::from_ref(&endpoint)).map_err(anyhow::Error::from)?;
    for answer in &probed {
        recorder::describe_probe(answer)
            .map_err(|why| Fail::unreachable(anyhow!("nothing to show: {why}")))?;
    }
    Scraped::start(endpoint, interval).map_err(Fail::usage)
}

/// A line every few seconds, until the record ends or a signal arrives.
fn lines(mut source: Box<dyn Source>, keep: Duration, shutdown: &Shutdown) {
    let mut view = LiveView::new(keep);
    let history = History::default();
    while !shutdown.stop.is_cancelled() {
        let status = source.advance(&mut view);
        let ended = matches!(status.state, State::Ended { .. });
        let window_ns = if ended { None } else { Some(PLAIN_WINDOW_NS) };
        let verdict = match &status.state {
            State::Ended {
                verdict: Some(verdict),
                ..
            } => format!("{verdict}\n"),
            _ => String::new(),
        };
        let line = Snapshot::of(&view, &history, status, window_ns).line();
        print(&format!("{line}\n{verdict}"));
        if ended {
            return;
        }
        let wait = std::time::Instant::now() + PLAIN_EVERY;
        while std::time::Instant::now() < wait && !shutdown.stop.is_cancelled() {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
