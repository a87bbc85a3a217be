//! GPUs monitored by other exporters: NVIDIA's DCGM exporter, AMD's device metrics exporter.
//!
//! Names and factors are from the catalogue (`catalog::exporters`). A scraped run keeps the exporter's own
//! series; [`mapped`] adds ours, so that plots and energy need only one set of names.

use std::collections::BTreeSet;

use super::series::{Builder, phase_at};
use run_model::catalog::{Exported, Exporter, blank, exported, exporters};
use run_model::labels::{self, Labels, parse};
use run_model::{RunData, SeriesData};

/// Catalogue entry of an exporter's GPU series; `None` if it has no equivalent here.
pub fn canonical(name: &str) -> Option<&'static Exported> {
    // AMD's exporter can be configured to prefix all of its names.
    let entry = exported(name.strip_prefix("amd_").unwrap_or(name))?;
    (matches!(entry.exporter, Exporter::Dcgm | Exporter::Amd) && entry.ours.is_some()).then_some(entry)
}

/// Returns the canonical series of every exporter's GPU series in the run, with the exporter's name in the
/// label `derived_from`. Each GPU and name gets one series, from the best source: the sampler's own, then the
/// catalogue's order.
pub fn mapped(run: &RunData) -> Vec<SeriesData> {
    let mut have: BTreeSet<(String, Option<String>, String)> = BTreeSet::new();
    for series in &run.series {
        let labels = parse(&series.def.labels);
        let uuid = labels.get("uuid").cloned().unwrap_or_default();
        have.insert((series.def.metric_name.to_string(), None, uuid));
    }
    let mut made: Vec<(usize, SeriesData)> = Vec::new();
    for series in &run.series {
        let Some(entry) = canonical(&series.def.metric_name) else {
            continue;
        };
        let Some(name) = entry.ours else { continue };
        let theirs = parse(&series.def.labels);
        // AMD's exporter reports all clocks under one name; it calls the compute clock the system's.
        if theirs
            .get("clock_type")
            .is_some_and(|clock| !clock.to_ascii_uppercase().contains("SYSTEM"))
        {
            continue;
        }
        let labels = canonical_labels(&theirs);
        let uuid = labels.get("uuid").cloned().unwrap_or_default();
        if !uuid.is_empty() && have.contains(&(name.to_owned(), None, uuid)) {
            continue;
        }
        let rank = exporters()
            .iter()
            .position(|other| other.name == entry.name)
            .unwrap_or(usize::MAX);
        made.push((rank, series_of(series, entry, name, labels)));
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

fn series_of(from: &SeriesData, entry: &Exported, name: &str, mut labels: Labels) -> SeriesData {
    if let Some((key, value)) = entry.label {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels.insert("derived_from".to_owned(), from.def.metric_name.to_string());
    let labels = labels::write(&labels);
    let mut builder = Builder::typed(name, labels, entry.unit, entry.metric_type, &from.def);
    for (i, (&t, &value)) in from.timestamps_ns.iter().zip(&from.values).enumerate() {
        // Recordings of other tools may contain the exporter's number for an absent value.
        if blank(&from.def.metric_name, value).is_none() {
            builder.push(t, value * entry.factor, &phase_at(from, i));
        }
    }
    builder.finish()
}

/// Renames the exporter's labels to ours and drops those of jobs and pods.
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
    use std::sync::Arc;

    use super::*;
    use run_model::MetricType::Gauge;
    use run_model::{SeriesData, SeriesDef};

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
        let derived = crate::derive::process(&run);
        let part_of_it = derived
            .series
            .iter()
            .any(|s| &*s.def.metric_name == "gpu_power_watts");
        assert!(part_of_it, "every derivation maps exporters");
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
    fn a_blank_of_an_older_record_is_no_measurement() {
        let run = RunData {
            series: vec![
                series(
                    "DCGM_FI_DEV_POWER_USAGE",
                    r#"{"gpu":"0"}"#,
                    &[140_737_488_355_330.0, 300.0],
                ),
                series(
                    "DCGM_FI_DEV_GPU_UTIL",
                    r#"{"gpu":"0"}"#,
                    &[9_223_372_036_854_775_794.0, 50.0],
                ),
            ],
            ..RunData::default()
        };
        let power = mapped(&run)
            .into_iter()
            .find(|s| &*s.def.metric_name == "gpu_power_watts")
            .unwrap();
        assert_eq!(
            (&power.timestamps_ns[..], &power.values[..]),
            (&[1][..], &[300.0][..])
        );
        let named = crate::derive::names::gpu_utilization(&run);
        assert_eq!(named[0].values, [0.5]);
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
