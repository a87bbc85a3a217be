//! Every series of the record, and those made of several.

use std::collections::{BTreeMap, BTreeSet};

use report_page::model::{Gap, Kind, Series};
use run_diagnosis::input::Column;
use vllm_metrics::derive::{labels, names};
use vllm_metrics::{MetricType, SeriesData};

use super::latency;
use crate::analysis::Analysis;

/// With the gaps of each series' source.
pub(super) fn of(analysis: &Analysis<'_>, gaps: &[Gap]) -> Vec<Series> {
    let record = analysis.record();
    let several = endpoints(&record.series) > 1;
    // Buckets stand in the heat maps, as what was observed between two scrapes.
    let families: BTreeSet<&str> = analysis
        .histograms()
        .iter()
        .map(|histogram| histogram.name.as_str())
        .collect();
    let in_heat_map = |series: &SeriesData| {
        series.def.metric_type == MetricType::Histogram
            && series
                .def
                .metric_name
                .strip_suffix("_bucket")
                .is_some_and(|family| super::histograms::is_drawn(family) && families.contains(family))
    };
    let mut all: Vec<Series> = record
        .series
        .iter()
        .filter(|series| !in_heat_map(series))
        .map(|series| convert(series, several, gaps))
        .collect();
    let mut convert_all = |more: &[SeriesData]| {
        all.extend(more.iter().map(|series| convert(series, several, gaps)));
    };
    convert_all(analysis.derived());
    convert_all(&gpu_names(analysis));
    all.extend(client(analysis));
    all.extend(latency::of(analysis));
    all.retain(|series| !series.timestamps_ns.is_empty());
    // A source that exposes one series twice, or under a name that is derived here, is drawn once.
    let mut seen = BTreeSet::new();
    all.retain(|series| seen.insert(series.key()));
    all
}

/// GPU series of other exporters under the names that charts ask for.
fn gpu_names(analysis: &Analysis<'_>) -> Vec<SeriesData> {
    let record = analysis.record();
    let own = |name: &str| {
        record
            .series
            .iter()
            .any(|series| &*series.def.metric_name == name)
    };
    let mut out = Vec::new();
    if !own("gpu_utilization_ratio") {
        out.extend(names::gpu_utilization(record));
    }
    if !own("gpu_memory_used_bytes") {
        out.extend(names::gpu_memory_used(record));
    }
    out
}

fn endpoints(series: &[SeriesData]) -> usize {
    let urls: BTreeSet<&str> = series
        .iter()
        .map(|series| &*series.def.endpoint_url)
        .filter(|url| !url.is_empty())
        .collect();
    urls.len()
}

fn convert(series: &SeriesData, several_endpoints: bool, gaps: &[Gap]) -> Series {
    let def = &series.def;
    // Gaps of what is scraped are those of the endpoint.
    let source: &str = match &*def.endpoint_url {
        "" => &def.source,
        url => url,
    };
    let mut labels: BTreeMap<String, String> = labels::parse(&def.labels);
    if several_endpoints && !def.endpoint_url.is_empty() {
        labels.insert(super::ENDPOINT_LABEL.to_owned(), def.endpoint_url.to_string());
    }
    let (timestamps_ns, values) = rising(&series.timestamps_ns, &series.values);
    Series {
        name: def.metric_name.to_string(),
        labels,
        unit: unit(&def.unit).to_owned(),
        source: def.source.to_string(),
        kind: match def.metric_type {
            MetricType::Counter => Kind::Counter,
            // Sums and counts of a histogram only rise.
            MetricType::Histogram => Kind::Counter,
            _ if def.source.starts_with("derived") => Kind::Derived,
            _ => Kind::Gauge,
        },
        description: String::new(),
        timestamps_ns,
        values,
        gaps: gaps
            .iter()
            .filter(|gap| gap.source == source)
            .map(|gap| gap.span)
            .collect(),
    }
}

/// Of several samples at one time, the last.
fn rising(times: &[i64], values: &[f64]) -> (Vec<i64>, Vec<f64>) {
    if times.is_sorted_by(|a, b| a < b) {
        return (times.to_vec(), values.to_vec());
    }
    let last: BTreeMap<i64, f64> = times.iter().copied().zip(values.iter().copied()).collect();
    last.into_iter().unzip()
}

/// The page's word for a unit of the record.
fn unit(unit: &str) -> &str {
    match unit {
        "tokens/second" => "tokens/s",
        "requests/second" => "requests/s",
        "steps/second" => "steps/s",
        other => other,
    }
}

/// What the client saw, second by second.
fn client(analysis: &Analysis<'_>) -> Vec<Series> {
    let seconds = &analysis.run.seconds;
    if analysis.run.requests.is_empty() {
        return Vec::new();
    }
    let source = if analysis.run.facts.simulated {
        "derived-simulated"
    } else {
        "derived"
    };
    [
        (
            "client_output_tokens_per_second",
            "tokens/s",
            &seconds.output_tokens,
            "Output tokens that reached the client: the first of each request at its time, the others evenly from then \
             to the end of the answer.",
        ),
        (
            "client_requests_in_flight",
            "requests",
            &seconds.in_flight,
            "Requests issued and not ended, mean over the second.",
        ),
        (
            "client_requests_queued",
            "requests",
            &seconds.client_queue,
            "Requests issued and not yet sent, mean over the second.",
        ),
    ]
    .into_iter()
    .map(|(name, unit, column, description)| {
        let (timestamps_ns, values) = cells(analysis, column);
        Series {
            name: name.to_owned(),
            unit: unit.to_owned(),
            source: source.to_owned(),
            kind: Kind::Derived,
            description: description.to_owned(),
            timestamps_ns,
            values,
            ..Series::default()
        }
    })
    .collect()
}

/// A column at the ends of its seconds.
fn cells(analysis: &Analysis<'_>, column: &Column) -> (Vec<i64>, Vec<f64>) {
    let seconds = &analysis.run.seconds;
    (0..seconds.seconds)
        .filter_map(|second| Some((seconds.begins_ns(second + 1), column.at(second)?)))
        .unzip()
}
