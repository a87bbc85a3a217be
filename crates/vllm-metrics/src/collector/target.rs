//! One endpoint's task: wait for a tick, a phase edge or the end; scrape; say what happened.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use exposition::Format;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::schedule::{BackOff, Schedule};
use super::tally::{EndpointReport, Gap};
use crate::catalog::{Version, drift};
use crate::config::{Endpoint, Resolved};
use crate::error::Result;
use crate::model::{EventRow, MetricType, Sample, SampleBatch, SeriesId, Severity};
use crate::scrape::{Fetched, Fetcher, PageReader, PageResult, ScrapeError, SeriesOrigin};
use crate::session::{Core, OwnSeries, event};

/// Everything that one endpoint's task owns.
#[derive(Debug)]
pub(super) struct Target {
    core: Arc<Core>,
    url: String,
    interval: Duration,
    expect: Vec<String>,
    fetcher: Fetcher,
    reader: PageReader,
    body: Vec<u8>,
    own: Own,
    report: Arc<Mutex<EndpointReport>>,
    gap: Option<Gap>,
    said: Said,
    debug: bool,
    server_version: Option<Version>,
}

/// The series about the scrapes themselves, named as Prometheus names them.
#[derive(Debug)]
struct Own {
    up: SeriesId,
    duration: SeriesId,
    parse: SeriesId,
    samples: SeriesId,
    body: SeriesId,
}

/// Oddities of a page are told once, not at every scrape.
#[derive(Debug, Default)]
struct Said {
    bad_lines: bool,
    duplicates: bool,
    own_timestamps: bool,
    not_expected: bool,
}

/// Why a scrape is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Tick,
    Retry,
    Forced(u64),
}

impl Target {
    pub(super) fn new(endpoint: &Endpoint, config: &Resolved, core: &Arc<Core>) -> Result<Self> {
        let url = endpoint.shown_url.clone();
        let own = |name, unit| {
            core.own_series(&OwnSeries {
                name,
                metric_type: MetricType::Gauge,
                unit,
                labels: &[],
                endpoint_url: &url,
            })
        };
        let origin = SeriesOrigin {
            endpoint_url: Arc::from(url.as_str()),
            labels: endpoint.labels.clone(),
            simulated: config.simulated,
        };
        Ok(Self {
            own: Own {
                up: own("up", ""),
                duration: own("scrape_duration_seconds", "seconds"),
                parse: own("scrape_parse_seconds", "seconds"),
                samples: own("scrape_samples_scraped", ""),
                body: own("scrape_body_size_bytes", "bytes"),
            },
            fetcher: Fetcher::new(endpoint, config.body_limit_bytes, &core.clock)?,
            reader: PageReader::new(origin, endpoint.expect.clone(), endpoint.selector.clone()),
            report: Arc::new(Mutex::new(EndpointReport {
                endpoint_url: url.clone(),
                never_answered: true,
                ..EndpointReport::default()
            })),
            core: Arc::clone(core),
            url,
            interval: endpoint.interval,
            expect: endpoint.expect.clone(),
            body: Vec::new(),
            gap: None,
            said: Said::default(),
            debug: config.debug,
            server_version: endpoint.server_version,
        })
    }

    pub(super) fn report(&self) -> Arc<Mutex<EndpointReport>> {
        Arc::clone(&self.report)
    }

    /// Scrapes until stopped, the first tick `share` of an interval from now. `served` is told the number of each
    /// forced scrape that has ended.
    pub(super) async fn run(
        mut self,
        share: f64,
        mut wanted: watch::Receiver<u64>,
        stop: CancellationToken,
        served: impl Fn(u64),
    ) {
        let mut schedule = Schedule::new(Instant::now() + self.interval.mul_f64(share), self.interval);
        let mut back_off = BackOff::new();
        let mut retry_at: Option<Instant> = None;
        loop {
            let tick = schedule.next_tick();
            let wake_at = retry_at.map_or(tick, |retry_at| retry_at.min(tick));
            let cause = tokio::select! {
                // In this order: the end before an edge before a tick.
                biased;
                () = stop.cancelled() => break,
                Ok(()) = wanted.changed() => Cause::Forced(*wanted.borrow_and_update()),
                () = sleep_until(wake_at) => if wake_at == tick { Cause::Tick } else { Cause::Retry },
            };
            let succeeded = self.scrape(cause).await;
            match cause {
                Cause::Tick => schedule.advance(),
                Cause::Forced(number) => served(number),
                Cause::Retry => {}
            }
            retry_at = if succeeded {
                back_off.reset();
                None
            } else {
                Some(Instant::now() + back_off.next_wait())
            };
            let missed = schedule.skip_missed(Instant::now());
            if missed > 0 {
                self.missed(missed);
            }
        }
        // The last values of a run bracket it. An endpoint that did not answer before would only delay the end.
        if self.gap.is_none() {
            self.scrape(Cause::Forced(0)).await;
        }
        self.close_gap(self.core.clock.now_ns());
    }

