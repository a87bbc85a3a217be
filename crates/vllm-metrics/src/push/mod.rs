//! Sends samples to other systems during the run: Pushgateway and Prometheus remote write.
//!
//! A run must not wait for a receiver. Each receiver is a subscriber of the recorder with its own thread,
//! which passes requests through a bounded queue to a second thread that sends them and retries with growing
//! pauses. Samples that do not fit the queue or are given up are dropped and counted.

#[cfg(feature = "http")]
mod delivery_thread;
#[cfg(feature = "http")]
mod pushgateway;
#[cfg(feature = "http")]
mod remote_write;
mod stats;

#[cfg(feature = "http")]
pub use delivery_thread::Delivery;
#[cfg(feature = "http")]
pub use pushgateway::{PushgatewayConfig, PushgatewayStore};
#[cfg(feature = "http")]
pub use remote_write::{RemoteWriteConfig, RemoteWriteStore};
pub use stats::{SendMonitor, SendStats};
