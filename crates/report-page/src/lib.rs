//! The interactive report of one or several runs as one HTML file that opens without a network.
//!
//! Fill a [`model::Page`] and call [`render`]. The page holds every sample (up to a budget, see [`Options`]), draws
//! charts, heat maps and request timelines on one shared time axis, recomputes numbers for any selected stretch of
//! time, and shows verdict and tables without JavaScript too. [`write_trace`] writes the requests of a run for
//! Perfetto and speedscope.
//!
//! Same input, same bytes: nothing in the output depends on time, order of hashing or the machine.
//!
//! A page can also be served while the run goes on: see [`model::Live`] and [`Update`].

mod assets;
mod check;
mod encode;
mod error;
mod format;
mod live;
pub mod model;
mod numbers;
mod requests;
mod trace;
mod view;

pub use error::{Error, Result};
pub use live::{Appended, AppendedColumns, Update};
pub use trace::{TraceOptions, TraceSummary, write_trace};

use model::Page;
use requests::Requests;

/// Bounds of the page's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of base64 up to which a run is kept with all its samples. Above, series are reduced to the smallest,
    /// largest and last value of each 1/2,000 of the run. Default 4 MiB.
    pub max_run_bytes: usize,
    /// Requests up to which all are kept. Above: every one that failed, every one beyond p99.9, and a sample of the
    /// rest. Default 150,000.
    pub max_requests: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_run_bytes: 4 << 20,
            max_requests: 150_000,
        }
    }
}

/// A page and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The file.
    pub html: String,
    /// What was left out because of [`Options`]; the page says the same.
    pub remarks: Vec<String>,
    /// Samples of series in the page.
    pub samples: usize,
    /// Bytes of base64 that series take.
    pub series_bytes: usize,
    /// Bytes of base64 that requests, steps and batches take.
    pub request_bytes: usize,
}

/// Makes a page with the default [`Options`].
///
/// # Errors
/// If the input contradicts itself.
pub fn render(page: &Page) -> Result<Rendered> {
    render_with(page, &Options::default())
}

/// Makes a page.
///
/// # Errors
/// If the input contradicts itself.
pub fn render_with(page: &Page, options: &Options) -> Result<Rendered> {
    check::page(page)?;
    let requests: Vec<Requests> = page.runs.iter().map(Requests::of).collect();
    let view = view::Page::of(page, &requests);
    let payload = encode::encode(page, requests, options)?;
    let html = assets::page(&view, &payload)?;
    Ok(Rendered {
        html,
        remarks: payload.remarks,
        samples: payload.samples,
        series_bytes: payload.series_bytes,
        request_bytes: payload.request_bytes,
    })
}
