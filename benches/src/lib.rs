//! Measurements: figures, criterion benches, and the layering test.

pub mod exposition;
pub mod figure;
pub mod gpu_sampler;
pub mod loadgen;
pub mod timing;
pub mod victoriametrics;

pub use figure::Figure;
