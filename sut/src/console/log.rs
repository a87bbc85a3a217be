//! Console logging: destination and level.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use nix::poll::{PollFd, PollFlags, poll};
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
        .with_writer(|| super::held::Log(LossyWriter(std::io::stderr(), &LINES)))
        // The subscriber reports its own write errors with a macro that panics.
        .log_internal_errors(false)
        .with_ansi(colour)
        .with_target(level == LogLevel::Debug)
        .try_init();
}

/// Bytes that a pipe accepts without blocking once it polls as writable (`PIPE_BUF` on Linux).
const WITHOUT_BLOCKING: usize = 4096;
/// How long the first line waits for a reader; later ones do not wait until it reads again.
const PATIENCE_MS: u16 = 100;

/// What became of the lines so far.
#[derive(Debug, Default)]
struct Lines {
    is_stalled: bool,
    dropped: u64,
}

static LINES: Mutex<Lines> = Mutex::new(Lines {
    is_stalled: false,
    dropped: 0,
});

/// A log that neither ends nor delays a run: write errors are ignored, and lines for which the reader leaves no room (a
/// stopped terminal, a pipe that is not read) are dropped. The next line that is written reports their number.
struct LossyWriter<'a, W>(W, &'a Mutex<Lines>);

impl<W: Write + AsFd> LossyWriter<'_, W> {
    fn put(&mut self, bytes: &[u8], lines: &mut Lines) -> bool {
        for part in bytes.chunks(WITHOUT_BLOCKING) {
            let patience = if lines.is_stalled { 0 } else { PATIENCE_MS };
            let mut wanted = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
            lines.is_stalled = poll(&mut wanted, patience) == Ok(0);
            if lines.is_stalled {
                return false;
            }
            if self.0.write_all(part).is_err() {
                return true;
            }
        }
        true
    }
}

impl<W: Write + AsFd> Write for LossyWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let lines = self.1;
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.dropped > 0 {
            let report = format!(
                "{} log lines were dropped: standard error was not read\n",
                lines.dropped
            );
            if self.put(report.as_bytes(), &mut lines) {
                lines.dropped = 0;
            }
        }
        if lines.dropped > 0 || !self.put(bytes, &mut lines) {
            lines.dropped += 1;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _lost = self.0.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_log_that_is_closed_is_no_error() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut log = LossyWriter(writer, &Mutex::default());
        assert!(log.write_all(b"a line\n").is_ok() && log.flush().is_ok());
    }

    #[test]
    fn lines_that_are_not_read_are_dropped_and_counted() {
        let (mut reader, writer) = io::pipe().unwrap();
        let lines = Mutex::default();
        let mut log = LossyWriter(writer, &lines);
        let line = [b'x'; 999];
        // More than a pipe holds; this would block for ever.
        for _ in 0..2000 {
            log.write_all(&line).unwrap();
        }
        let dropped = lines.lock().unwrap().dropped;
        assert!(dropped > 0 && dropped < 2000, "{dropped}");
        let mut read = vec![0; 999 * (2000 - dropped as usize)];
        reader.read_exact(&mut read).unwrap();
        log.write_all(b"the next line\n").unwrap();
        drop(log);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let report =
            format!("{dropped} log lines were dropped: standard error was not read\nthe next line\n");
        assert_eq!(rest, report);
    }
}
