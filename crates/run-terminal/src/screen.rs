//! The thread that draws.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use run_analysis::view::LiveView;

use crate::scene::{Overlay, SceneStyle, draw_with};
use crate::terminal::{self, Entered, Guarded, Output};
use crate::{History, Snapshot, Source, State, Stop};

/// Time between two pictures.
const EVERY: Duration = Duration::from_millis(250);
/// Longest wait for a key, and so the longest time until the end of a run is noticed.
const KEY_WAIT: Duration = Duration::from_millis(50);
/// Windows that a key chooses from, in seconds; `None` is the whole record.
const WINDOWS: [Option<i64>; 3] = [Some(10), Some(60), None];

/// How to show a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to draw.
    pub output: Output,
    /// How much of the run is kept in memory for figures and graphs.
    pub keep: Duration,
    /// Begin with the figures of the whole record, not with those of the last 10 s.
    pub whole: bool,
    /// Ask before the key `q` stops the run: it cannot be resumed.
    pub asks: bool,
}

/// What drawing has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// CPU time of the drawing thread, reading of the source included.
    pub cpu: Duration,
    /// How long it ran.
    pub wall: Duration,
    /// Pictures drawn.
    pub frames: u64,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let share = 100.0 * self.cpu.as_secs_f64() / self.wall.as_secs_f64().max(1e-9);
        write!(
            f,
            "{share:.2} % of one core ({:.0} ms of CPU, {} pictures in {:.1} s)",
            self.cpu.as_secs_f64() * 1e3,
            self.frames,
            self.wall.as_secs_f64()
        )
    }
}

/// A run on the terminal, drawn by a thread of its own. Dropping it restores the terminal.
#[derive(Debug)]
pub struct Screen {
    control: Arc<Control>,
    thread: Option<JoinHandle<Cost>>,
}

#[derive(Debug, Default)]
struct Control {
    finish: AtomicBool,
}

impl Screen {
    /// Takes the terminal and begins to draw.
    ///
    /// # Errors
    /// If the terminal's mode cannot be set, or a screen is shown already.
    pub fn start(source: Box<dyn Source>, options: Options) -> io::Result<Self> {
        let entered = Entered::enter(options.output)?;
        let control = Arc::new(Control::default());
        let of_thread = Arc::clone(&control);
        let thread = std::thread::Builder::new().name("screen".into()).spawn(move || {
            let mut cost = Cost::default();
            let started = Instant::now();
            // An error here is a terminal that is gone, or that a panic has restored. The run goes on without it.
            let _gone = show(source, &options, &of_thread, &mut cost);
            drop(entered);
            cost.wall = started.elapsed();
            cost.cpu = getrusage(UsageWho::RUSAGE_THREAD).map_or(Duration::ZERO, |used| {
                let micros = (used.user_time() + used.system_time()).num_microseconds();
                Duration::from_micros(u64::try_from(micros).unwrap_or(0))
            });
            cost
        })?;
        Ok(Self {
            control,
            thread: Some(thread),
        })
    }

    /// Whether the screen is gone: closed by the user, by an error of the terminal, or by a panic.
    pub fn is_closed(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Asks the thread to restore the terminal and to end, without waiting for it.
    pub fn close(&self) {
        self.control.finish.store(true, Ordering::Release);
    }

    /// Restores the terminal and returns what drawing has cost. Waits for the picture that is being drawn.
    pub fn finish(mut self) -> Cost {
        self.close();
        self.join()
    }

    fn join(&mut self) -> Cost {
        let thread = self.thread.take();
        thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.close();
        self.join();
    }
}

/// What the user has chosen.
struct Choice {
    window: usize,
    paused: bool,
    overlay: Overlay,
    asks: bool,
}

enum Next {
    Nothing,
    Redraw,
    Stop(Stop),
}

impl Choice {
    fn key(&mut self, key: KeyEvent) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::Nothing;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let asked = std::mem::replace(&mut self.overlay, Overlay::None);
        match key.code {
            KeyCode::Char('c') if control => return Next::Stop(Stop::Interrupted),
            KeyCode::Char('y' | 'Y') if asked == Overlay::Question => return Next::Stop(Stop::Asked),
            KeyCode::Char('q') if asked != Overlay::Question => {
                if !self.asks {
                    return Next::Stop(Stop::Asked);
                }
                self.overlay = Overlay::Question;
            }
            KeyCode::Char('?' | 'h') if asked != Overlay::Help => self.overlay = Overlay::Help,
            KeyCode::Char('w') => self.window = (self.window + 1) % WINDOWS.len(),
            KeyCode::Char('p') => self.paused = !self.paused,
            _ if asked == Overlay::None => return Next::Nothing,
            _ => {}
        }
        Next::Redraw
    }
}

