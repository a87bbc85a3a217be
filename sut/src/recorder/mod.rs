//! The record of a run or of `sut collect`: which endpoints, GPUs and processes are monitored, and what is
//! derived from the record at its end.

mod check;
mod describe;
mod facts;
mod finish;
mod report;
mod start;
mod upload;

pub(crate) use self::check::{
    describe as describe_probe, describe_all as describe_probes, probe as probe_endpoints,
};
pub(crate) use self::finish::finish;
pub(crate) use self::report::{ReportRequest, compare_records, make, names};
pub(crate) use self::start::{Subject, probe, start};
pub(crate) use self::upload::finish as finish_upload;
