//! GPUs that somebody else's exporter watches: the names of NVIDIA's DCGM exporter and of AMD's device metrics
//! exporter, and what they are called and measured in here.
//!
//! A scraped run keeps the exporter's own series. [`canonical`] tells what one of them stands for, and [`mapped`]
//! makes the canonical series beside it, so that plots and energy need to know one set of names.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::derive::labels::{self, Labels, parse};
use crate::derive::series::derived_source;
use crate::model::MetricType::{self, Counter, Gauge};
use crate::model::{RunData, SeriesData, SeriesDef};

/// What an exporter's series stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mapping {
    /// The exporter's name for it. AMD's may have the prefix `amd_` in front.
    pub exported: &'static str,
    /// Our name.
    pub name: &'static str,
    /// Label that our name carries on top of `gpu`, `uuid` and `name`.
    pub label: Option<(&'static str, &'static str)>,
    /// Unit of our name.
    pub unit: &'static str,
    /// The exporter's value times this is ours.
    pub factor: f64,
    /// Type of ours; AMD's exporter calls even its totals gauges.
    pub metric_type: MetricType,
}

const MIB: f64 = 1_048_576.0;

const fn map(
    exported: &'static str,
    name: &'static str,
    unit: &'static str,
    factor: f64,
    metric_type: MetricType,
) -> Mapping {
    Mapping {
        exported,
        name,
        label: None,
        unit,
        factor,
        metric_type,
    }
}

const fn labelled(mapping: Mapping, key: &'static str, value: &'static str) -> Mapping {
    Mapping {
        label: Some((key, value)),
        ..mapping
    }
}

const fn dcgm_throttle(exported: &'static str, reason: &'static str) -> Mapping {
    labelled(
        map(exported, "gpu_throttle_seconds_total", "seconds", 1e-6, Counter),
        "reason",
        reason,
    )
}

const fn errors(exported: &'static str, name: &'static str, kind: &'static str) -> Mapping {
    labelled(map(exported, name, "errors", 1.0, Counter), "kind", kind)
}

