//! Passes the server's output through, byte by byte, and looks at its lines on the way.

use std::io::{self, Read, Write};
use std::process::{ChildStderr, ChildStdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use vllm_monitor::Time;
use vllm_monitor::log::LogPatterns;

use crate::error::{Error, Result};
use crate::tail::LineSplitter;
use crate::target::Note;

/// Longest wait for output after the server's end: a process that left its group may hold the pipe open for ever.
const LONGEST: Duration = Duration::from_secs(2);

/// Threads that pass output through.
#[derive(Debug)]
pub(super) struct OutputForwarder {
    open: Arc<AtomicUsize>,
}

impl OutputForwarder {
    pub(super) fn start(
        stdout: Option<ChildStdout>,
        stderr: Option<ChildStderr>,
        notes: Option<mpsc::Sender<Note>>,
    ) -> Result<Self> {
        let pump = Self { open: Arc::default() };
        if let Some(stdout) = stdout {
            pump.spawn("server-stdout", stdout, io::stdout(), notes.clone())?;
        }
        if let Some(stderr) = stderr {
            pump.spawn("server-stderr", stderr, io::stderr(), notes)?;
        }
        Ok(pump)
    }

    fn spawn(
        &self,
        name: &str,
        from: impl Read + Send + 'static,
        to: impl Write + Send + 'static,
        notes: Option<mpsc::Sender<Note>>,
    ) -> Result<()> {
        let open = Arc::clone(&self.open);
        open.fetch_add(1, Ordering::Relaxed);
        let body = move || {
            pass(from, to, notes.as_ref());
            open.fetch_sub(1, Ordering::Release);
        };
        // The threads are not joined: see `LONGEST`.
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .map_err(|source| Error::System {
                what: "no thread for the server's output",
                source,
            })?;
        Ok(())
    }

    /// Waits until all output was passed on.
    pub(super) async fn finish(&self) {
        let closed = async {
            while self.open.load(Ordering::Acquire) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _still_open = tokio::time::timeout(LONGEST, closed).await;
    }
}

fn pass(mut from: impl Read, mut to: impl Write, notes: Option<&mpsc::Sender<Note>>) {
    let patterns = LogPatterns::compiled_in();
    let mut lines = LineSplitter::default();
    let mut bytes = vec![0; 64 << 10];
    loop {
        let read = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        // If nobody takes the output any more, the server's pipe is emptied all the same: it would stop otherwise.
        let _nobody_reads = to.write_all(&bytes[..read]).and_then(|()| to.flush());
        if let Some(notes) = notes {
            lines.push(&bytes[..read], |line| send(notes, &patterns, line));
        }
    }
    if let Some(notes) = notes {
        lines.finish(|line| send(notes, &patterns, line));
    }
}

fn send(notes: &mpsc::Sender<Note>, patterns: &LogPatterns, line: &str) {
    // The target looks again, with its version and the user's patterns; this only keeps ordinary lines out of its queue.
    if patterns.find(line, None, Time::ZERO).is_some() {
        // Output must not wait for the monitor.
        let _full = notes.try_send(Note::Line(line.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_unchanged_and_lines_are_found() {
        let (notes, mut received) = mpsc::channel(8);
        let text = b"\xff\x00binary\r\nINFO:     Application startup complete.\nno end".to_vec();
        let mut out = Vec::new();
        pass(&text[..], &mut out, Some(&notes));
        assert_eq!(out, text);
        let Ok(Note::Line(line)) = received.try_recv() else {
            panic!("a line")
        };
        assert!(line.contains("startup complete"));
        assert!(received.try_recv().is_err());
    }

    #[test]
    fn a_reader_that_went_away_does_not_stop_the_server() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut from = io::repeat(b'x').take(1 << 20);
        pass(&mut from, Closed, None);
        assert_eq!(from.limit(), 0, "all was read");
    }
}
