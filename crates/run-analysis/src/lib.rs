//! What a run says. Pure functions and folds over rows: nothing here reads a file, a clock or the network.
//!
//! - [`derive`]: rates, quantiles per interval, joined requests, goodput, the names that dashboards expect.
//! - [`energy`]: energy of GPUs over a window, and its split.
//! - [`view`]: one read interface over a finished run and a live one.

pub mod derive;
pub mod energy;
pub mod view;
