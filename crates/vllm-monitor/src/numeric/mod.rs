//! Numeric functions shared by the predictors, with plain signatures.
//!
//! Each keeps constant memory however many samples it has seen. Times are seconds, weights decay exponentially
//! with a time constant in seconds, and samples may arrive at irregular intervals.

pub mod cusum;
pub mod ewma;
pub mod first_passage;
pub mod isotonic;
pub mod normal;
pub mod quantile;
pub mod rls;
pub mod score;
pub mod trend;
