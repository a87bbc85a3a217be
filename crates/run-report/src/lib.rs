//! A stored run as an interactive report, a comparison, and files in the formats of other tools.
//!
//! [`Analysis::of`] analyses a record once: its summary, its steady window, what limited it. Reports,
//! comparisons and exports use that result, so that a number is the same everywhere. The same record gives the
//! same bytes.
//!
//! ```
//! use run_report::{Analysis, AnalysisOptions};
//! use vllm_metrics::RunData;
//!
//! let record = RunData::default();
//! let analysis = Analysis::of(&record, AnalysisOptions::default());
//! let page = run_report::page(&[&analysis], None);
//! assert!(report_page::render(&page)?.html.contains("Nothing judged this run"));
//! # Ok::<(), report_page::Error>(())
//! ```

mod analysis;
mod compare;
mod error;
pub mod export;
pub mod facts;
mod files;
mod harness_verdict;
mod input;
mod page;
mod write;

pub use analysis::{Analysis, AnalysisOptions};
pub use compare::{CompareOptions, Compared, Comparison, Conclusion, compare, compare_repeats};
pub use error::{Error, Result};
pub use harness_verdict::{HarnessVerdict, OwnFigure, Validity};
pub use page::page;
pub use write::{Written, write_report, write_trace};
