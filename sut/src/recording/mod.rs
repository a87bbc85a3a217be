//! What else to record, and where else to send it: the flags that test runs and `sut collect` share, resolved once.

mod args;
mod check;
mod lines;
mod plan;
mod spec;

pub use self::args::RecordingArgs;
pub(crate) use self::check::{look, told};
pub(crate) use self::lines::{describe, of_requests};
pub use self::plan::RecordingPlan;
pub use self::spec::{CustomSpec, EndpointSpec, Receiver, ReceiverSpec};