/// Every name that is known. Where two of an exporter's names mean the same, the better one stands first.
pub const MAPPINGS: &[Mapping] = &[
    // NVIDIA DCGM exporter
    map(
        "DCGM_FI_DEV_GPU_UTIL",
        "gpu_utilization_ratio",
        "ratio",
        0.01,
        Gauge,
    ),
    map(
        "DCGM_FI_DEV_MEM_COPY_UTIL",
        "gpu_memory_activity_ratio",
        "ratio",
        0.01,
        Gauge,
    ),
    map(
        "DCGM_FI_DEV_FB_USED",
        "gpu_memory_used_bytes",
        "bytes",
        MIB,
        Gauge,
    ),
    map(
        "DCGM_FI_DEV_FB_RESERVED",
        "gpu_memory_reserved_bytes",
        "bytes",
        MIB,
        Gauge,
    ),
    map(
        "DCGM_FI_DEV_FB_TOTAL",
        "gpu_memory_total_bytes",
        "bytes",
        MIB,
        Gauge,
    ),
    map("DCGM_FI_DEV_POWER_USAGE", "gpu_power_watts", "watts", 1.0, Gauge),
    map(
        "DCGM_FI_DEV_POWER_USAGE_INSTANT",
        "gpu_power_instant_watts",
        "watts",
        1.0,
        Gauge,
    ),
    map(
        "DCGM_FI_DEV_POWER_MGMT_LIMIT",
        "gpu_power_limit_watts",
        "watts",
        1.0,
        Gauge,
    ),
    map(
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "gpu_energy_joules_total",
        "joules",
        1e-3,
        Counter,
    ),
    map("DCGM_FI_DEV_SM_CLOCK", "gpu_sm_clock_hertz", "hertz", 1e6, Gauge),
    map(
        "DCGM_FI_DEV_MEM_CLOCK",
        "gpu_memory_clock_hertz",
        "hertz",
        1e6,
        Gauge,
    ),
    map(
        "DCGM_FI_DEV_GPU_TEMP",
        "gpu_temperature_celsius",
        "celsius",
        1.0,
        Gauge,
    ),
    map(
        "DCGM_FI_DEV_MEMORY_TEMP",
        "gpu_memory_temperature_celsius",
        "celsius",
        1.0,
        Gauge,
    ),
    map(
        "DCGM_FI_DEV_PCIE_REPLAY_COUNTER",
        "gpu_pcie_replays_total",
        "replays",
        1.0,
        Counter,
    ),
    errors(
        "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
        "gpu_ecc_errors_total",
        "corrected",
    ),
    errors(
        "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
        "gpu_ecc_errors_total",
        "uncorrected",
    ),
    errors(
        "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",
        "gpu_nvlink_errors_total",
        "crc_flit",
    ),
    errors(
        "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL",
        "gpu_nvlink_errors_total",
        "crc_data",
    ),
    errors(
        "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL",
        "gpu_nvlink_errors_total",
        "replay",
    ),
    errors(
        "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL",
        "gpu_nvlink_errors_total",
        "recovery",
    ),
    labelled(
        map(
            "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS",
            "gpu_row_remaps_total",
            "rows",
            1.0,
            Counter,
        ),
        "kind",
        "corrected",
    ),
    labelled(
        map(
            "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
            "gpu_row_remaps_total",
            "rows",
            1.0,
            Counter,
        ),
        "kind",
        "uncorrected",
    ),
    map(
        "DCGM_FI_DEV_ROW_REMAP_FAILURE",
        "gpu_row_remap_failed",
        "bool",
        1.0,
        Gauge,
    ),
    map(
        "DCGM_FI_DEV_ROW_REMAP_PENDING",
        "gpu_row_remap_pending",
        "bool",
        1.0,
        Gauge,
    ),
    dcgm_throttle("DCGM_FI_DEV_POWER_VIOLATION", "power"),
    dcgm_throttle("DCGM_FI_DEV_THERMAL_VIOLATION", "thermal"),
    dcgm_throttle("DCGM_FI_DEV_SYNC_BOOST_VIOLATION", "sync_boost"),
    dcgm_throttle("DCGM_FI_DEV_BOARD_LIMIT_VIOLATION", "board_limit"),
    dcgm_throttle("DCGM_FI_DEV_LOW_UTIL_VIOLATION", "low_utilization"),
    dcgm_throttle("DCGM_FI_DEV_RELIABILITY_VIOLATION", "reliability"),
    // A gauge that holds the last number seen; 0 is "none yet". The driver's event set tells every one of them.
    map("DCGM_FI_DEV_XID_ERRORS", "gpu_last_xid", "code", 1.0, Gauge),
    // Only from DCGM's profiling counters: finer than utilisation.
    map(
        "DCGM_FI_PROF_SM_ACTIVE",
        "gpu_sm_active_ratio",
        "ratio",
        1.0,
        Gauge,
    ),
    map(
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
        "gpu_tensor_active_ratio",
        "ratio",
        1.0,
        Gauge,
    ),
    map(
        "DCGM_FI_PROF_DRAM_ACTIVE",
        "gpu_dram_active_ratio",
        "ratio",
        1.0,
        Gauge,
    ),
    // AMD device metrics exporter
    map("gpu_gfx_activity", "gpu_utilization_ratio", "ratio", 0.01, Gauge),
    map(
        "gpu_umc_activity",
        "gpu_memory_activity_ratio",
        "ratio",
        0.01,
        Gauge,
    ),
    map("gpu_used_vram", "gpu_memory_used_bytes", "bytes", MIB, Gauge),
    map("gpu_total_vram", "gpu_memory_total_bytes", "bytes", MIB, Gauge),
    // Which of these three exists depends on the generation of the board.
    map("gpu_package_power", "gpu_power_watts", "watts", 1.0, Gauge),
    map(
        "gpu_average_package_power",
        "gpu_power_watts",
        "watts",
        1.0,
        Gauge,
    ),
    map("gpu_power_usage", "gpu_power_watts", "watts", 1.0, Gauge),
    map(
        "gpu_energy_consumed",
        "gpu_energy_joules_total",
        "joules",
        1e-6,
        Counter,
    ),
    map(
        "gpu_junction_temperature",
        "gpu_temperature_celsius",
        "celsius",
        1.0,
        Gauge,
    ),
    map(
        "gpu_edge_temperature",
        "gpu_temperature_celsius",
        "celsius",
        1.0,
        Gauge,
    ),
    map(
        "gpu_memory_temperature",
        "gpu_memory_temperature_celsius",
        "celsius",
        1.0,
        Gauge,
    ),
    errors("gpu_ecc_correct_total", "gpu_ecc_errors_total", "corrected"),
    errors("gpu_ecc_uncorrect_total", "gpu_ecc_errors_total", "uncorrected"),
    map(
        "pcie_replay_count",
        "gpu_pcie_replays_total",
        "replays",
        1.0,
        Counter,
    ),
];