    /// One scrape; true if it gave samples.
    async fn scrape(&mut self, cause: Cause) -> bool {
        let mut body = std::mem::take(&mut self.body);
        let fetched = self.fetcher.fetch(&mut body).await;
        let outcome = fetched.and_then(|fetched| self.read(&fetched, &body));
        self.body = body;
        match outcome {
            Ok(()) => true,
            Err((start_ns, error)) => {
                self.failed(start_ns, &error, cause);
                false
            }
        }
    }

    fn read(&mut self, fetched: &Fetched, body: &[u8]) -> Result<(), (i64, ScrapeError)> {
        let format = Format::from_content_type(&fetched.content_type);
        let begin = std::time::Instant::now();
        let mut page = self.reader.read(body, format, fetched.start_ns, &self.core.queue);
        let parse_time = begin.elapsed();
        if page.samples.is_empty() && page.left_out == 0 {
            return Err((
                fetched.start_ns,
                ScrapeError::WrongContent(what_came(&fetched.content_type, body, &page)),
            ));
        }
        self.close_gap(fetched.start_ns);
        self.tell_oddities(fetched.start_ns, &page);
        let fetch_time = Duration::from_nanos(u64::try_from(fetched.end_ns - fetched.start_ns).unwrap_or(0));
        self.with_report(|report| {
            report.never_answered = false;
            report.scrapes += 1;
            report.samples += page.samples.len() as u64;
            report.body_bytes += body.len() as u64;
            report.fetch_time += fetch_time;
            report.longest_fetch = report.longest_fetch.max(fetch_time);
            report.parse_time += parse_time;
            report.bad_lines += u64::from(page.bad_lines);
            report.duplicates += u64::from(page.duplicates);
            report.counter_resets += u64::from(page.resets > 0);
        });
        if let Some(names) = self.reader.take_names() {
            self.tell_names(fetched.start_ns, &names);
        }
        if self.debug {
            self.tell_everything(fetched, body, &page, parse_time);
        }
        let scraped = page.samples.len() as f64;
        let own = [
            (self.own.up, 1.0),
            (self.own.duration, fetch_time.as_secs_f64()),
            (self.own.parse, parse_time.as_secs_f64()),
            (self.own.samples, scraped),
            (self.own.body, body.len() as f64),
        ];
        page.samples.extend(own.map(|(series, value)| Sample {
            series,
            timestamp_ns: fetched.start_ns,
            value,
        }));
        self.core.samples(SampleBatch {
            start_ns: fetched.start_ns,
            end_ns: fetched.end_ns,
            phase: Arc::default(),
            samples: page.samples,
        });
        Ok(())
    }

    fn failed(&mut self, start_ns: i64, error: &ScrapeError, cause: Cause) {
        self.with_report(|report| report.failed_scrapes += 1);
        let reason = error.to_string();
        let missed = u64::from(cause == Cause::Tick);
        let is_news = match &mut self.gap {
            Some(gap) => {
                gap.missed_scrapes += missed;
                let is_news = gap.reason != reason;
                gap.reason.clone_from(&reason);
                is_news
            }
            None => {
                self.gap = Some(Gap {
                    endpoint_url: self.url.clone(),
                    start_ns,
                    end_ns: start_ns,
                    reason: reason.clone(),
                    missed_scrapes: missed,
                });
                true
            }
        };
        if is_news {
            tracing::warn!(url = %self.url, %reason, "scrape failed");
            self.core.event(event(
                start_ns,
                "scrape_failed",
                Severity::Warning,
                "self",
                format!("{}: {reason}", self.url),
                &json!({"endpoint_url": self.url, "reason": error.word()}),
            ));
        }
        if cause != Cause::Retry {
            self.core.samples(SampleBatch {
                start_ns,
                end_ns: self.core.clock.now_ns(),
                phase: Arc::default(),
                samples: vec![Sample {
                    series: self.own.up,
                    timestamp_ns: start_ns,
                    value: 0.0,
                }],
            });
        }
    }

    fn close_gap(&mut self, end_ns: i64) {
        let Some(mut gap) = self.gap.take() else { return };
        gap.end_ns = end_ns;
        let seconds = (gap.end_ns - gap.start_ns) as f64 / 1e9;
        self.core.event(EventRow {
            end_ns: Some(end_ns),
            ..event(
                gap.start_ns,
                "gap",
                Severity::Warning,
                "self",
                format!("{}: no samples for {seconds:.3} s: {}", self.url, gap.reason),
                &json!({
                    "endpoint_url": self.url,
                    "reason": gap.reason,
                    "missed_scrapes": gap.missed_scrapes,
                }),
            )
        });
        self.with_report(|report| report.gaps.push(gap));
    }

    fn missed(&self, ticks: u32) {
        self.with_report(|report| report.missed_ticks += u64::from(ticks));
        self.core.event(event(
            self.core.clock.now_ns(),
            "missed_tick",
            Severity::Warning,
            "self",
            format!(
                "{}: {ticks} scrapes were not made because the one before ended too late; a longer interval helps",
                self.url
            ),
            &json!({"endpoint_url": self.url, "missed": ticks}),
        ));
    }

