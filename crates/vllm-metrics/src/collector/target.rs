//! The task of one endpoint: waits for a tick, a phase edge or the end; scrapes; reports the result.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use exposition::Format;
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::counter_resets::CounterResets;
use super::partial::{Extent, Partial};
use super::schedule::{BackOff, Schedule};
use super::tally::{EndpointReport, Gap};
use crate::config::{Endpoint, Resolved};
use crate::recorder::{OwnSeries, Recorder};
use crate::scrape::{Fetched, Fetcher, Layout, PageReader, PageResult, ScrapeError, SeriesOrigin};
use run_model::Result;
use run_model::catalog::Version;
use run_model::{EventKind, EventRow, MetricType, Sample, SampleBatch, SeriesId};

/// The state of one endpoint's task.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) recorder: Recorder,
    pub(super) url: String,
    interval: Duration,
    pub(super) expect: Vec<String>,
    fetcher: Fetcher,
    pub(super) reader: PageReader,
    body: Vec<u8>,
    own: Own,
    report: Arc<Mutex<EndpointReport>>,
    gap: Option<Gap>,
    pub(super) reported: Reported,
    pub(super) resets: CounterResets,
    debug: bool,
    pub(super) partial: Partial,
    /// Limits concurrency when all endpoints are scraped at once; shared by all of them.
    turns: Arc<Semaphore>,
    pub(super) server_version: Option<Version>,
}

/// Series about the scrapes themselves, with the names that Prometheus uses.
#[derive(Debug)]
struct Own {
    up: SeriesId,
    duration: SeriesId,
    parse: SeriesId,
    samples: SeriesId,
    body: SeriesId,
}

/// Problems already reported: each is reported once, not at every scrape.
#[derive(Debug, Default)]
pub(super) struct Reported {
    pub(super) bad_lines: bool,
    pub(super) duplicates: bool,
    pub(super) beyond_limit: bool,
    pub(super) own_timestamps: bool,
    pub(super) not_expected: bool,
}

/// The reason for a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Tick,
    Retry,
    Forced(u64),
}

