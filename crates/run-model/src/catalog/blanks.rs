//! Numbers that exporters write in place of an absent value, from `blanks.csv` next to this file.

use std::sync::OnceLock;

use super::exporters::{Exporter, exported, exporter_named};

const TABLE: &str = include_str!("blanks.csv");

/// Exporter, number and meaning of each blank.
fn table() -> &'static [(Exporter, f64, &'static str)] {
    static TABLE_READ: OnceLock<Vec<(Exporter, f64, &'static str)>> = OnceLock::new();
    TABLE_READ.get_or_init(|| TABLE.lines().skip(1).map(parse).collect())
}

fn parse(line: &'static str) -> (Exporter, f64, &'static str) {
    let fields: Vec<&'static str> = line.splitn(3, ',').collect();
    let [exporter, value, meaning] = fields[..] else {
        unreachable!("a test reads every line of blanks.csv")
    };
    let exporter = exporter_named(exporter).expect("a test reads every exporter in blanks.csv");
    (
        exporter,
        value.parse().expect("a test reads every value in blanks.csv"),
        meaning,
    )
}

/// Whether samples of this name come from an exporter that writes blanks.
pub fn may_be_blank(sample_name: &str) -> bool {
    exporter_of(sample_name).is_some_and(|exporter| table().iter().any(|(of, ..)| *of == exporter))
}

/// Returns the meaning of `value` of `sample_name` if it is the exporter's number for an absent value; `None`
/// for a measurement.
///
/// ```
/// use run_model::catalog::blank;
///
/// assert_eq!(blank("DCGM_FI_DEV_GPU_TEMP", 2147483634.0), Some("not supported"));
/// assert_eq!(blank("DCGM_FI_DEV_GPU_TEMP", 50.0), None);
/// assert_eq!(blank("vllm:num_requests_running", 2147483634.0), None);
/// ```
pub fn blank(sample_name: &str, value: f64) -> Option<&'static str> {
    let exporter = exporter_of(sample_name)?;
    table()
        .iter()
        .find(|(of, number, _)| *of == exporter && *number == value)
        .map(|(.., meaning)| *meaning)
}

/// DCGM exports any field under its own name, whether or not the catalogue contains it.
fn exporter_of(sample_name: &str) -> Option<Exporter> {
    if sample_name.starts_with("DCGM_FI_") {
        return Some(Exporter::Dcgm);
    }
    exported(sample_name).map(|entry| entry.exporter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_blank_of_every_width_is_known_and_no_measurement_is() {
        assert_eq!(table().len(), TABLE.lines().count() - 1);
        for base in [
            2_147_483_632.0,
            9_223_372_036_854_775_792.0,
            140_737_488_355_328.0,
        ] {
            for more in 0..4 {
                let value = base + f64::from(more);
                assert!(blank("DCGM_FI_DEV_POWER_USAGE", value).is_some(), "{value}");
                assert!(blank("DCGM_FI_DEV_SOMETHING_NEW", value).is_some(), "{value}");
            }
        }
        for value in [
            0.0,
            -1.0,
            100.0,
            2_147_483_631.0,
            2_147_483_647.0,
            1.4e14,
            f64::NAN,
            f64::INFINITY,
        ] {
            assert_eq!(blank("DCGM_FI_DEV_POWER_USAGE", value), None, "{value}");
        }
        assert!(may_be_blank("DCGM_FI_DEV_GPU_UTIL") && !may_be_blank("node_load1"));
    }
}
