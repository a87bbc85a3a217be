//! The whole monitor against the simulator, over real sockets.
#![allow(missing_docs, reason = "tests have no documentation to publish")]
#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

mod acting;
mod attach;
mod check;
mod commands;
mod deploy;
mod faults;
mod notify;
mod plugins;
mod supervise;
mod world;
