//! Derives a series definition from a sample line: labels as JSON, type, unit, source.

use std::collections::BTreeMap;
use std::sync::Arc;

use exposition::{Kind, Role, Sample};

use run_model::catalog::unit_of;
use run_model::labels;
use run_model::{MetricType, SeriesDef};

/// Properties that an endpoint adds to every series.
#[derive(Debug, Clone)]
pub(crate) struct SeriesOrigin {
    pub(crate) endpoint_url: Arc<str>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) simulated: bool,
}

/// Returns the series of `sample`. Called once per series and endpoint, so it may allocate.
pub(crate) fn define(sample: &Sample<'_>, origin: &SeriesOrigin) -> SeriesDef {
    let mut labels = BTreeMap::new();
    for label in sample.labels {
        let name = label.name.text();
        // The configured label identifies the origin and wins; the scraped one is renamed.
        let name = if origin.labels.contains_key(name.as_ref()) {
            format!("exported_{name}")
        } else {
            name.into()
        };
        labels.insert(name, label.value().into_owned());
    }
    labels.extend(
        origin
            .labels
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    let name = sample.name.text();
    SeriesDef {
        labels: labels::write(&labels),
        metric_type: metric_type(sample.kind),
        unit: Arc::from(unit_of(&name).unwrap_or_else(|| unit(&sample.family.text(), sample.role))),
        source: Arc::from(match (name.starts_with("vllm:"), origin.simulated) {
            (true, false) => "vllm",
            (true, true) => "vllm-simulated",
            (false, false) => "prometheus",
            (false, true) => "prometheus-simulated",
        }),
        endpoint_url: Arc::clone(&origin.endpoint_url),
        metric_name: Arc::from(name),
    }
}

/// Whether a decrease of the value means that the counting process restarted.
pub(crate) fn only_rises(sample: &Sample<'_>) -> bool {
    matches!(
        (sample.kind, sample.role),
        (Kind::Counter, Role::Value | Role::Total)
            | (Kind::Histogram, Role::Bucket | Role::Count)
            | (Kind::Summary, Role::Count)
    )
}

fn metric_type(kind: Kind) -> MetricType {
    match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge | Kind::GaugeHistogram | Kind::StateSet => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
        Kind::Summary => MetricType::Summary,
        Kind::Info => MetricType::Info,
        Kind::Unknown => MetricType::Unknown,
    }
}

/// The unit suffix of the family's name, following Prometheus naming conventions.
fn unit(family: &str, role: Role) -> &'static str {
    const UNITS: [(&str, &str); 10] = [
        ("_seconds", "seconds"),
        ("_bytes", "bytes"),
        ("_tokens", "tokens"),
        ("_ratio", "ratio"),
        ("_perc", "ratio"),
        ("_joules", "joules"),
        ("_watts", "watts"),
        ("_celsius", "celsius"),
        ("_volts", "volts"),
        ("_hertz", "hertz"),
    ];
    match role {
        // These count observations, whatever was observed.
        Role::Bucket | Role::Count | Role::Info => return "",
        Role::Created => return "seconds",
        _ => {}
    }
    let stem = family.strip_suffix("_total").unwrap_or(family);
    UNITS
        .iter()
        .find(|(suffix, _)| stem.ends_with(suffix))
        .map_or("", |(_, unit)| unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use exposition::{Event, Format, Parser};

    fn check(line: &str, kind: &str, origin_labels: &[(&str, &str)], expected: (&str, &str, &str, &str)) {
        let family = line.split(['{', ' ']).next().unwrap().trim_end_matches("_bucket");
        let page = format!("# TYPE {family} {kind}\n{line}\n");
        let sample = Parser::new(page.as_bytes(), Format::Text)
            .find_map(|event| {
                if let Event::Sample(sample) = event {
                    Some(sample)
                } else {
                    None
                }
            })
            .unwrap();
        let origin = SeriesOrigin {
            endpoint_url: "http://a/metrics".into(),
            labels: origin_labels
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect(),
            simulated: false,
        };
        let def = define(&sample, &origin);
        let got = (&*def.metric_name, &*def.labels, &*def.unit, &*def.source);
        assert_eq!(got, expected);
    }

    #[test]
    fn lines_become_series() {
        check(
            "vllm:num_requests_running{b=\"1\",a=\"x,}\\\"\"} 2",
            "gauge",
            &[],
            (
                "vllm:num_requests_running",
                r#"{"a":"x,}\"","b":"1"}"#,
                "requests",
                "vllm",
            ),
        );
        check(
            "process_cpu_seconds_total 2",
            "counter",
            &[("node", "n1")],
            (
                "process_cpu_seconds_total",
                r#"{"node":"n1"}"#,
                "seconds",
                "prometheus",
            ),
        );
        check(
            "t_seconds_bucket{le=\"0.5\",node=\"mine\"} 2",
            "histogram",
            &[("node", "n1")],
            (
                "t_seconds_bucket",
                r#"{"exported_node":"mine","le":"0.5","node":"n1"}"#,
                "",
                "prometheus",
            ),
        );
    }
}
