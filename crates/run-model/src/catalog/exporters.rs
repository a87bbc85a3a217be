//! Metrics of other exporters, from `exporters.csv` next to this file, with factors to base units and the
//! equivalent series of ours.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::stems;
use crate::model::MetricType;

const TABLE: &str = include_str!("exporters.csv");

/// An exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exporter {
    /// The SGLang server (`--enable-metrics`).
    Sglang,
    /// NVIDIA's DCGM exporter.
    Dcgm,
    /// AMD's device metrics exporter.
    Amd,
    /// The exporter that runs `nvidia-smi` (nvidia_gpu_exporter).
    NvidiaSmi,
    /// Prometheus' node exporter.
    Node,
}

/// One metric family of an exporter.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// Its exporter.
    pub exporter: Exporter,
    /// Name of the family in the text format.
    pub name: &'static str,
    /// Type; some exporters declare counters as gauges on the page.
    pub metric_type: MetricType,
    /// Base unit of `value × factor`; empty if the exporter's documentation does not specify it.
    pub unit: &'static str,
    /// Factor from the exposed value to the base unit.
    pub factor: f64,
    /// The equivalent series of ours or of vLLM, if any.
    pub ours: Option<&'static str>,
    /// Additional label and value of our series.
    pub label: Option<(&'static str, &'static str)>,
    /// Description.
    pub meaning: &'static str,
}

fn table() -> &'static (Vec<Exported>, HashMap<&'static str, usize>) {
    static TABLE_READ: OnceLock<(Vec<Exported>, HashMap<&'static str, usize>)> = OnceLock::new();
    TABLE_READ.get_or_init(|| {
        let rows: Vec<Exported> = TABLE.lines().skip(1).map(parse).collect();
        let by_name = rows.iter().enumerate().map(|(i, row)| (row.name, i)).collect();
        (rows, by_name)
    })
}

/// Returns the exporter with this name in the tables.
pub(super) fn exporter_named(name: &str) -> Option<Exporter> {
    Some(match name {
        "sglang" => Exporter::Sglang,
        "dcgm" => Exporter::Dcgm,
        "amd" => Exporter::Amd,
        "nvidia_smi" => Exporter::NvidiaSmi,
        "node" => Exporter::Node,
        _ => return None,
    })
}

fn parse(line: &'static str) -> Exported {
    let fields: Vec<&'static str> = line.splitn(8, ',').collect();
    let [exporter, name, kind, unit, factor, ours, label, meaning] = fields[..] else {
        unreachable!("a test counts the fields of every line of exporters.csv")
    };
    Exported {
        exporter: exporter_named(exporter).expect("a test reads every exporter in exporters.csv"),
        name,
        metric_type: MetricType::from_text(kind).expect("a test reads every kind in exporters.csv"),
        unit,
        factor: factor
            .parse()
            .expect("a test reads every factor in exporters.csv"),
        ours: (!ours.is_empty()).then_some(ours),
        label: label.split_once('='),
        meaning,
    }
}

/// Every metric in the table.
pub fn exporters() -> &'static [Exported] {
    &table().0
}

/// Returns the metric that a sample or family of this name belongs to.
pub fn exported(name: &str) -> Option<&'static Exported> {
    let (rows, by_name) = table();
    let get = |name: &str| by_name.get(name).map(|&i| &rows[i]);
    get(name).or_else(|| {
        stems(name)
            .filter(|(_, suffix)| *suffix != "_total")
            .find_map(|(stem, suffix)| {
                get(stem).filter(|e| suffix == "_created" || e.metric_type == MetricType::Histogram)
            })
    })
}

/// Returns every name of a quantity with the factor to its base unit: our own name first, then those of the
/// exporters in the order of the table.
pub fn names_of(ours: &'static str) -> impl Iterator<Item = (&'static str, f64)> {
    let theirs = exporters().iter().filter(move |row| row.ours == Some(ours));
    std::iter::once((ours, 1.0)).chain(theirs.map(|row| (row.name, row.factor)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::vllm_entry;

    #[test]
    fn the_table_is_sound() {
        let (rows, by_name) = table();
        assert_eq!(by_name.len(), rows.len(), "a name stands twice");
        for row in rows {
            assert!(
                row.factor.is_finite() && row.factor > 0.0 && !row.meaning.is_empty(),
                "{}",
                row.name
            );
            assert!(row.label.is_none() || row.ours.is_some(), "{}", row.name);
            if let Some(vllm) = row.ours.filter(|ours| ours.starts_with("vllm:")) {
                let entry = vllm_entry(vllm).unwrap_or_else(|| panic!("{vllm} is not in the table of vLLM"));
                assert_eq!(
                    (entry.metric_type, entry.unit),
                    (row.metric_type, row.unit),
                    "{}",
                    row.name
                );
            }
        }
    }

    /// The names are repeated where they are sampled; this test keeps the two in agreement.
    #[test]
    fn gpu_series_named_here_exist() {
        const SAMPLED: &str = include_str!("../../../machine-telemetry/src/gpu/series.rs");
        for row in exporters() {
            for ours in row.ours.iter().filter(|ours| ours.starts_with("gpu_")) {
                assert!(
                    SAMPLED.contains(&format!("\"{ours}\"")),
                    "{} maps to {ours}, which nobody samples",
                    row.name
                );
            }
            if let Some((_, value)) = row.label {
                assert!(
                    SAMPLED.contains(&format!("\"{value}\"")),
                    "{}: no series has the label {value}",
                    row.name
                );
            }
        }
    }

    #[test]
    fn values_reach_base_units() {
        let used = exported("DCGM_FI_DEV_FB_USED").expect("in the table");
        assert_eq!(
            (used.unit, 2.0 * used.factor, used.ours),
            ("bytes", 2_097_152.0, Some("gpu_memory_used_bytes"))
        );
        assert_eq!(
            exported("sglang:time_to_first_token_seconds_bucket").map(|e| e.unit),
            Some("seconds")
        );
        assert_eq!(exported("node_cpu_seconds_total").map(|e| e.factor), Some(1.0));
        assert_eq!(exported("nothing"), None);
        let names: Vec<_> = names_of("gpu_utilization_ratio").collect();
        assert_eq!(
            names[..2],
            [("gpu_utilization_ratio", 1.0), ("DCGM_FI_DEV_GPU_UTIL", 0.01)]
        );
    }
}
