//! Counts of the HTTP layer, in the form of vLLM's instrumentation.

use std::collections::BTreeMap;

use crate::histogram::Histogram;
use crate::histogram::buckets::{HTTP_COARSE_SECONDS, HTTP_FINE_SECONDS};

/// Requests of one route and method.
#[derive(Debug)]
pub(crate) struct RouteStats {
    /// Wall seconds at which the route was first used: its `_created` value.
    pub(crate) created_secs: f64,
    /// By status class (`2xx`, `4xx`, …).
    pub(crate) by_status: BTreeMap<&'static str, u64>,
    pub(crate) duration: Histogram,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) count: u64,
}

/// All routes. Monitoring routes (`/metrics`, `/health`, `/version`) are not counted.
#[derive(Debug)]
pub(crate) struct HttpStats {
    pub(crate) routes: BTreeMap<(&'static str, &'static str), RouteStats>,
    pub(crate) fine: Histogram,
}

/// One answered request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    pub(crate) handler: &'static str,
    pub(crate) method: &'static str,
    pub(crate) status: u16,
    pub(crate) seconds: f64,
    pub(crate) request_bytes: u64,
    /// 0 for a stream, whose length is not known when its head is sent.
    pub(crate) response_bytes: u64,
}

impl HttpStats {
    pub(crate) fn new() -> Self {
        Self {
            routes: BTreeMap::new(),
            fine: Histogram::new(HTTP_FINE_SECONDS),
        }
    }

    /// Counts one exchange that ended at `wall_secs`.
    pub(crate) fn record(&mut self, exchange: Exchange, wall_secs: f64) {
        let route = self
            .routes
            .entry((exchange.handler, exchange.method))
            .or_insert_with(|| RouteStats {
                created_secs: wall_secs,
                by_status: BTreeMap::new(),
                duration: Histogram::new(HTTP_COARSE_SECONDS),
                request_bytes: 0,
                response_bytes: 0,
                count: 0,
            });
        let class = match exchange.status / 100 {
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        *route.by_status.entry(class).or_default() += 1;
        route.count += 1;
        route.request_bytes += exchange.request_bytes;
        route.response_bytes += exchange.response_bytes;
        route.duration.observe(exchange.seconds);
        self.fine.observe(exchange.seconds);
    }
}
