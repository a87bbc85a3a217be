//! Progress output: a bar or a screen on a terminal, otherwise a plain line every few seconds.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use run_terminal::{Options, Output, Screen};

use super::counting::{Counting, LoadProgress};
use super::screen::Running;
use crate::console::PROGRESS;
use crate::plan::Ui;
use crate::{console, live};

/// Time between two plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Shows the run's progress; call [`Progress::tick`] a few times a second.
pub(super) struct Progress {
    counting: Counting,
    display: Display,
}

enum Display {
    Nothing,
    Bar(ProgressBar),
    /// When the next line is due.
    Lines(Instant),
    /// The log is held as long as the screen is shown.
    Screen(Screen, console::Held),
}

impl Display {
    fn lines() -> Self {
        Self::Lines(Instant::now() + PLAIN_EVERY)
    }
}

impl Progress {
    /// Shows the run as requested by `ui`. `running` makes the source of a screen.
    pub(super) fn start(counting: Counting, ui: Option<Ui>, running: impl FnOnce() -> Running) -> Self {
        let display = match ui {
            Some(Ui::None) => Display::Nothing,
            Some(Ui::Tui) if live::can_show(Output::Stderr) => screen(running()),
            None if std::io::stderr().is_terminal() => Display::Bar(bar()),
            Some(Ui::Tui | Ui::Plain) | None => Display::lines(),
        };
        Self { counting, display }
    }

    /// Shows the current counts.
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        match &mut self.display {
            Display::Nothing => {}
            Display::Bar(bar) => {
                let progress = self.counting.progress();
                let (rates, rest) = message(&progress);
                bar.set_length(progress.total());
                bar.set_position(progress.done());
                bar.set_prefix(rates);
                bar.set_message(rest);
            }
            Display::Lines(next) => {
                // The rates are those of the last second.
                let progress = self.counting.progress();
                if now < *next {
                    return;
                }
                *next = now + PLAIN_EVERY;
                let (rates, rest) = message(&progress);
                // A closed pipe must not end a benchmark.
                let _closed = writeln!(
                    std::io::stderr(),
                    "{PROGRESS}{} s, {} of {} queries, {rates}, {rest}",
                    progress.elapsed.as_secs(),
                    progress.done(),
                    progress.total()
                );
            }
            Display::Screen(screen, _) if screen.is_closed() => {
                self.display = Display::lines();
                tracing::warn!("the screen was closed; progress is written as lines instead");
            }
            Display::Screen(..) => {}
        }
    }

    /// Removes the bar from the screen, and asks a screen to close. Does not wait for it: the run's end must
    /// not be delayed by a terminal. [`Progress::finish`] does.
    pub(super) fn close(&mut self) {
        match &self.display {
            Display::Bar(bar) => bar.finish_and_clear(),
            Display::Screen(screen, _) => screen.close(),
            Display::Nothing | Display::Lines(_) => {}
        }
    }

    /// Restores the terminal.
    pub(super) fn finish(self) {
        if let Display::Screen(screen, log) = self.display {
            let cost = screen.finish();
            drop(log);
            tracing::info!("the screen took {cost}");
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
    bar.set_style(
        // Two lines, so that it fits into 80 columns.
        ProgressStyle::with_template(
            "{elapsed_precise} [{bar:20.cyan/dim}] {pos}/{len} {prefix}\n         {wide_msg}",
        )
        .expect("the template is valid")
        .progress_chars("━╸─"),
    );
    bar
}

fn screen(running: Running) -> Display {
    let options = Options {
        output: Output::Stderr,
        keep: live::KEEP,
        whole: false,
        asks: true,
    };
    let log = console::hold();
    match Screen::start(Box::new(running), options) {
        Ok(screen) => Display::Screen(screen, log),
        Err(error) => {
            drop(log);
            tracing::warn!("no screen is shown: {error}; progress is written as lines instead");
            Display::lines()
        }
    }
}

/// Rates, and everything else.
fn message(progress: &LoadProgress) -> (String, String) {
    let rates = format!(
        "{:.1} samples/s, {:.0} tokens/s",
        progress.queries_per_second, progress.tokens_per_second
    );
    let mut rest = format!("{} in flight", progress.in_flight);
    if progress.failed > 0 {
        rest.push_str(&format!(", {} FAILED", progress.failed));
    }
    if let Some(left) = progress.left {
        rest.push_str(&format!(", about {:.0} s left", left.as_secs_f64()));
    }
    if !progress.forecast.is_empty() {
        rest.push_str("; ");
        rest.push_str(&progress.forecast);
    }
    (rates, rest)
}
