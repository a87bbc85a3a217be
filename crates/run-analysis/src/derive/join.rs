//! Joins requests with the server's times: as reported by the server, otherwise estimated.
//!
//! vLLM observes a request's queue, prefill and decode time when the request finishes. The means of those
//! histograms between the two scrapes around a request's end therefore describe that request and the few that
//! finished with it. If it was the only one in the interval, the means are its own times; they are still
//! marked as an estimate, since another client's request could have finished there.

use std::collections::BTreeMap;

use super::histogram::{self, Histogram, Interval};
use super::latency::{latency_sent_secs, ttft_sent_secs};
use run_model::{ENDPOINTS_FACT, RequestRow, RunData, TimeSource};

const QUEUE: &str = "vllm:request_queue_time_seconds";
const PREFILL: &str = "vllm:request_prefill_time_seconds";
const DECODE: &str = "vllm:request_decode_time_seconds";

/// A run's requests with the server's times and their sources.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Joined {
    /// Every request of the run, in the same order.
    pub requests: Vec<RequestRow>,
    /// Number of requests with times reported by the server.
    pub reported: usize,
    /// Number of requests with estimated times.
    pub estimated: usize,
    /// Number of requests with neither: not done, or finished while nothing was scraped.
    pub unknown: usize,
    /// Whether several servers were scraped. A row's index then selects one of the endpoints in the run's
    /// facts; a row with an endpoint that is not listed is not estimated.
    pub several_servers: bool,
}

/// Fills in estimated server times where the server reported none. The run is not changed.
pub fn server_times(run: &RunData) -> Joined {
    server_times_with(run, &histogram::collect(run))
}

/// Like [`server_times`], with the run's histograms.
pub fn server_times_with(run: &RunData, histograms: &[Histogram]) -> Joined {
    // Other exporters have histograms too, but only servers have these.
    let servers: BTreeMap<&str, [Times; 3]> = histograms
        .iter()
        .filter(|h| [QUEUE, PREFILL, DECODE].contains(&h.name.as_str()))
        .map(|h| &*h.origin.endpoint_url)
        .map(|url| {
            (
                url,
                [QUEUE, PREFILL, DECODE].map(|name| Times::of(histograms, name, url)),
            )
        })
        .collect();
    let listed: Vec<&str> = match run.manifest.facts.get(ENDPOINTS_FACT) {
        Some(urls) => urls.split(' ').collect(),
        None => Vec::new(),
    };
    let several_servers = servers.len() > 1;
    let times_of = |request: &RequestRow| {
        match listed.get(request.endpoint as usize) {
            // The only page may be another server's: it must be the one that answered.
            Some(url) => servers.get(url),
            // Without listed endpoints, the server is known only if there is just one.
            None if listed.is_empty() && !several_servers => servers.values().next(),
            None => None,
        }
    };
    let mut out = Joined {
        several_servers,
        ..Joined::default()
    };
    for request in &run.requests {
        let mut request = request.clone();
        if request.server_time_source == Some(TimeSource::Server) {
            out.reported += 1;
        } else if times_of(&request).is_some_and(|times| estimate(&mut request, times)) {
            out.estimated += 1;
        } else {
            out.unknown += 1;
        }
        out.requests.push(request);
    }
    out
}

/// Time that a request spent outside the engine: the client's time from sent to done, minus the server's
/// times; `None` if one of them is not known. Negative values are clamped to zero.
pub fn outside_engine_secs(request: &RequestRow) -> Option<f64> {
    let inside = request.server_queue_ns? + request.server_prefill_ns? + request.server_decode_ns?;
    Some((latency_sent_secs(request)? - inside as f64 / 1e9).max(0.0))
}

/// Returns true if all three times were found.
fn estimate(request: &mut RequestRow, [queue, prefill, decode]: &[Times; 3]) -> bool {
    let (Some(done), Some(whole)) = (request.done_ns, latency_sent_secs(request)) else {
        return false;
    };
    let (Some(q), Some(p), Some(d)) = (queue.mean_at(done), prefill.mean_at(done), decode.mean_at(done))
    else {
        return false;
    };
    // Queue and prefill precede the first token, so their sum may not exceed the measured time to it.
    let first = ttft_sent_secs(request).unwrap_or(whole);
    let shrink = if q + p > first && q + p > 0.0 {
        first / (q + p)
    } else {
        1.0
    };
    let nanos = |secs: f64| Some((secs * 1e9).round() as i64);
    request.server_queue_ns = nanos(q * shrink);
    request.server_prefill_ns = nanos(p * shrink);
    request.server_decode_ns = nanos(d.min((whole - first).max(0.0)));
    request.server_time_source = Some(TimeSource::Estimate);
    true
}

/// Observations of one family of one server over all engines, in order of time.
struct Times(Vec<Interval>);

impl Times {
    fn of(histograms: &[Histogram], name: &str, endpoint_url: &str) -> Self {
        let mut all: Vec<Interval> = histograms
            .iter()
            .filter(|h| h.name == name && &*h.origin.endpoint_url == endpoint_url)
            .flat_map(Histogram::intervals)
            .collect();
        all.sort_by_key(|i| i.end_ns);
        Self(all)
    }

