//! Files of samples that another program wrote: CSV, JSON, Prometheus text or a SQLite table, with at least a time, a
//! name and a value in each row.
//!
//! Such a file has no manifest, and usually neither types nor units: these are those of the catalogue. The record begins
//! and ends with its samples.

use std::path::Path;

use run_model::catalog::{self, exported, vllm_entry};
use run_model::{Error, Manifest, MetricType, Result, SeriesDef, labels};

use super::assemble::Assembler;
use super::format::StoreFormat;
use super::text;

/// Reads the samples of `path` into `run`.
pub(crate) fn read(path: &Path, format: StoreFormat, run: &mut Assembler) -> Result<()> {
    match format {
        #[cfg(feature = "sqlite")]
        StoreFormat::Sqlite => super::sqlite::read_foreign(path, run)?,
        #[cfg(not(feature = "sqlite"))]
        StoreFormat::Sqlite => return Err(super::without("SQLite", "sqlite")),
        _ => {
            let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
            text::read_samples(path.to_path_buf(), format, &bytes, run)?;
        }
    }
    let Some((first_ns, last_ns)) = run.times() else {
        return Err(Error::Format {
            path: path.to_path_buf(),
            format: "file of samples",
            reason: "it holds no sample".into(),
        });
    };
    run.describe(describe);
    run.manifest = Some(Manifest {
        stamp: text::stamp(first_ns),
        started_ns: first_ns,
        ended_ns: Some(last_ns),
        ..Manifest::default()
    });
    run.notes.push(format!(
        "{} was written by another program: times without an offset are taken as UTC, and types and units are those of \
         the catalogue",
        path.display()
    ));
    Ok(())
}

/// Adds what the file lacks.
fn describe(def: &SeriesDef) -> SeriesDef {
    let name = &*def.metric_name;
    let known = vllm_entry(name).map(|entry| entry.metric_type);
    let metric_type = match (def.metric_type, known) {
        (MetricType::Unknown, Some(metric_type)) => metric_type,
        (MetricType::Unknown, None) => exported(name).map_or(MetricType::Unknown, |known| known.metric_type),
        (written, _) => written,
    };
    let or = |written: &std::sync::Arc<str>, other: &str| {
        if written.is_empty() {
            other.into()
        } else {
            written.clone()
        }
    };
    SeriesDef {
        metric_name: def.metric_name.clone(),
        labels: labels::write(&labels::parse(&def.labels)),
        metric_type,
        unit: or(&def.unit, catalog::unit_of(name).unwrap_or_default()),
        source: or(
            &def.source,
            if name.starts_with("vllm:") {
                "vllm"
            } else {
                "prometheus"
            },
        ),
        endpoint_url: def.endpoint_url.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{RunReader, read_run};

    const NAME: &str = "vllm:generation_tokens_total";
    /// 2025-06-01 12:00:00 UTC.
    const FIRST_NS: i64 = 1_748_779_200_000_000_000;

    /// The same samples as Python's csv and json modules and a table of SQLite hold them.
    fn write(folder: &Path) -> [std::path::PathBuf; 3] {
        let times = ["2025-06-01T12:00:00", "2025-06-01T12:00:01.500000"];
        let paths = ["metrics_1.csv", "metrics.json", "history.db"].map(|name| folder.join(name));
        let rows: String = times
            .iter()
            .zip([10, 30])
            .map(|(time, value)| format!("{time},{NAME},{value}.0,\"{{\"\"model_name\"\": \"\"m\"\", \"\"engine\"\": \"\"0\"\"}}\"\r\n"))
            .collect();
        fs::write(&paths[0], format!("timestamp,metric_name,value,labels\r\n{rows}")).unwrap();
        let objects: Vec<String> = times
            .iter()
            .zip([10, 30])
            .map(|(time, value)| {
                format!(
                    "  {{\n    \"timestamp\": \"{time}\",\n    \"metric_name\": \"{NAME}\",\n    \"value\": {value}.0,\n    \
                     \"labels\": {{\n      \"model_name\": \"m\",\n      \"engine\": \"0\"\n    }}\n  }}"
                )
            })
            .collect();
        fs::write(&paths[1], format!("[\n{}\n]", objects.join(",\n"))).unwrap();
        #[cfg(feature = "sqlite")]
        {
            let database = rusqlite::Connection::open(&paths[2]).unwrap();
            database
                .execute_batch(
                    "CREATE TABLE metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT, metric_name TEXT, \
                     value REAL, labels TEXT)",
                )
                .unwrap();
            for (time, value) in times.iter().zip([10.0, 30.0]) {
                database
                    .execute(
                        "INSERT INTO metrics (timestamp, metric_name, value, labels) VALUES (?, ?, ?, ?)",
                        rusqlite::params![time, NAME, value, r#"{"model_name": "m", "engine": "0"}"#],
                    )
                    .unwrap();
            }
        }
        paths
    }

    #[test]
    fn samples_of_other_programs_are_read_with_types_of_the_catalogue() {
        let folder = tempfile::tempdir().unwrap();
        for path in write(folder.path()) {
            let run = read_run(&path).unwrap_or_else(|error| panic!("{error}"));
            let [series] = &run.series[..] else {
                panic!("{}: {:?}", path.display(), run.series)
            };
            assert_eq!(series.def.metric_type, MetricType::Counter);
            assert_eq!((&*series.def.unit, &*series.def.source), ("tokens", "vllm"));
            assert_eq!(&*series.def.labels, r#"{"engine":"0","model_name":"m"}"#);
            assert_eq!(series.timestamps_ns, [FIRST_NS, FIRST_NS + 1_500_000_000]);
            assert_eq!(series.values, [10.0, 30.0]);
            assert_eq!(run.manifest.stamp, "20250601_120000");
            assert_eq!(run.manifest.ended_ns, Some(FIRST_NS + 1_500_000_000));
            assert!(
                run.notes.len() == 1 && run.notes[0].contains("taken as UTC"),
                "{:?}",
                run.notes
            );
            // A part knows when the whole began.
            let part = RunReader::open(&path)
                .unwrap()
                .range(FIRST_NS + 1..)
                .read()
                .unwrap();
            assert_eq!(
                (part.manifest.started_ns, part.series[0].values.len()),
                (FIRST_NS, 1)
            );
        }
    }

    #[test]
    fn what_is_no_file_of_samples_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text, part) in [
            ("a.csv", "timestamp,metric_name,value,labels\n", "holds no sample"),
            ("a.json", "{\"a\": 1}", "a.json"),
            ("b.csv", "time,name\n1,2\n", "no column timestamp"),
            (
                "c.csv",
                "timestamp,metric_name,value\nyesterday,a,1\n",
                "line 2: `yesterday` is not a time",
            ),
            ("a.prom", "a 1\n", "has no timestamp"),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            let error = read_run(&path).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(name), "{error}");
        }
    }
}