/// What an exporter's name stands for; `None` for a name that is not a GPU's, or is ours already.
pub fn canonical(exported: &str) -> Option<&'static Mapping> {
    let plain = exported.strip_prefix("amd_").unwrap_or(exported);
    MAPPINGS.iter().find(|mapping| mapping.exported == plain)
}

/// The canonical series of every exporter's GPU series in the run, with the exporter's name in the label
/// `derived_from`. A GPU and name that the run already has from a better source gets no second one: the samplers'
/// own first, then the exporter's better name.
pub fn mapped(run: &RunData) -> Vec<SeriesData> {
    let mut have: BTreeSet<(String, Option<String>, String)> = BTreeSet::new();
    for series in &run.series {
        let labels = parse(&series.def.labels);
        let uuid = labels.get("uuid").cloned().unwrap_or_default();
        have.insert((series.def.metric_name.to_string(), None, uuid));
    }
    let mut made: Vec<(usize, SeriesData)> = Vec::new();
    for series in &run.series {
        let Some(mapping) = canonical(&series.def.metric_name) else {
            continue;
        };
        let labels = canonical_labels(&parse(&series.def.labels));
        let uuid = labels.get("uuid").cloned().unwrap_or_default();
        if !uuid.is_empty() && have.contains(&(mapping.name.to_owned(), None, uuid)) {
            continue;
        }
        let rank = MAPPINGS
            .iter()
            .position(|other| std::ptr::eq(other, mapping))
            .unwrap_or(usize::MAX);
        made.push((rank, series_of(series, mapping, labels)));
    }
    made.sort_by_key(|(rank, _)| *rank);
    made.retain(|(_, series)| {
        let labels = parse(&series.def.labels);
        let gpu = labels
            .get("gpu")
            .or(labels.get("uuid"))
            .cloned()
            .unwrap_or_default();
        let kind = labels.get("kind").or(labels.get("reason")).cloned();
        let part = labels.get("mig_instance").map_or("", String::as_str);
        let place = format!("{gpu}/{part}@{}", series.def.endpoint_url);
        have.insert((
            series.def.metric_name.to_string(),
            Some(kind.unwrap_or_default()),
            place,
        ))
    });
    made.into_iter().map(|(_, series)| series).collect()
}

