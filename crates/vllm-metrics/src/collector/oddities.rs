//! What a page has that a person should know: told once, as events, with an example.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::target::Target;
use crate::catalog::drift;
use crate::model::Severity;
use crate::recorder::event;
use crate::scrape::{Fetched, PageResult};

impl Target {
    pub(super) fn tell_oddities(&mut self, at_ns: i64, page: &PageResult) {
        let url = &self.url;
        let tell = |kind, severity, message: String, attributes| {
            self.recorder.event(event(
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
        for (series, meaning) in &page.new_blanks {
            tell(
                "not_supported",
                Severity::Info,
                format!(
                    "{series} has the exporter's number for an absent value ({meaning}): it is not recorded"
                ),
                json!({"endpoint_url": url, "series": series, "meaning": meaning}),
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
            tracing::warn!(%url, "the page holds none of the expected metrics ({names})");
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
    pub(super) fn tell_names(&self, at_ns: i64, names: &BTreeSet<(String, String)>) {
        let url = &self.url;
        let pairs = names
            .iter()
            .map(|(family, sample)| (family.as_str(), sample.as_str()));
        for pattern in self.reader.selector().unused(pairs) {
            tracing::warn!(%url, "nothing on the page fits the selected pattern {pattern}");
            self.recorder.event(event(
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
            self.recorder.event(event(
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
    pub(super) fn tell_everything(
        &self,
        fetched: &Fetched,
        body: &[u8],
        page: &PageResult,
        parse_time: Duration,
    ) {
        let not_a_number = page.samples.iter().filter(|sample| sample.value.is_nan()).count();
        self.recorder.event(event(
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

    /// Once, when the server turned out not to serve parts of its page.
    pub(super) fn tell_partial(&self, at_ns: i64) {
        if !self.partial.given_up() {
            return;
        }
        self.recorder.event(event(
            at_ns,
            "no_partial_pages",
            Severity::Info,
            "self",
            format!(
                "{}: the server cannot be asked for a part of its page, so every scrape takes the whole",
                self.url
            ),
            &json!({"endpoint_url": self.url}),
        ));
    }
}