impl Target {
    pub(super) fn new(
        endpoint: &Endpoint,
        config: &Resolved,
        recorder: &Recorder,
        turns: &Arc<Semaphore>,
    ) -> Result<Self> {
        let url = endpoint.shown_url.clone();
        let own = |name, unit| {
            recorder.own_series(&OwnSeries {
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
            fetcher: Fetcher::new(endpoint, config.body_limit_bytes, recorder.clock())?,
            reader: PageReader::new(origin, endpoint.expect.clone(), endpoint.selector.clone()),
            report: Arc::new(Mutex::new(EndpointReport {
                endpoint_url: url.clone(),
                never_answered: true,
                ..EndpointReport::default()
            })),
            recorder: recorder.clone(),
            url,
            interval: endpoint.interval,
            expect: endpoint.expect.clone(),
            body: Vec::new(),
            gap: None,
            reported: Reported::default(),
            resets: CounterResets::default(),
            debug: config.debug,
            partial: Partial::new(endpoint),
            turns: Arc::clone(turns),
            server_version: endpoint.server_version,
        })
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) fn endpoint_report(&self) -> Arc<Mutex<EndpointReport>> {
        Arc::clone(&self.report)
    }

    /// Scrapes until stopped, with the first tick at `first`. Sends the number of each completed forced
    /// scrape to `served`.
    pub(super) async fn run(
        mut self,
        first: Instant,
        mut wanted: watch::Receiver<u64>,
        stop: CancellationToken,
        served: impl Fn(u64),
    ) {
        let mut schedule = Schedule::new(first, self.interval);
        let mut back_off = BackOff::new();
        let mut retry_at: Option<Instant> = None;
        loop {
            let tick = schedule.next_tick();
            let wake_at = retry_at.map_or(tick, |retry_at| retry_at.min(tick));
            let cause = tokio::select! {
                // Priority order: the end, then an edge, then a tick.
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
        // Scrapes the final values. An endpoint that did not answer before would only delay the end.
        if self.gap.is_none() {
            self.scrape(Cause::Forced(0)).await;
        }
        let reset = self.resets.end();
        self.report_reset(reset);
        self.close_gap(self.recorder.now_ns());
    }

    /// Scrapes once; returns true if there were samples.
    async fn scrape(&mut self, cause: Cause) -> bool {
        let _turn = match cause {
            // The semaphore is never closed, so a permit always becomes available.
            Cause::Forced(_) => Arc::clone(&self.turns).acquire_owned().await.ok(),
            Cause::Tick | Cause::Retry => None,
        };
        // Phase edges and the end always scrape the whole page.
        if cause == Cause::Tick
            && let Some(url) = self.partial.due(self.recorder.now_ns())
        {
            match self.get(Extent::Part(&url)).await {
                Ok(()) => return true,
                Err((start_ns, error)) => {
                    if !self.partial.refused(&url, &error) {
                        self.failed(start_ns, &error, cause);
                        return false;
                    }
                    self.report_no_partial_pages(start_ns);
                }
            }
        }
        match self.get(Extent::Full).await {
            Ok(()) => true,
            Err((start_ns, error)) => {
                self.failed(start_ns, &error, cause);
                false
            }
        }
    }

    async fn get(&mut self, extent: Extent<'_>) -> Result<(), (i64, ScrapeError)> {
        let mut body = std::mem::take(&mut self.body);
        let fetched = self.fetcher.fetch(extent.url(), &mut body).await;
        let outcome = fetched.and_then(|fetched| self.read(&fetched, &body, extent));
        self.body = body;
        outcome
    }

    fn read(&mut self, fetched: &Fetched, body: &[u8], extent: Extent<'_>) -> Result<(), (i64, ScrapeError)> {
        let format = Format::from_content_type(&fetched.content_type);
        let is_part = matches!(extent, Extent::Part(_));
        if is_part && let Err(reason) = self.partial.judge(body, format) {
            return Err((fetched.start_ns, ScrapeError::WrongContent(reason)));
        }
        let begin = std::time::Instant::now();
        let layout = if is_part { Layout::Part } else { Layout::Full };
        let mut page = self
            .reader
            .read(body, format, fetched.start_ns, layout, &self.recorder);
        let parse_time = begin.elapsed();
        if page.samples.is_empty() && page.left_out == 0 {
            return Err((
                fetched.start_ns,
                ScrapeError::WrongContent(what_came(&fetched.content_type, body, &page)),
            ));
        }
        // A part need not contain every expected metric.
        page.expected_seen |= is_part;
        if !is_part {
            self.partial.full_read(fetched.start_ns);
        }
        self.close_gap(fetched.start_ns);
        self.report_oddities(fetched.start_ns, &page);
        let fetch_time = Duration::from_nanos(u64::try_from(fetched.end_ns - fetched.start_ns).unwrap_or(0));
        self.with_report(|report| {
            report.never_answered = false;
            report.scrapes += 1;
            report.partial_scrapes += u64::from(is_part);
            report.samples += page.samples.len() as u64;
            report.body_bytes += body.len() as u64;
            report.fetch_time += fetch_time;
            report.longest_fetch = report.longest_fetch.max(fetch_time);
            report.parse_time += parse_time;
            report.bad_lines += u64::from(page.bad_lines);
            report.duplicates += u64::from(page.duplicates);
            report.beyond_limit += u64::from(page.beyond_limit);
        });
        if let Some(names) = self.reader.take_names() {
            self.report_names(fetched.start_ns, &names);
            self.partial.learn(&names, self.reader.selector());
        }
        if self.debug {
            self.report_scrape(fetched, body, &page, parse_time);
        }
        tracing::debug!(
            url = self.url,
            part = is_part,
            samples = page.samples.len(),
            bytes = body.len(),
            fetch_ms = fetch_time.as_secs_f64() * 1e3,
            parse_ms = parse_time.as_secs_f64() * 1e3,
            "scraped"
        );
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
        self.recorder.samples(SampleBatch {
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
            self.recorder.emit(
                EventRow::new(
                    start_ns,
                    EventKind::ScrapeFailed,
                    "self",
                    format!("{}: {reason}", self.url),
                )
                .attributes(&json!({"endpoint_url": self.url, "reason": error.word()})),
            );
        }
        if cause != Cause::Retry {
            self.recorder.samples(SampleBatch {
                start_ns,
                end_ns: self.recorder.now_ns(),
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
        let event = EventRow::new(
            gap.start_ns,
            EventKind::Gap,
            "self",
            format!("{}: no samples for {seconds:.3} s: {}", self.url, gap.reason),
        );
        self.recorder.emit(event.until(end_ns).attributes(&json!({
            "endpoint_url": self.url,
            "reason": gap.reason,
            "missed_scrapes": gap.missed_scrapes,
        })));
        self.with_report(|report| report.gaps.push(gap));
    }

    fn missed(&self, ticks: u32) {
        self.with_report(|report| report.missed_ticks += u64::from(ticks));
        let message = format!(
            "{}: {ticks} scrapes were not made because the one before ended too late; a longer interval helps",
            self.url
        );
        self.recorder.emit(
            EventRow::new(self.recorder.now_ns(), EventKind::MissedTick, "self", message)
                .attributes(&json!({"endpoint_url": self.url, "missed": ticks})),
        );
    }

    pub(super) fn with_report(&self, change: impl FnOnce(&mut EndpointReport)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Describes a page without samples.
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
