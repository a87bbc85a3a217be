//! Refuses a limit on memory below which the program cannot work: an allocation that fails ends it at once, without
//! an end of the record.

use anyhow::anyhow;
use nix::sys::resource::{Resource, getrlimit};

use crate::exit::Fail;

/// For a run or a recording. Measured on two cores: a recorded run of 2 s on the built-in simulator took 1.32 GiB, aborted with a limit of 1100 MiB
/// and passed with 1500 MiB (debug build). More cores and longer runs take more, so a limit above this may still be too
/// little.
pub(super) const RECORDING_BYTES: u64 = 1500 << 20;

/// For everything else. Measured with a release build on a record of a second: `sut report` aborts with 256 MiB and passes
/// with 384 MiB, the other commands and `--dry-run` pass with 128 MiB. Large records and datasets take more.
pub(super) const OTHER_BYTES: u64 = 512 << 20;

/// Checks the limits on this process against the `least` bytes that the command needs.
///
/// # Errors
/// [`crate::exit::Exit::Usage`] with the limit and how to lift it.
pub(super) fn check(least: u64) -> Result<(), Fail> {
    for (resource, what, flag) in [
        (Resource::RLIMIT_AS, "address space", "-v"),
        (Resource::RLIMIT_DATA, "data", "-d"),
    ] {
        if let Ok((limit, _)) = getrlimit(resource)
            && limit < least
        {
            return Err(Fail::usage(anyhow!(
                "the limit on this process's {what} is {} MiB, and this command needs {} MiB: raise it (ulimit {flag} unlimited)",
                limit >> 20,
                least >> 20
            )));
        }
    }
    Ok(())
}
