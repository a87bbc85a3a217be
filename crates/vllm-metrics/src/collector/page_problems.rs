//! Problems found on a page, reported once per endpoint as events with an example.

use std::collections::BTreeSet;
use std::time::Duration;

use run_model::catalog::drift;
use run_model::{EventKind, EventRow};
use serde_json::json;

use super::counter_resets::CounterReset;
use super::target::Target;
use crate::scrape::{Fetched, PageResult};

impl Target {
    pub(super) fn report_oddities(&mut self, at_ns: i64, page: &PageResult) {
        let found = self.resets.add(at_ns, page);
        self.report_reset(found.restart);
        if found.several_processes {
            self.report(
                at_ns,
                EventKind::SeveralProcesses,
                "several processes answer this URL in turn: its counters fall and come back, so their increases and \
                 rates mean nothing; give one URL per process, or let vLLM merge the metrics of its API processes \
                 (PROMETHEUS_MULTIPROC_DIR)",
                json!({}),
            );
        }
        if page.bad_lines > 0 && !std::mem::replace(&mut self.reported.bad_lines, true) {
            let example = page.first_bad.as_deref().unwrap_or_default();
            self.report(
                at_ns,
                EventKind::BadLines,
                &format!(
                    "{} lines could not be read and were left out; {example}",
                    page.bad_lines
                ),
                json!({"lines": page.bad_lines, "example": example}),
            );
        }
        if page.duplicates > 0 && !std::mem::replace(&mut self.reported.duplicates, true) {
            let example = page.first_duplicate.as_deref().unwrap_or_default();
            self.report(
                at_ns,
                EventKind::DuplicateSeries,
                &format!(
                    "{} series stand on the page twice, {example} among them; the first counts",
                    page.duplicates
                ),
                json!({"series": page.duplicates, "example": example}),
            );
        }
        if page.beyond_limit > 0 && !std::mem::replace(&mut self.reported.beyond_limit, true) {
            let example = page.first_beyond.as_deref().unwrap_or_default();
            self.report(
                at_ns,
                EventKind::Dropped,
                &format!(
                    "the endpoint has exposed more series than are recorded of one; new ones are left out, {example} \
                     among them; select the metrics to record (--metrics-include)"
                ),
                json!({"samples": page.beyond_limit, "example": example}),
            );
        }
        for (series, meaning) in &page.new_blanks {
            self.report(
                at_ns,
                EventKind::NotSupported,
                &format!(
                    "{series} has the exporter's number for an absent value ({meaning}): it is not recorded"
                ),
                json!({"series": series, "meaning": meaning}),
            );
        }
        if page.own_timestamps > 0 && !std::mem::replace(&mut self.reported.own_timestamps, true) {
            self.report(
                at_ns,
                EventKind::SourceTimestamps,
                &format!(
                    "{} samples carry a time of the server's clock; the run's own is kept",
                    page.own_timestamps
                ),
                json!({"samples": page.own_timestamps}),
            );
        }
        if !page.expected_seen && !std::mem::replace(&mut self.reported.not_expected, true) {
            let names = self.expect.join(", ");
            self.report(
                at_ns,
                EventKind::NoExpectedMetric,
                &format!("the page holds none of the expected metrics ({names})"),
                json!({"expected": names}),
            );
        }
    }

    /// Reports that the server was started again.
    pub(super) fn report_reset(&self, reset: Option<CounterReset>) {
        let Some(CounterReset {
            at_ns,
            series,
            example,
        }) = reset
        else {
            return;
        };
        self.with_report(|report| report.counter_resets += 1);
        self.report(
            at_ns,
            EventKind::CounterReset,
            &format!("{series} counters fell, {example} among them: the server was started again"),
            json!({"series": series, "example": example}),
        );
    }

    /// Reports, once at the first page, patterns that match nothing and differences from the names that the
    /// server's version exports.
    pub(super) fn report_names(&self, at_ns: i64, names: &BTreeSet<(String, String)>) {
        let pairs = names
            .iter()
            .map(|(family, sample)| (family.as_str(), sample.as_str()));
        for pattern in self.reader.selector().unused(pairs) {
            self.report(
                at_ns,
                EventKind::SelectionUnused,
                &format!("nothing on the page fits the selected pattern {pattern}"),
                json!({"pattern": pattern}),
            );
        }
        let samples = names.iter().map(|(_, sample)| sample.as_str());
        for sentence in drift(self.server_version, samples).sentences() {
            self.report(at_ns, EventKind::MetricDrift, &sentence, json!({}));
        }
    }

    /// Reports what this scrape found, in debug mode.
    pub(super) fn report_scrape(
        &self,
        fetched: &Fetched,
        body: &[u8],
        page: &PageResult,
        parse_time: Duration,
    ) {
        let not_a_number = page.samples.iter().filter(|sample| sample.value.is_nan()).count();
        self.report(
            fetched.start_ns,
            EventKind::DebugScrape,
            &format!("{} samples in {} bytes", page.samples.len(), body.len()),
            json!({
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
        );
    }

    /// Reports once that the server does not serve parts of its page.
    pub(super) fn report_no_partial_pages(&self, at_ns: i64) {
        if self.partial.given_up() {
            self.report(
                at_ns,
                EventKind::NoPartialPages,
                "the server cannot be asked for a part of its page, so every scrape takes the whole",
                json!({}),
            );
        }
    }

    /// Publishes an event about this endpoint, which is named in the message and in the attributes.
    fn report(&self, at_ns: i64, kind: EventKind, message: &str, mut attributes: serde_json::Value) {
        attributes["endpoint_url"] = self.url.as_str().into();
        let message = format!("{}: {message}", self.url);
        self.recorder
            .emit(EventRow::new(at_ns, kind, "self", message).attributes(&attributes));
    }
}
