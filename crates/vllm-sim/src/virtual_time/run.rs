//! A whole workload on a fresh server.

use std::time::Duration;

use super::record::RequestRecord;
use super::server::VirtualServer;
use super::workload::{Arrivals, Workload};
use crate::config::SimConfig;
use crate::error::Result;

/// Options of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOptions {
    /// Interval of metrics pages, from time 0 on, with one more at the end; `None` takes none.
    pub scrape_every: Option<Duration>,
    /// Keep the time of every token.
    pub keep_token_times: bool,
    /// End the run here and cancel requests in flight. Otherwise a server that hangs forever would never end.
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

/// The result of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualRun {
    /// Every request, by number.
    pub requests: Vec<RequestRecord>,
    /// Metrics pages with their times; there is none while no server is running.
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

/// Like [`run`], with a call at each scrape that may act on the server: `act(server, page)`. The page is
/// `None` while no server is running.
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
    // Number of requests left to send in a closed loop.
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
        // Before arrivals at the same time, so that an action at time 0 applies to the first request.
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
