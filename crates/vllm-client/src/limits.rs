//! The limit on open files, which limits connections before anything else does.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Open file limits of this process, before and after [`raise_open_files_limit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// The limit that was found.
    pub before: u64,
    /// The limit in force now.
    pub now: u64,
}

/// Raises the soft limit on open files to the hard one. Each request in flight holds a connection, and each
/// connection a file; the usual soft limit of 1024 is less than a loaded server has in flight.
///
/// # Errors
/// The error of the operating system.
pub fn raise_open_files_limit() -> std::io::Result<OpenFiles> {
    let (before, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if before < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(OpenFiles {
        before,
        now: hard.max(before),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_only_rises() {
        let files = raise_open_files_limit().unwrap();
        assert!(files.now >= files.before);
        assert_eq!(raise_open_files_limit().unwrap().before, files.now);
    }
}
