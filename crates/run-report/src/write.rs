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

/// Writes the first run of a page as a Chrome trace, with the series of the page's charts as counters.
///
/// # Errors
/// If the page has no run or contradicts itself, or the file cannot be written.
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
    let mut written = None;
    files::write_with(path, |out| {
        written = Some(report_page::write_trace(run, &options, out));
        Ok(())
    })?;
    let summary = written.expect("the file was filled")?;
    let remarks = (summary.requests_left_out > 0).then(|| {
        format!(
            "{} requests are left out of the trace; the record has all",
            summary.requests_left_out
        )
    });
    Ok(Written {
        path: path.to_owned(),
        remarks: remarks.into_iter().collect(),
    })
}
