//! Prometheus text format 0.0.4 and OpenMetrics 1.0: parse and write. Pure, no I/O, no `unsafe`.
//!
//! [`Parser`] walks a page once and yields [`Event`]s that borrow from it, without an allocation per sample.
//! Every sample comes with the kind of its family, its role in that family, and the raw bytes of
//! `name{labels}`. A scraper can therefore recognise a known series by comparing bytes, and parses labels
//! only once per series.
//!
//! ```
//! use exposition::{Event, Format, Kind, Parser, Role};
//!
//! let page = b"# TYPE ttft_seconds histogram\nttft_seconds_bucket{engine=\"0\",le=\"0.5\"} 3.0\n";
//! let samples: Vec<_> = Parser::new(page, Format::Text)
//!     .filter_map(|event| match event {
//!         Event::Sample(sample) => Some(sample),
//!         _ => None,
//!     })
//!     .collect();
//! assert_eq!(samples[0].series, b"ttft_seconds_bucket{engine=\"0\",le=\"0.5\"}");
//! assert_eq!((samples[0].kind, samples[0].role), (Kind::Histogram, Role::Bucket));
//! assert_eq!(samples[0].labels.get("le").as_deref(), Some("0.5"));
//! assert_eq!(samples[0].value, 3.0);
//! ```
//!
//! A line that cannot be parsed affects no other line: it becomes an [`Event::Bad`] with its number and the
//! reason, and parsing continues with the next line. A byte order mark at the start of the page is skipped.
//! [`Page`] holds a page as owned data, [`Writer`] writes one.
//!
//! Not checked: that label names are unique within a line (see [`Labels::duplicate`]), that a family's lines
//! are adjacent, that buckets are cumulative. Such pages occur, and a reader may still want their samples.

mod block;
mod event;
mod family;
mod fast;
mod float;
mod kind;
mod labels;
mod line;
mod metadata;
mod name;
mod page;
mod parse;
mod write;

pub use event::{Event, Exemplar, LineError, Reason, Sample};
pub use float::format_float;
pub use kind::{Format, Kind, Role};
pub use labels::{Label, Labels};
pub use name::Name;
pub use page::{Family, Page, Point, PointExemplar};
pub use parse::Parser;
pub use write::{ExemplarLine, FamilyHeader, SampleLine, WriteError, Writer};
