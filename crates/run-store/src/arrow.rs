//! Converts a run in memory to Arrow record batches, with the same columns as the Parquet files.

use std::sync::Arc;

use arrow_array::RecordBatch;

use super::parquet::encode::{SampleRows, row_batch};
use super::table::Row;
use run_model::{BatchRow, EngineRequestRow, EventRow, RequestRow, RunData, StepRow};
use run_model::{Error, Result};

/// Tables of `run` by name: `samples`, `requests`, `batches`, `steps`, `engine_requests`, `events`.
///
/// Tables without rows are included with their columns. Samples are grouped by series in the order of
/// [`RunData::series`], ascending in time within each.
///
/// # Errors
/// [`Error::Store`] if a table exceeds what Arrow can address.
pub fn tables(run: &RunData) -> Result<Vec<(&'static str, RecordBatch)>> {
    fn rows<R: Row>(rows: &[R]) -> Result<(&'static str, RecordBatch)> {
        let batch = row_batch(rows).map_err(|error| refused(R::TABLE, &error))?;
        Ok((R::TABLE, batch))
    }
    Ok(vec![
        ("samples", samples(run)?),
        rows::<RequestRow>(&run.requests)?,
        rows::<BatchRow>(&run.batches)?,
        rows::<StepRow>(&run.steps)?,
        rows::<EngineRequestRow>(&run.engine_requests)?,
        rows::<EventRow>(&run.events)?,
    ])
}

fn refused(table: &str, error: &dyn std::fmt::Display) -> Error {
    Error::Store {
        target: format!("the table {table} in memory"),
        reason: error.to_string(),
    }
}

fn samples(run: &RunData) -> Result<RecordBatch> {
    let mut rows = SampleRows::default();
    for (index, series) in run.series.iter().enumerate() {
        rows.add_series(&series.def);
        let id = u32::try_from(index).expect("a run has fewer than four billion series");
        let mut phases = series.phases.iter().peekable();
        let mut phase = rows.phase(&Arc::from(""));
        for (at, (time_ns, value)) in series.timestamps_ns.iter().zip(&series.values).enumerate() {
            while let Some((_, name)) = phases.next_if(|(first, _)| *first <= at) {
                phase = rows.phase(name);
            }
            rows.push(id, *time_ns, *value, phase);
        }
    }
    rows.record_batch().map_err(|error| refused("samples", &error))
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray as _;
    use arrow_array::types::{Float64Type, TimestampNanosecondType};

    use super::*;
    use run_model::{MetricType, SeriesData, SeriesDef};

    #[test]
    fn samples_keep_series_times_values_and_phases() {
        let series = |name: &str, values: Vec<f64>| SeriesData {
            def: Arc::new(SeriesDef {
                metric_name: name.into(),
                labels: "{}".into(),
                metric_type: MetricType::Gauge,
                unit: "".into(),
                source: "self".into(),
                endpoint_url: "".into(),
            }),
            timestamps_ns: (0..values.len() as i64).collect(),
            values,
            phases: vec![(0, "".into()), (1, "performance".into())],
        };
        let run = RunData {
            series: vec![series("b", vec![3.0, 4.0]), series("a", vec![1.0])],
            ..RunData::default()
        };
        let tables = tables(&run).unwrap();
        let names: Vec<_> = tables.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "samples",
                "requests",
                "batches",
                "steps",
                "engine_requests",
                "events"
            ]
        );
        let samples = &tables[0].1;
        let column = |name: &str| samples.column_by_name(name).unwrap();
        assert_eq!(
            column("value").as_primitive::<Float64Type>().values(),
            &[3.0, 4.0, 1.0]
        );
        let times = column("timestamp").as_primitive::<TimestampNanosecondType>();
        assert_eq!(times.values(), &[0, 1, 0]);
        let phases = column("phase").as_dictionary::<arrow_array::types::Int32Type>();
        let phases: Vec<_> = phases
            .downcast_dict::<arrow_array::StringArray>()
            .unwrap()
            .into_iter()
            .collect();
        assert_eq!(phases, [Some(""), Some("performance"), Some("")]);
        assert!(
            tables[1..]
                .iter()
                .all(|(_, batch)| batch.num_rows() == 0 && batch.num_columns() > 5)
        );
    }
}
