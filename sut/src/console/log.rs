//! Console logging: destination and level.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;

use crate::cli::LogLevel;

/// Installs the logger on standard error. `RUST_LOG` wins over `--log-level`.
///
/// A second call in one process does nothing, since tests run the program's library more than once.
pub(crate) fn install(level: LogLevel) {
    let directive = match level {
        LogLevel::Debug => "debug,hyper=info,hyper_util=info,reqwest=info",
        LogLevel::Info => "info",
        LogLevel::Warning => "warn",
        LogLevel::Error | LogLevel::Critical => "error",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(directive));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let _already_installed = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Unfailing(std::io::stderr()))
        // The subscriber reports its own write errors with a macro that panics.
        .log_internal_errors(false)
        .with_ansi(colour)
        .with_target(level == LogLevel::Debug)
        .try_init();
}

/// Ignores write errors: a log that cannot be written must not end or delay a run.
struct Unfailing<W>(W);

impl<W: Write> Write for Unfailing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.0.write(bytes).unwrap_or(bytes.len()))
    }

    fn flush(&mut self) -> io::Result<()> {
        let _lost = self.0.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_closed_is_no_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let mut log = Unfailing(Closed);
        assert!(log.write_all(b"a line").is_ok() && log.flush().is_ok());
    }
}