    fn tell_oddities(&mut self, at_ns: i64, page: &PageResult) {
        let url = &self.url;
        let tell = |kind, severity, message: String, attributes| {
            self.core.event(event(
                at_ns,
                kind,
                severity,
                "self",
                format!("{url}: {message}"),
                &attributes,
            ));
        };
        if page.resets > 0 {
            let example = page.first_reset.as_deref().unwrap_or_default();
            tell(
                "counter_reset",
                Severity::Warning,
                format!(
                    "{} counters fell, {example} among them: the server was started again",
                    page.resets
                ),
                json!({"endpoint_url": url, "series": page.resets, "example": example}),
            );
        }
        if page.bad_lines > 0 && !self.said.bad_lines {
            self.said.bad_lines = true;
            let example = page.first_bad.as_deref().unwrap_or_default();
            tell(
                "bad_lines",
                Severity::Warning,
                format!(
                    "{} lines could not be read and were left out; {example}",
                    page.bad_lines
                ),
                json!({"endpoint_url": url, "lines": page.bad_lines, "example": example}),
            );
        }
        if page.duplicates > 0 && !self.said.duplicates {
            self.said.duplicates = true;
            let example = page.first_duplicate.as_deref().unwrap_or_default();
            tell(
                "duplicate_series",
                Severity::Warning,
                format!(
                    "{} series stand on the page twice, {example} among them; the first counts",
                    page.duplicates
                ),
                json!({"endpoint_url": url, "series": page.duplicates, "example": example}),
            );
        }
        if page.own_timestamps > 0 && !self.said.own_timestamps {
            self.said.own_timestamps = true;
            tell(
                "source_timestamps",
                Severity::Info,
                format!(
                    "{} samples carry a time of the server's clock; the run's own is kept",
                    page.own_timestamps
                ),
                json!({"endpoint_url": url, "samples": page.own_timestamps}),
            );
        }
        if !page.expected_seen && !self.said.not_expected {
            self.said.not_expected = true;
            let names = self.expect.join(", ");
            tell(
                "no_expected_metric",
                Severity::Warning,
                format!("the page holds none of the expected metrics ({names})"),
                json!({"endpoint_url": url, "expected": names}),
            );
        }
    }

    /// Once, at the first page: patterns that fit nothing, and how the names differ from what the server's version
    /// exports.
    fn tell_names(&self, at_ns: i64, names: &BTreeSet<(String, String)>) {
        let url = &self.url;
        let pairs = names
            .iter()
            .map(|(family, sample)| (family.as_str(), sample.as_str()));
        for pattern in self.reader.selector().unused(pairs) {
            self.core.event(event(
                at_ns,
                "selection_unused",
                Severity::Warning,
                "self",
                format!("{url}: nothing on the page fits the selected pattern {pattern}"),
                &json!({"endpoint_url": url, "pattern": pattern}),
            ));
        }
        for sentence in drift(
            self.server_version,
            names.iter().map(|(_, sample)| sample.as_str()),
        )
        .sentences()
        {
            tracing::warn!(%url, "{sentence}");
            self.core.event(event(
                at_ns,
                "metric_drift",
                Severity::Warning,
                "self",
                format!("{url}: {sentence}"),
                &json!({"endpoint_url": url}),
            ));
        }
    }

    /// For those who look for a fault: what this scrape found.
    fn tell_everything(&self, fetched: &Fetched, body: &[u8], page: &PageResult, parse_time: Duration) {
        let not_a_number = page.samples.iter().filter(|sample| sample.value.is_nan()).count();
        self.core.event(event(
            fetched.start_ns,
            "debug_scrape",
            Severity::Info,
            "self",
            format!(
                "{}: {} samples in {} bytes",
                self.url,
                page.samples.len(),
                body.len()
            ),
            &json!({
                "endpoint_url": self.url,
                "content_type": fetched.content_type,
                "samples": page.samples.len(),
                "not_a_number": not_a_number,
                "body_bytes": body.len(),
                "fetch_ns": fetched.end_ns - fetched.start_ns,
                "parse_ns": u64::try_from(parse_time.as_nanos()).unwrap_or(u64::MAX),
                "bad_lines": page.bad_lines,
                "duplicates": page.duplicates,
                "expected_seen": page.expected_seen,
            }),
        ));
    }

    fn with_report(&self, change: impl FnOnce(&mut EndpointReport)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What a page without one sample is, in words.
fn what_came(content_type: &str, body: &[u8], page: &PageResult) -> String {
    if body.trim_ascii().is_empty() {
        return "it is empty".into();
    }
    let content_type = if content_type.is_empty() {
        "without a content type"
    } else {
        content_type
    };
    match &page.first_bad {
        Some(first) => format!("{content_type}; {first}"),
        None => format!("{content_type}; no sample in {} bytes", body.len()),
    }
}
