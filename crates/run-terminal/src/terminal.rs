//! The terminal's mode, and its restoration whatever happens.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, Once, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use ratatui::crossterm::{cursor::MoveTo, queue};

/// Where to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Output {
    fn write_all(self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            Self::Stderr => io::stderr().lock().write_all(bytes),
        }
    }
}

/// Whether a screen can be shown there; otherwise why not, as half a sentence.
///
/// # Errors
/// The reason: not a terminal, a terminal that cannot be drawn on, or a process in the background.
pub fn is_usable(output: Output) -> Result<(), &'static str> {
    let (is_terminal, otherwise) = match output {
        Output::Stdout => (io::stdout().is_terminal(), "standard output is not a terminal"),
        Output::Stderr => (io::stderr().is_terminal(), "standard error is not a terminal"),
    };
    if !is_terminal {
        return Err(otherwise);
    }
    if std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
        return Err("TERM names no terminal that can be drawn on");
    }
    // A background process that changes the terminal's mode is stopped by the kernel.
    let foreground = match output {
        Output::Stdout => nix::unistd::tcgetpgrp(io::stdout()),
        Output::Stderr => nix::unistd::tcgetpgrp(io::stderr()),
    };
    if foreground.is_ok_and(|group| group != nix::unistd::getpgrp()) {
        return Err("the program runs in the background");
    }
    if !size().is_ok_and(|(columns, rows)| columns > 0 && rows > 0) {
        return Err("the terminal does not state its size");
    }
    Ok(())
}

/// The terminal that is in raw mode now, if any. Locked while bytes are written to it, so that nothing is drawn after
/// it was restored.
static OPEN: Mutex<Option<Output>> = Mutex::new(None);
/// Longest wait of a panic for a write to a terminal that takes nothing.
const PATIENCE: Duration = Duration::from_secs(1);

fn open() -> MutexGuard<'static, Option<Output>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the terminal is entered; a panic may have restored it.
pub(crate) fn is_entered() -> bool {
    open().is_some()
}

/// A terminal in raw mode with the alternate screen, until it is dropped. There is at most one.
#[derive(Debug)]
pub(crate) struct Entered(());

impl Entered {
    pub(crate) fn enter(output: Output) -> io::Result<Self> {
        restore_after_panics();
        let mut open = open();
        if open.is_some() {
            return Err(io::Error::other("a screen is shown already"));
        }
        enable_raw_mode()?;
        let mut bytes = Vec::new();
        queue!(bytes, EnterAlternateScreen, Hide, MoveTo(0, 0))?;
        if let Err(error) = output.write_all(&bytes) {
            let _raw = disable_raw_mode();
            return Err(error);
        }
        *open = Some(output);
        Ok(Self(()))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        restore(&mut open());
    }
}

fn restore(open: &mut Option<Output>) {
    if let Some(output) = open.take() {
        write_restoration(output);
    }
}

fn write_restoration(output: Output) {
    let mut bytes = Vec::new();
    let _in_memory = queue!(bytes, Show, LeaveAlternateScreen);
    // The terminal may be gone.
    let _gone = output.write_all(&bytes);
    let _gone = disable_raw_mode();
}

/// Restores the terminal before the message of a panic is written; no screen is drawn after it.
fn restore_after_panics() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let deadline = Instant::now() + PATIENCE;
            loop {
                match OPEN.try_lock() {
                    Ok(mut open) => restore(&mut open),
                    Err(TryLockError::Poisoned(open)) => restore(&mut open.into_inner()),
                    Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    }
                    Err(TryLockError::WouldBlock) => {}
                }
                break;
            }
            earlier(panic);
        }));
    });
}

/// Collects a picture and writes it at once, as long as the terminal is entered.
#[derive(Debug)]
pub(crate) struct Guarded {
    output: Output,
    picture: Vec<u8>,
}

impl Guarded {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            output,
            picture: Vec::new(),
        }
    }
}

impl Write for Guarded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.picture.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let open = open();
        let written = match *open {
            Some(_) => self.output.write_all(&self.picture),
            None => Ok(()),
        };
        self.picture.clear();
        written
    }
}
