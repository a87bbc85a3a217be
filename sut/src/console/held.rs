//! Holds the log back while a screen is shown, since lines would tear it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lines that are held; older ones are dropped and counted.
const MOST_LINES: usize = 2000;

#[derive(Debug, Default)]
struct Lines {
    /// A screen is shown.
    on: bool,
    lines: VecDeque<String>,
    dropped: u64,
}

impl Lines {
    fn add(&mut self, text: &str) {
        for line in text.lines() {
            if self.lines.len() == MOST_LINES {
                self.lines.pop_front();
                self.dropped += 1;
            }
            self.lines.push_back(line.to_owned());
        }
    }

    /// Everything that was held, as it is written afterwards.
    fn take(&mut self) -> String {
        let mut text = String::new();
        if self.dropped > 0 {
            text = format!("{} earlier lines of the log were not kept\n", self.dropped);
        }
        for line in std::mem::take(self).lines {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

static LINES: Mutex<Lines> = Mutex::new(Lines {
    on: false,
    lines: VecDeque::new(),
    dropped: 0,
});

fn lines() -> MutexGuard<'static, Lines> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds the log's lines until it is dropped, which writes them to standard error.
#[derive(Debug)]
pub(crate) struct Held(());

/// Holds the log's lines from now on.
pub(crate) fn hold() -> Held {
    lines().on = true;
    Held(())
}

impl Drop for Held {
    fn drop(&mut self) {
        let text = lines().take();
        let _closed = io::stderr().write_all(text.as_bytes());
    }
}

/// The lines held so far, oldest first, without colours.
pub(crate) fn held() -> Vec<String> {
    // A screen shows no more than this many.
    const SHOWN: usize = 100;
    let lines = lines();
    let skipped = lines.lines.len().saturating_sub(SHOWN);
    lines
        .lines
        .iter()
        .skip(skipped)
        .map(|line| without_colours(line))
        .collect()
}

/// Removes the escape sequences that set colours.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    text
}

/// Writes to the log, or holds the lines.
pub(super) struct Log<W>(pub(super) W);

impl<W: Write> Write for Log<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = lines();
        if lines.on {
            lines.add(&String::from_utf8_lossy(bytes));
            return Ok(bytes.len());
        }
        drop(lines);
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_in_order_up_to_a_limit() {
        let mut lines = Lines::default();
        for number in 0..MOST_LINES + 3 {
            lines.add(&format!("line {number}\n"));
        }
        let text = lines.take();
        assert!(text.starts_with("3 earlier lines of the log were not kept\nline 3\nline 4\n"));
        assert!(text.ends_with(&format!("line {}\n", MOST_LINES + 2)));
        assert_eq!(lines.take(), "");
    }

    #[test]
    fn colours_are_removed() {
        let line = "\u{1b}[2m2026-01-01\u{1b}[0m \u{1b}[33m WARN\u{1b}[0m slow";
        assert_eq!(without_colours(line), "2026-01-01  WARN slow");
        assert_eq!(without_colours("plain"), "plain");
    }
}
