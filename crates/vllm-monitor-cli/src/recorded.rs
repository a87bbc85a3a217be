//! Recorded runs as snapshots: the same ones that would have been made while the run was under way.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use vllm_metrics::{RequestRow, RunData, SeriesData, read_run};
use vllm_monitor::snapshot::OwnRequests;
use vllm_monitor::{Probe, ProbeOutcome, Signal, Snapshot, SnapshotBuilder, StaleAfter, Time};

/// The snapshots of a run that `vllm-metrics` recorded, one for each endpoint and interval, in order of time. Host and
/// GPU series belong to every endpoint. The harness's own requests count as ours.
///
/// # Errors
/// What the reader says about the file.
pub fn snapshots(path: &Path, interval: Duration) -> Result<Vec<Snapshot>, String> {
    let run = read_run(path).map_err(|e| e.to_string())?;
    Ok(of_run(&run, interval))
}

fn of_run(run: &RunData, interval: Duration) -> Vec<Snapshot> {
    let mut endpoints: BTreeMap<Arc<str>, Vec<&SeriesData>> = BTreeMap::new();
    let is_of_server = |series: &&SeriesData| !series.def.endpoint_url.is_empty();
    for series in run.series.iter().filter(is_of_server) {
        endpoints
            .entry(Arc::clone(&series.def.endpoint_url))
            .or_default()
            .push(series);
    }
    let common: Vec<&SeriesData> = run.series.iter().filter(|series| !is_of_server(series)).collect();
    let is_only = endpoints.len() == 1;
    let mut all: Vec<Snapshot> = Vec::new();
    for (url, mut series) in endpoints {
        series.extend(&common);
        // Of several endpoints, a row names the one by number; where there is one, every request went there.
        let requests = if is_only { &run.requests[..] } else { &[] };
        all.extend(of_endpoint(&url, &series, requests, interval));
    }
    all.sort_by_key(|snapshot| snapshot.time);
    all
}

/// One series on its way through time.
struct Walk<'a> {
    series: &'a SeriesData,
    labels: Vec<(String, String)>,
    is_page: bool,
    next: usize,
}

impl<'a> Walk<'a> {
    fn new(series: &'a SeriesData) -> Self {
        let labels = match serde_json::from_str(&series.def.labels) {
            Ok(Value::Object(map)) => map
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
                .collect(),
            _ => Vec::new(),
        };
        Self {
            series,
            labels,
            is_page: !series.def.endpoint_url.is_empty(),
            next: 0,
        }
    }

    /// Gives every value up to `now` to the builder. Returns the time of the newest page that it was on.
    fn advance(&mut self, builder: &mut SnapshotBuilder, now_ns: i64) -> Option<i64> {
        let mut newest = None;
        let labels: Vec<(&str, &str)> = self
            .labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        while let Some(at) = self
            .series
            .timestamps_ns
            .get(self.next)
            .filter(|at| **at <= now_ns)
        {
            let value = self.series.values[self.next];
            builder.sample(
                &self.series.def.metric_name,
                &labels,
                value,
                Time::from_nanos(*at),
            );
            newest = Some(*at).filter(|_| self.is_page);
            self.next += 1;
        }
        newest
    }
}

fn of_endpoint(
    url: &Arc<str>,
    series: &[&SeriesData],
    requests: &[RequestRow],
    interval: Duration,
) -> Vec<Snapshot> {
    let times = || series.iter().flat_map(|s| s.timestamps_ns.iter().copied());
    let (Some(first), Some(last)) = (times().min(), times().max()) else {
        return Vec::new();
    };
    let step = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX).max(1);
    let mut builder = SnapshotBuilder::new(Arc::clone(url), StaleAfter::default());
    let mut walks: Vec<Walk<'_>> = series.iter().map(|series| Walk::new(series)).collect();
    let mut own = Own::new(requests);
    let mut snapshots = Vec::new();
    let mut now = first;
    while now <= last {
        let page = walks
            .iter_mut()
            .filter_map(|walk| walk.advance(&mut builder, now))
            .max();
        if let Some(at) = page {
            let at = Time::from_nanos(at);
            builder.page_complete(at);
            // A page that was read is a probe that succeeded; how long it took is not in the record.
            builder.metrics_probe(Probe {
                at,
                outcome: ProbeOutcome::Status(200),
                connect_secs: None,
                first_byte_secs: None,
            });
        }
        if !requests.is_empty() {
            builder.own(own.at(now));
        }
        snapshots.push(builder.build(Time::from_nanos(now)));
        now = now.saturating_add(step);
    }
    snapshots
}

