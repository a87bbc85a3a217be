//! Standard output and the log on standard error.

mod log;

use std::io::Write;

pub(crate) use self::log::install;

/// Writes to standard output; a closed pipe must not turn a finished run into a failed one.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
