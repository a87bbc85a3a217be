//! A whole workload on a fresh server.

use std::time::Duration;

use super::record::RequestRecord;
use super::server::VirtualServer;
use super::workload::{Arrivals, Workload};
use crate::config::SimConfig;
use crate::error::Result;

/// How a workload is run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOptions {
    /// Take the metrics page this often, from time 0 on, and once more at the end; `None` takes none.
    pub scrape_every: Option<Duration>,
    /// Keep the time of every token.
    pub keep_token_times: bool,
    /// End the run here even if requests are in flight; they are cancelled then. A server that hangs for ever would
    /// otherwise never end.
    pub limit: Duration,
}

impl Default for RunOptions {
    /// A page a second, no token times, at most a day.
    fn default() -> Self {
        Self {
            scrape_every: Some(Duration::from_secs(1)),
            keep_token_times: false,
            limit: Duration::from_secs(24 * 3600),
        }
    }
}

/// What a run left.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualRun {
    /// Every request, by number.
    pub requests: Vec<RequestRecord>,
    /// Metrics pages with their times; a time at which no server was there has none.
    pub pages: Vec<(Duration, String)>,
    /// When the last request ended.
    pub ended: Duration,
}

/// Runs a workload to its end.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) for a configuration or workload that cannot be run.
pub fn run(config: &SimConfig, workload: &Workload, options: &RunOptions) -> Result<VirtualRun> {
    run_with(config, workload, options, |_, _| {})
}

/// As [`run`], with a call at each scrape, which may act on the server: `act(server, page)`. The page is `None` while no
/// server is there.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    config: &SimConfig,
    workload: &Workload,
    options: &RunOptions,
    mut act: impl FnMut(&mut VirtualServer, Option<&str>),
) -> Result<VirtualRun> {
    workload.validate()?;
    let mut server = VirtualServer::new(config.clone())?;
    server.keep_token_times(options.keep_token_times);
    let scheduled = workload.arrival_times();
    let count = scheduled.as_ref().map_or(workload.requests as usize, Vec::len);
    // What a closed loop still may send now.
    let mut due = match workload.arrivals {
        Arrivals::Closed { concurrency } => concurrency as usize,
        _ => 0,
    };
    let (mut requests, mut pages) = (Vec::with_capacity(count), Vec::new());
    let (mut sent, mut next_scrape) = (0, options.scrape_every.map(|_| Duration::ZERO));
    let mut scrape = |server: &mut VirtualServer| {
        let page = server.metrics_page();
        act(server, page.as_deref());
        pages.extend(page.map(|page| (server.now(), page)));
    };
    while requests.len() < count && server.now() < options.limit {
        // Before what arrives at the same time, so that an action at time 0 holds for the first request.
        if let (Some(at), Some(every)) = (next_scrape, options.scrape_every)
            && at <= server.now()
        {
            scrape(&mut server);
            next_scrape = Some(at + every.max(Duration::from_millis(1)));
        }
        while sent < count
            && match &scheduled {
                Some(times) => times[sent] <= server.now(),
                None => due > 0,
            }
        {
            server.submit(workload.request(sent as u32, &server.config().engine));
            sent += 1;
            due = due.saturating_sub(1);
        }
        let arrival = scheduled.as_ref().and_then(|times| times.get(sent)).copied();
        let times = [server.next_event(), arrival, next_scrape, Some(options.limit)];
        let next = times.into_iter().flatten().min().unwrap_or(options.limit);
        server.advance_to(next);
        let ended = server.take_ended();
        due += if scheduled.is_none() { ended.len() } else { 0 };
        requests.extend(ended);
    }
    for number in server.in_flight() {
        server.cancel(number);
    }
    requests.extend(server.take_ended());
    if options.scrape_every.is_some() {
        scrape(&mut server);
    }
    requests.sort_unstable_by_key(|record: &RequestRecord| record.number);
    let ended = requests
        .iter()
        .map(|record| record.ended)
        .max()
        .unwrap_or_default();
    Ok(VirtualRun {
        requests,
        pages,
        ended,
    })
}
