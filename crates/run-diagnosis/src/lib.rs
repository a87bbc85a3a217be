//! What a run's numbers say: its steady window, what bound it, how it compares with other runs, and alert states.
//!
//! Pure functions on plain structs. [`input`] is what is known about a run; a reader of records fills it in. What was
//! not recorded is absent with its reason, and every result names what it lacked.
//!
//! ```
//! use run_diagnosis::input::{Column, PerSecond, RequestTimes, Run, RunFacts, Scenario};
//! use run_diagnosis::window::{WindowOptions, steady_window};
//! use run_diagnosis::bound::diagnose;
//!
//! // Four requests a second for two minutes, each 0.1 s to its first token and 0.9 s to its last.
//! let requests = (0..480).map(|i| RequestTimes {
//!     scheduled_ns: Some(i * 250_000_000),
//!     issued_ns: i * 250_000_000,
//!     sent_ns: Some(i * 250_000_000),
//!     first_token_ns: Some(i * 250_000_000 + 100_000_000),
//!     done_ns: Some(i * 250_000_000 + 1_000_000_000),
//!     output_tokens: Some(91),
//!     ..RequestTimes::default()
//! });
//! let run = Run {
//!     facts: RunFacts::new("example", Scenario::Server),
//!     seconds: PerSecond {
//!         seconds: 121,
//!         output_tokens: Column::full((0..121).map(|second| 364.0 + f64::from((second * 7) % 11))),
//!         ..PerSecond::default()
//!     },
//!     requests: requests.collect(),
//! };
//! let window = steady_window(&run, WindowOptions::default());
//! assert!(window.sentences()[0].starts_with("The run is steady from 0 s"));
//!
//! // Without anything from the server there is nothing to say about it, and that is what it says.
//! let diagnosis = diagnose(&run, window.span.unwrap());
//! assert!(diagnosis.sentences()[0].starts_with("What bound the run is not known"));
//! ```
//!
//! | module | question | result |
//! |---|---|---|
//! | [`window`] | Which part of the run describes the server? | [`window::SteadyWindow`] |
//! | [`bound`] | What held it back, and what would change that? | [`bound::Diagnosis`] |
//! | [`compare`] | Is this run better or worse than that one? | [`compare::Comparison`] |
//! | [`alerts`] | Does a rule fire? | [`alerts::Transition`] |
//!
//! Every result serialises and has `sentences()` in plain English. The same input gives the same result.

pub mod alerts;
pub mod bound;
pub mod compare;
pub mod input;
pub mod window;
mod words;
