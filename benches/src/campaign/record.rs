//! Records: rows with the label of what happened, in memory and as two CSV files.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::case::Finds;
use super::row::Row;

/// What happened in a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// The case.
    pub case: String,
    /// The seed; of a real run its number.
    pub seed: u64,
    /// Whether a simulator made it.
    pub simulated: bool,
    /// Whether it is a matched run without a fault.
    pub healthy: bool,
    /// When the fault was injected, in seconds.
    pub injected_secs: Option<f64>,
    /// When the failure began: the injection, or the first second of what has to be predicted. Several for failures that
    /// end and begin again after a minute.
    pub onset_secs: Vec<f64>,
    /// What has to be found; absent where nothing must be.
    pub finds: Option<Finds>,
    /// When the monitor was ended and started again with its saved state.
    pub monitor_restart_secs: Option<f64>,
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What happened.
    pub label: Label,
    /// What was known in each second.
    pub rows: Vec<Row>,
    /// Whether the failure was present in each second.
    pub present: Vec<bool>,
}

const LABELS: &str = "run,case,seed,source,healthy,injected_secs,onset_secs,finds,monitor_restart_secs";

/// Writes `rows.csv` and `labels.csv` into a folder.
///
/// # Errors
/// If a file cannot be written.
pub fn write(folder: &Path, records: &[Record]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let create = |name: &str| {
        let path = folder.join(name);
        let file = fs::File::create(&path).with_context(|| path.display().to_string())?;
        Ok::<_, anyhow::Error>(std::io::BufWriter::new(file))
    };
    let (mut rows, mut labels) = (create("rows.csv")?, create("labels.csv")?);
    writeln!(rows, "{}", Row::header())?;
    writeln!(labels, "{LABELS}")?;
    for (run, record) in records.iter().enumerate() {
        for row in &record.rows {
            writeln!(rows, "{}", row.line(run))?;
        }
        let label = &record.label;
        let optional = |value: Option<f64>| value.map(|secs| format!("{secs:.1}")).unwrap_or_default();
        let onsets: Vec<String> = label.onset_secs.iter().map(|secs| format!("{secs:.1}")).collect();
        writeln!(
            labels,
            "{run},{},{},{},{},{},{},{},{}",
            label.case,
            label.seed,
            if label.simulated { "simulated" } else { "real" },
            u8::from(label.healthy),
            optional(label.injected_secs),
            onsets.join(" "),
            label.finds.map_or("", Finds::as_str),
            optional(label.monitor_restart_secs),
        )?;
    }
    rows.flush()?;
    labels.flush()?;
    Ok(())
}

/// Reads what [`write()`] wrote, or what a script recorded of a real server.
///
/// # Errors
/// Names the file and the line.
pub fn read(folder: &Path) -> Result<Vec<Record>> {
    let path = folder.join("labels.csv");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut records = Vec::new();
    for (n, line) in text.lines().enumerate().skip(1) {
        let label = label(line).with_context(|| format!("{}:{}", path.display(), n + 1))?;
        records.push(Record {
            label,
            rows: Vec::new(),
            present: Vec::new(),
        });
    }
    let path = folder.join("rows.csv");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    ensure!(
        text.lines().next() == Some(Row::header().as_str()),
        "{}: the header is not `{}`",
        path.display(),
        Row::header()
    );
    for (n, line) in text.lines().enumerate().skip(1) {
        let at = || format!("{}:{}", path.display(), n + 1);
        let (run, row) = Row::parse(line).with_context(at)?;
        let record = records
            .get_mut(run)
            .with_context(|| format!("{}: no label of run {run}", at()))?;
        record.rows.push(row);
    }
    for record in &mut records {
        record.present = present(&record.label, &record.rows);
    }
    Ok(records)
}

fn label(line: &str) -> Result<Label> {
    let fields: Vec<&str> = line.split(',').collect();
    ensure!(fields.len() == 9, "{} fields in place of 9", fields.len());
    let optional = |at: usize| match fields[at] {
        "" => Ok(None),
        text => text
            .parse::<f64>()
            .map(Some)
            .with_context(|| format!("column {}: `{text}`", at + 1)),
    };
    let finds = match fields[7] {
        "" => None,
        text => Some(
            Finds::ALL
                .into_iter()
                .find(|finds| finds.as_str() == text)
                .with_context(|| format!("column 8: `{text}`"))?,
        ),
    };
    Ok(Label {
        case: fields[1].to_owned(),
        seed: fields[2]
            .parse()
            .with_context(|| format!("column 3: `{}`", fields[2]))?,
        simulated: fields[3] == "simulated",
        healthy: fields[4] == "1",
        injected_secs: optional(5)?,
        onset_secs: fields[6]
            .split_whitespace()
            .map(|text| text.parse().with_context(|| format!("column 7: `{text}`")))
            .collect::<Result<_>>()?,
        finds,
        monitor_restart_secs: optional(8)?,
    })
}

/// Seconds after the end of a failure in which nothing counts.
pub(super) const QUIET_SECS: f64 = 60.0;

/// In which seconds the failure is there: preemptions and refusals as the counters show them, everything else from its
/// onset on.
pub(super) fn present(label: &Label, rows: &[Row]) -> Vec<bool> {
    let counter = match label.finds {
        Some(Finds::KvPreemption) => Some("preemptions_total"),
        Some(Finds::QueueOverflow) => Some("rejected_total"),
        _ => None,
    };
    let mut before = None;
    rows.iter()
        .map(|row| match counter {
            Some(column) => {
                let now = row.value(column);
                let rose = matches!((before, now), (Some(before), Some(now)) if now > before);
                before = now.or(before);
                rose
            }
            None => label.onset_secs.first().is_some_and(|onset| row.secs >= *onset),
        })
        .collect()
}

/// Onsets of a failure that a counter shows: after [`QUIET_SECS`] without.
pub(super) fn onsets(rows: &[Row], present: &[bool]) -> Vec<f64> {
    let mut last = f64::NEG_INFINITY;
    let mut onsets = Vec::new();
    for (row, _) in rows.iter().zip(present).filter(|(_, present)| **present) {
        if row.secs - last > QUIET_SECS {
            onsets.push(row.secs);
        }
        last = row.secs;
    }
    onsets
}
