//! The harness: LoadGen's side (queries in, answers out), the workers' side (requests to the server), and the
//! counters of both. [`start`] starts it; the caller watches a [`RunningTest`], which ends as a
//! [`TestResult`].

mod bridge;
pub(crate) mod counters;
mod figures;
pub(crate) mod forecast;
pub(crate) mod request_log;
mod running;
mod threads;
mod worker;

pub(crate) use self::figures::Figures;
pub(crate) use self::running::{LoadGenResult, RunningTest, Setup, TestResult, start};
