//! One interface for reading finished and live runs.
//!
//! - [`Analysis`] borrows a run in memory and derives each part once: histograms, joined requests, derived
//!   series.
//! - [`Figures`] are the quantities of a window of a run: rates, interval quantiles, running and waiting
//!   requests, KV cache, goodput, GPUs, energy. Finished and live runs provide them in the same way, so
//!   console, report, terminal and alerts show the same numbers.
//! - [`LiveView`] is fed with records during a run and keeps the newest in bounded memory.
//!
//! ```text
//!  RunData (read from files) ─────────────┐
//!                                         ├─► Analysis ─► Figures of any window
//!  records ─► LiveView (bounded RunData) ─┘
//! ```

mod analysis;
mod figures;
mod live;
mod slice;

pub use analysis::Analysis;
pub use figures::{
    ClientFigures, EndpointFigures, EnergyFigures, EngineFigures, Figures, GpuFigures, Latencies,
    LatencyFigures,
};
pub use live::{LiveTotals, LiveView};

#[cfg(test)]
mod tests;
