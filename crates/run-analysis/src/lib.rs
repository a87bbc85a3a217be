//! Analysis of recorded runs. Pure functions and folds over rows: no access to files, clocks or the network.
//!
//! - [`mod@derive`]: rates, quantiles per interval, joined requests, goodput, names that dashboards expect.
//! - [`energy`]: GPU energy of a window, and its split.
//! - [`view`]: one interface for reading finished and live runs.

pub mod derive;
pub mod energy;
pub mod view;