fn series_of(from: &SeriesData, mapping: &Mapping, mut labels: Labels) -> SeriesData {
    if let Some((key, value)) = mapping.label {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels.insert("derived_from".to_owned(), from.def.metric_name.to_string());
    SeriesData {
        def: Arc::new(SeriesDef {
            metric_name: mapping.name.into(),
            labels: labels::write(&labels),
            metric_type: mapping.metric_type,
            unit: mapping.unit.into(),
            source: derived_source(&from.def),
            endpoint_url: from.def.endpoint_url.clone(),
        }),
        timestamps_ns: from.timestamps_ns.clone(),
        values: from.values.iter().map(|value| value * mapping.factor).collect(),
        phases: from.phases.clone(),
    }
}

/// The exporter's labels under our names; those of jobs and pods are left behind.
fn canonical_labels(theirs: &Labels) -> Labels {
    let first = |keys: &[&str]| keys.iter().find_map(|key| theirs.get(*key)).cloned();
    let pairs = [
        ("gpu", first(&["gpu", "gpu_id", "gpu_index"])),
        ("uuid", first(&["UUID", "uuid", "gpu_uuid", "serial_number"])),
        ("name", first(&["modelName", "card_model", "card_series"])),
        ("hostname", first(&["Hostname", "hostname"])),
        ("mig_instance", first(&["GPU_I_ID"])),
    ];
    pairs
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, labels: &str, values: &[f64]) -> SeriesData {
        SeriesData {
            def: Arc::new(SeriesDef {
                metric_name: name.into(),
                labels: labels.into(),
                metric_type: Gauge,
                unit: "".into(),
                source: "prometheus".into(),
                endpoint_url: "http://gpu:9400/metrics".into(),
            }),
            timestamps_ns: (0..values.len() as i64).collect(),
            values: values.to_vec(),
            phases: Vec::new(),
        }
    }

    #[test]
    fn dcgm_and_amd_speak_the_same_names_afterwards() {
        let dcgm = r#"{"UUID":"GPU-1","gpu":"0","modelName":"H100","pod":"x"}"#;
        let amd = r#"{"card_model":"MI300X","gpu_id":"1","serial_number":"s"}"#;
        let run = RunData {
            series: vec![
                series("DCGM_FI_DEV_GPU_UTIL", dcgm, &[50.0]),
                series("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", dcgm, &[2000.0]),
                series("amd_gpu_energy_consumed", amd, &[3e6]),
                series("gpu_average_package_power", amd, &[100.0]),
                series("gpu_package_power", amd, &[110.0]),
                series("vllm:num_requests_running", "{}", &[1.0]),
            ],
            ..RunData::default()
        };
        let out = mapped(&run);
        let value = |name: &str| {
            let found: Vec<_> = out.iter().filter(|s| &*s.def.metric_name == name).collect();
            found
                .iter()
                .map(|s| (s.values[0], &*s.def.unit))
                .collect::<Vec<_>>()
        };
        assert_eq!(value("gpu_utilization_ratio"), [(0.5, "ratio")]);
        assert_eq!(
            value("gpu_energy_joules_total"),
            [(2.0, "joules"), (3.0, "joules")]
        );
        assert_eq!(
            value("gpu_power_watts"),
            [(110.0, "watts")],
            "one power per GPU, the better one"
        );
        let labels = &*out
            .iter()
            .find(|s| &*s.def.metric_name == "gpu_utilization_ratio")
            .unwrap()
            .def
            .labels;
        assert_eq!(
            labels,
            r#"{"derived_from":"DCGM_FI_DEV_GPU_UTIL","gpu":"0","name":"H100","uuid":"GPU-1"}"#
        );
    }

    #[test]
    fn a_gpu_that_the_sampler_watches_is_not_told_twice() {
        let run = RunData {
            series: vec![
                series("gpu_power_watts", r#"{"gpu":"0","uuid":"GPU-1"}"#, &[70.0]),
                series(
                    "DCGM_FI_DEV_POWER_USAGE",
                    r#"{"UUID":"GPU-1","gpu":"0"}"#,
                    &[71.0],
                ),
                series(
                    "DCGM_FI_DEV_POWER_USAGE",
                    r#"{"UUID":"GPU-2","gpu":"1"}"#,
                    &[72.0],
                ),
            ],
            ..RunData::default()
        };
        let out = mapped(&run);
        assert_eq!(out.iter().map(|s| s.values[0]).collect::<Vec<_>>(), [72.0]);
    }
}