/// The harness's requests at one moment after the other.
struct Own<'a> {
    requests: &'a [RequestRow],
    next: usize,
    /// Places of those that were issued and are not done.
    open: Vec<usize>,
}

impl<'a> Own<'a> {
    fn new(requests: &'a [RequestRow]) -> Self {
        Self {
            requests,
            next: 0,
            open: Vec::new(),
        }
    }

    fn at(&mut self, now_ns: i64) -> OwnRequests {
        while self
            .requests
            .get(self.next)
            .is_some_and(|r| r.issued_ns <= now_ns)
        {
            self.open.push(self.next);
            self.next += 1;
        }
        self.open
            .retain(|place| self.requests[*place].done_ns.is_none_or(|done| done > now_ns));
        let open = || self.open.iter().map(|place| &self.requests[*place]);
        let begun = |r: &RequestRow| r.first_token_ns.filter(|at| *at <= now_ns);
        let queued: u32 = open()
            .filter(|r| begun(r).is_none())
            .filter_map(|r| r.prompt_tokens)
            .fold(0, u32::saturating_add);
        // The times of single tokens are not recorded. A request that has begun to answer may have got one just now,
        // so only requests without a first token show silence.
        let progress = if open().any(|r| begun(r).is_some()) {
            Signal::default()
        } else {
            let oldest = open().map(|r| r.sent_ns.unwrap_or(r.issued_ns)).min();
            oldest.map_or(Signal::default(), |sent| {
                Signal::fresh((now_ns - sent).max(0) as f64 / 1e9, 0.0)
            })
        };
        OwnRequests {
            in_flight: Signal::fresh(self.open.len() as f64, 0.0),
            since_progress_secs: progress,
            queued_prompt_tokens: Signal::fresh(f64::from(queued), 0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use vllm_metrics::{MetricType, SeriesDef};

    use super::*;

    fn series(name: &str, url: &str, values: &[f64]) -> SeriesData {
        SeriesData {
            def: Arc::new(SeriesDef {
                metric_name: name.into(),
                labels: r#"{"engine":"0"}"#.into(),
                metric_type: MetricType::Gauge,
                unit: "".into(),
                source: "vllm".into(),
                endpoint_url: url.into(),
            }),
            timestamps_ns: (0..values.len() as i64).map(|i| i * 1_000_000_000).collect(),
            values: values.to_vec(),
            phases: Vec::new(),
        }
    }

    #[test]
    fn a_run_becomes_snapshots_of_each_endpoint() {
        let run = RunData {
            series: vec![
                series("vllm:num_requests_running", "http://a/metrics", &[1.0, 2.0, 3.0]),
                series("vllm:num_requests_running", "http://b/metrics", &[7.0]),
                series("host_memory_available_bytes", "", &[100.0, 90.0, 80.0]),
            ],
            ..RunData::default()
        };
        let all = of_run(&run, Duration::from_secs(1));
        let of = |url: &str| all.iter().filter(|s| &*s.target == url).collect::<Vec<_>>();
        let a = of("http://a/metrics");
        assert_eq!(a.len(), 3);
        assert_eq!(a[2].engine.running.if_fresh(), Some(3.0));
        assert_eq!(a[2].host.memory_available_bytes.if_fresh(), Some(80.0));
        assert_eq!(of("http://b/metrics")[0].engine.running.if_fresh(), Some(7.0));
        assert!(all.windows(2).all(|pair| pair[0].time <= pair[1].time));
    }
}