fn show(
    mut source: Box<dyn Source>,
    options: &Options,
    control: &Control,
    cost: &mut Cost,
) -> io::Result<()> {
    let mut canvas = Terminal::new(CrosstermBackend::new(Guarded::new(options.output)))?;
    let look = SceneStyle::of_environment();
    let mut view = LiveView::new(options.keep);
    let mut history = None;
    let mut choice = Choice {
        window: if options.whole { WINDOWS.len() - 1 } else { 0 },
        paused: false,
        overlay: Overlay::None,
        asks: options.asks,
    };
    let mut snapshot: Option<(Snapshot, usize)> = None;
    loop {
        let drawn = Instant::now();
        let status = source.advance(&mut view);
        if !choice.paused {
            // A record that is opened late is shown from its beginning, at a distance of points that fits.
            let history = history.get_or_insert_with(|| History::of(&view));
            let is_new = snapshot.as_ref().is_none_or(|(shown, window)| {
                shown.newest_ns != view.newest_ns() || *window != choice.window
            });
            if is_new {
                history.advance(&view);
                let window_ns = WINDOWS[choice.window].map(|seconds| seconds * 1_000_000_000);
                snapshot = Some((Snapshot::of(&view, history, status, window_ns), choice.window));
            } else if let Some((shown, _)) = &mut snapshot {
                shown.status = status;
            }
        }
        if !terminal::is_entered() {
            return Ok(());
        }
        let (picture, _) = snapshot.get_or_insert_with(Default::default);
        let is_over = matches!(picture.status.state, State::Ended { .. });
        canvas.draw(|frame| draw_with(frame, picture, look, choice.overlay, choice.paused))?;
        cost.frames += 1;
        let due = drawn + EVERY;
        loop {
            if control.finish.load(Ordering::Acquire) {
                return Ok(());
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match key(left.min(KEY_WAIT)) {
                Some(Event::Key(key)) => match choice.key(key) {
                    Next::Nothing => {}
                    Next::Redraw => break,
                    Next::Stop(how) => {
                        source.stop(how);
                        if !options.asks || is_over {
                            return Ok(());
                        }
                        break;
                    }
                },
                // The next picture has the new size.
                Some(Event::Resize(..)) => break,
                Some(_) | None => {}
            }
        }
    }
}

/// Waits for input. Without a keyboard it only waits.
fn key(limit: Duration) -> Option<Event> {
    match event::poll(limit) {
        Ok(true) => event::read().ok(),
        Ok(false) => None,
        Err(_) => {
            std::thread::sleep(limit);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(choice: &mut Choice, code: KeyCode, modifiers: KeyModifiers) -> Option<Stop> {
        match choice.key(KeyEvent::new(code, modifiers)) {
            Next::Stop(how) => Some(how),
            Next::Nothing | Next::Redraw => None,
        }
    }

    #[test]
    fn stopping_a_run_takes_an_answer_and_ctrl_c_does_not() {
        let mut choice = Choice {
            window: 0,
            paused: false,
            overlay: Overlay::None,
            asks: true,
        };
        let plain = KeyModifiers::NONE;
        assert_eq!(pressed(&mut choice, KeyCode::Char('y'), plain), None);
        assert_eq!(pressed(&mut choice, KeyCode::Char('q'), plain), None);
        assert_eq!(choice.overlay, Overlay::Question);
        // Anything else is a no.
        assert_eq!(pressed(&mut choice, KeyCode::Esc, plain), None);
        assert_eq!(pressed(&mut choice, KeyCode::Char('y'), plain), None);
        assert_eq!(pressed(&mut choice, KeyCode::Char('q'), plain), None);
        assert_eq!(pressed(&mut choice, KeyCode::Char('y'), plain), Some(Stop::Asked));
        let interrupt = pressed(&mut choice, KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(interrupt, Some(Stop::Interrupted));
        choice.asks = false;
        assert_eq!(pressed(&mut choice, KeyCode::Char('q'), plain), Some(Stop::Asked));
        for _ in 0..WINDOWS.len() {
            pressed(&mut choice, KeyCode::Char('w'), plain);
        }
        assert_eq!(choice.window, 0);
    }
}
