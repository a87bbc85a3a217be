//! `report_<stamp>.html` and `trace_<stamp>.json`.

use std::path::{Path, PathBuf};

use report_page::TraceOptions;
use report_page::model::Page;

use crate::error::{Error, Result};
use crate::files;

/// A written report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Where it is.
    pub path: PathBuf,
    /// What it leaves out because of its size; the page says the same.
    pub remarks: Vec<String>,
}

/// Writes a page.
///
/// # Errors
/// If the page contradicts itself or cannot be written.
pub fn write_report(page: &Page, path: &Path) -> Result<Written> {
    let rendered = report_page::render(page)?;
    files::write(path, rendered.html.as_bytes())?;
    Ok(Written {
        path: path.to_owned(),
        remarks: rendered.remarks,
    })
}

/// Writes the first run of a page as Chrome trace JSON (Perfetto, speedscope): requests, phases and events, and the
/// series of the page's charts as counters; times in microseconds since the start of the record. Replaces `path`.
/// Above 50,000 requests a sample is written, and [`Written::remarks`] says how many are left out.
///
/// # Errors
/// If the page has no run, that run contradicts itself, or the file cannot be written; `path` is then unchanged.
pub fn write_trace(page: &Page, path: &Path) -> Result<Written> {
    let run = page.runs.first().ok_or(Error::NothingToCompare)?;
    let keys: std::collections::BTreeSet<String> =
        run.series.iter().map(report_page::model::Series::key).collect();
    let counters = page
        .charts
        .iter()
        .flat_map(|chart| &chart.lines)
        .map(|line| line.series.clone())
        .filter(|key| keys.contains(key))
        .collect();
    let options = TraceOptions {
        counters,
        ..TraceOptions::default()
    };
    let mut refused = None;
    let mut left_out = 0;
    let written = files::write_with(path, |out| {
        match report_page::write_trace(run, &options, out) {
            Ok(summary) => left_out = summary.requests_left_out,
            Err(error) => refused = Some(error),
        }
        match refused {
            // An error here keeps the file that was there.
            Some(_) => Err(std::io::Error::other("the trace is incomplete")),
            None => Ok(()),
        }
    });
    if let Some(error) = refused {
        return Err(error.into());
    }
    written?;
    let remarks =
        (left_out > 0).then(|| format!("{left_out} requests are left out of the trace; the record has all"));
    Ok(Written {
        path: path.to_owned(),
        remarks: remarks.into_iter().collect(),
    })
}