    /// Mean of the observations in the interval around this time; `None` without any.
    fn mean_at(&self, t: i64) -> Option<f64> {
        let from = self.0.partition_point(|i| i.end_ns < t);
        // Engines of one endpoint are scraped together, so their intervals have the same end.
        let end = self.0.get(from)?.end_ns;
        let around = || {
            self.0[from..]
                .iter()
                .take_while(|i| i.end_ns == end)
                .filter(|i| i.start_ns < t)
        };
        let (sum, count) = around().fold((0.0, 0.0), |(s, n), i| (s + i.sum, n + i.count));
        (count > 0.0).then(|| (sum / count).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use run_model::{MetricType, Outcome, SeriesData, SeriesDef};

    const S: i64 = 1_000_000_000;

    fn family(name: &str, endpoint: &str, sums: &[f64]) -> Vec<SeriesData> {
        let one = |ending: &str, labels: &str, values: Vec<f64>| SeriesData {
            def: Arc::new(SeriesDef {
                metric_name: format!("{name}{ending}").into(),
                labels: labels.into(),
                metric_type: MetricType::Histogram,
                unit: "seconds".into(),
                source: "vllm".into(),
                endpoint_url: endpoint.into(),
            }),
            timestamps_ns: (0..values.len() as i64).map(|i| i * S).collect(),
            values,
            phases: Vec::new(),
        };
        // One observation per second.
        let counts: Vec<f64> = (0..sums.len()).map(|i| i as f64).collect();
        vec![
            one("_bucket", r#"{"le":"+Inf"}"#, counts.clone()),
            one("_count", "{}", counts),
            one("_sum", "{}", sums.to_vec()),
        ]
    }

    fn request(done_ns: Option<i64>) -> RequestRow {
        RequestRow {
            request_id: 1,
            sample_index: 0,
            batch_id: None,
            endpoint: 0,
            scheduled_ns: None,
            issued_ns: 0,
            sent_ns: Some(0),
            first_token_ns: done_ns.map(|t| t - S / 2),
            done_ns,
            prompt_tokens: None,
            output_tokens: None,
            server_queue_ns: None,
            server_prefill_ns: None,
            server_decode_ns: None,
            server_time_source: None,
            outcome: Outcome::Completed,
            reason: None,
        }
    }

    fn run(requests: Vec<RequestRow>) -> RunData {
        let series = [
            (QUEUE, [0.0, 0.1, 0.3]),
            (PREFILL, [0.0, 0.2, 0.5]),
            (DECODE, [0.0, 0.4, 0.8]),
        ]
        .iter()
        .flat_map(|(name, sums)| family(name, "a", sums))
        .collect();
        RunData {
            series,
            requests,
            ..RunData::default()
        }
    }

    #[test]
    fn the_interval_around_the_end_tells_the_times() {
        let told = RequestRow {
            server_time_source: Some(TimeSource::Server),
            ..request(Some(S + S / 2))
        };
        let got = server_times(&run(vec![
            request(Some(S + S / 2)),
            told.clone(),
            request(None),
            request(Some(9 * S)),
        ]));
        assert_eq!((got.reported, got.estimated, got.unknown), (1, 1, 2));
        let first = &got.requests[0];
        assert_eq!(first.server_time_source, Some(TimeSource::Estimate));
        assert_eq!(
            [
                first.server_queue_ns,
                first.server_prefill_ns,
                first.server_decode_ns
            ],
            [Some(S / 5), Some(3 * S / 10), Some(4 * S / 10)]
        );
        assert_eq!(got.requests[1], told);
    }

    #[test]
    fn several_servers_are_told_apart_by_the_listed_endpoints() {
        let mut run = run(vec![request(Some(S + S / 2))]);
        run.series
            .extend(family("http_request_duration_seconds", "x", &[0.0, 1.0, 2.0]));
        assert!(!server_times(&run).several_servers, "an exporter is no server");
        for (name, sums) in [
            (QUEUE, [0.0, 0.0, 0.05]),
            (PREFILL, [0.0, 0.0, 0.1]),
            (DECODE, [0.0, 0.0, 0.2]),
        ] {
            run.series.extend(family(name, "b", &sums));
        }
        run.requests[0].endpoint = 1;
        let unlisted = server_times(&run);
        assert!(unlisted.several_servers);
        assert_eq!((unlisted.estimated, unlisted.unknown), (0, 1));
        run.manifest.facts.insert(ENDPOINTS_FACT.into(), "a b x".into());
        assert_eq!(server_times(&run).requests[0].server_queue_ns, Some(S / 20));
        run.requests[0].endpoint = 0;
        assert_eq!(server_times(&run).requests[0].server_queue_ns, Some(S / 5));
        run.requests[0].endpoint = 2;
        assert_eq!(server_times(&run).unknown, 1, "x is no server");
        // The other server was never scraped successfully.
        run.series.retain(|series| &*series.def.endpoint_url == "a");
        run.requests[0].endpoint = 1;
        assert_eq!(
            server_times(&run).unknown,
            1,
            "b's requests are not estimated from a's page"
        );
    }
}
