//! The fixed vocabularies of the formats: the format, the kind of a family, the role of a sample in it.

/// Which of the two text formats a page is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus text format 0.0.4 (and 1.0.0, which adds quoted UTF-8 names). Timestamps are milliseconds.
    Text,
    /// OpenMetrics 1.0. Timestamps are seconds; the page ends with `# EOF`.
    OpenMetrics,
}

impl Format {
    /// The format named by an HTTP `Content-Type`; anything other than OpenMetrics is [`Format::Text`].
    pub fn from_content_type(content_type: &str) -> Self {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The format of a page without a content type, such as a file: OpenMetrics if its last line is `# EOF`.
    pub fn detect(page: &[u8]) -> Self {
        if page.trim_ascii_end().ends_with(b"\n# EOF") || page.trim_ascii() == b"# EOF" {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The `Content-Type` for serving a page of this format.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The kind of a family, from its `# TYPE` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// Only ever rises, except when its process restarts.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Cumulative buckets with their count and sum.
    Histogram,
    /// Buckets that may fall (OpenMetrics only).
    GaugeHistogram,
    /// Quantiles computed by the source, with count and sum.
    Summary,
    /// Constant 1 with the information in labels (OpenMetrics only; written as a gauge in the text format).
    Info,
    /// One 0/1 sample per state (OpenMetrics only; written as a gauge in the text format).
    StateSet,
    /// `untyped`, `unknown`, or no `# TYPE` line at all.
    #[default]
    Unknown,
}

impl Kind {
    /// Every kind, for tables and tests.
    pub const ALL: [Self; 8] = [
        Self::Counter,
        Self::Gauge,
        Self::Histogram,
        Self::GaugeHistogram,
        Self::Summary,
        Self::Info,
        Self::StateSet,
        Self::Unknown,
    ];

    /// Parses the word of a `# TYPE` line. The words of both formats are accepted in either, since exporters
    /// mix them.
    pub fn from_word(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"counter" => Self::Counter,
            b"gauge" => Self::Gauge,
            b"histogram" => Self::Histogram,
            b"gaugehistogram" => Self::GaugeHistogram,
            b"summary" => Self::Summary,
            b"info" => Self::Info,
            b"stateset" => Self::StateSet,
            b"unknown" | b"untyped" => Self::Unknown,
            _ => return None,
        })
    }

    /// The word for it in a `# TYPE` line. The text format has fewer kinds; the others are written as the
    /// closest one that a reader may treat in the same way.
    pub fn word(self, format: Format) -> &'static str {
        match (self, format) {
            (Self::Counter, _) => "counter",
            (Self::Gauge, _) => "gauge",
            (Self::Histogram, _) => "histogram",
            (Self::Summary, _) => "summary",
            (Self::GaugeHistogram, Format::OpenMetrics) => "gaugehistogram",
            (Self::Info, Format::OpenMetrics) => "info",
            (Self::StateSet, Format::OpenMetrics) => "stateset",
            (Self::Unknown, Format::OpenMetrics) => "unknown",
            (Self::Info | Self::StateSet, Format::Text) => "gauge",
            (Self::GaugeHistogram | Self::Unknown, Format::Text) => "untyped",
        }
    }
}

/// The role of a sample within its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The value of a gauge, of a counter in the text format, of a state, or of a family of unknown kind.
    Value,
    /// The `_total` sample of an OpenMetrics counter.
    Total,
    /// The `_info` sample of an OpenMetrics info family.
    Info,
    /// One `_bucket` of a histogram; its bound is the label `le`.
    Bucket,
    /// The `_sum` (or `_gsum`) of a histogram or summary.
    Sum,
    /// The `_count` (or `_gcount`) of a histogram or summary.
    Count,
    /// One quantile of a summary; which one is the label `quantile`.
    Quantile,
    /// `_created`: when the series began, in seconds since the epoch.
    Created,
}

impl Role {
    /// The role of a sample with the family's name followed by `suffix`, or `None` if a family of this kind
    /// has no such sample.
    pub(crate) fn resolve(kind: Kind, suffix: &[u8]) -> Option<Self> {
        Some(match (kind, suffix) {
            (Kind::Summary, b"") => Self::Quantile,
            (Kind::Histogram | Kind::GaugeHistogram, b"") => return None,
            (_, b"") => Self::Value,
            (Kind::Histogram | Kind::GaugeHistogram, b"_bucket") => Self::Bucket,
            (Kind::Histogram | Kind::Summary, b"_sum") | (Kind::GaugeHistogram, b"_gsum") => Self::Sum,
            (Kind::Histogram | Kind::Summary, b"_count") | (Kind::GaugeHistogram, b"_gcount") => Self::Count,
            (Kind::Counter, b"_total") => Self::Total,
            (Kind::Info, b"_info") => Self::Info,
            (Kind::Counter | Kind::Histogram | Kind::Summary, b"_created") => Self::Created,
            _ => return None,
        })
    }

    /// The inverse: the suffix of the sample's name after the family's name.
    pub(crate) fn suffix(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::Value | Self::Quantile, _) => "",
            (Self::Total, _) => "_total",
            (Self::Info, _) => "_info",
            (Self::Bucket, _) => "_bucket",
            (Self::Sum, Kind::GaugeHistogram) => "_gsum",
            (Self::Sum, _) => "_sum",
            (Self::Count, Kind::GaugeHistogram) => "_gcount",
            (Self::Count, _) => "_count",
            (Self::Created, _) => "_created",
        }
    }
}
