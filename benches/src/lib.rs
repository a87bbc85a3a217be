//! Measurements: figures, criterion benches, and the structure test.

pub mod campaign;
pub mod exposition;
pub mod figure;
pub mod gpu_sampler;
pub mod hooks;
pub mod loadgen;
pub mod overhead;
pub mod recorder;
pub mod report;
pub mod scrape_cycle;
pub mod serving;
pub mod store;
pub mod timing;
pub mod victoriametrics;

pub use figure::Figure;
