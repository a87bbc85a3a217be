//! Sending samples to another system while the run goes on: Pushgateway and Prometheus remote write.
//!
//! A run must not wait for a receiver. Each receiver is a subscriber of the recorder with a thread of its own; what is
//! to be sent then goes through a bounded queue to a second thread, which tries again with growing pauses. What does
//! not fit a queue, or is given up, is dropped and counted.

#[cfg(feature = "http")]
mod courier;
#[cfg(feature = "http")]
mod pushgateway;
#[cfg(feature = "http")]
mod remote_write;
mod stats;

#[cfg(feature = "http")]
pub use courier::Delivery;
#[cfg(feature = "http")]
pub use pushgateway::{PushgatewayConfig, PushgatewayStore};
#[cfg(feature = "http")]
pub use remote_write::{RemoteWriteConfig, RemoteWriteStore};
pub use stats::{SendMonitor, SendStats};
