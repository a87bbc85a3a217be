//! The window in plain sentences.

use super::{SteadyWindow, WindowState};
use crate::input::Span;
use crate::words::{list, percent, secs};

impl SteadyWindow {
    /// What was found, one sentence each.
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences = vec![self.verdict()];
        if let (Some(start), Some(end), Some(_)) = (&self.start, &self.end, self.span) {
            sentences.push(format!("Start: {}. End: {}.", start.because, end.because));
        }
        if let Some(throughput) = self.figures.first()
            && let (Some(whole), Some(window), Some(ratio)) =
                (throughput.whole_run, throughput.window, throughput.ratio)
        {
            sentences.push(format!(
                "{whole:.0} output tokens/s over the whole run, {window:.0} in the steady window: {ratio:.3} times as much."
            ));
        }
        if !self.drifting.is_empty() && self.state != WindowState::Drifting {
            sentences.push(format!("Within that time, {}.", self.drifts()));
        }
        if !self.missing.is_empty() {
            sentences.push(format!("Not checked: {}.", list(&self.missing)));
        }
        sentences
    }

    fn verdict(&self) -> String {
        match &self.state {
            WindowState::Steady => format!("The run is steady {}.", self.place(self.span)),
            WindowState::LevelShift {
                signal,
                relative_change,
                second,
                first_is_used,
                ..
            } => {
                let what = format!(
                    "The level of {} changed by {} {} into the run",
                    signal.name(),
                    percent(*relative_change),
                    self.since_start(second.from_ns)
                );
                if *first_is_used {
                    format!("{what}. Figures are from before, {}.", self.place(self.span))
                } else {
                    format!("{what}, too early for the time before to be used: there is no steady window.")
                }
            }
            WindowState::Drifting => format!("The run drifts: {}.", self.drifts()),
            WindowState::TooShort { secs: left } => {
                let needed = self.minimum.as_ref().map_or(String::new(), |minimum| {
                    format!(
                        ", {} are needed ({})",
                        secs(minimum.required_secs),
                        minimum.because()
                    )
                });
                format!(
                    "The run is too short for a steady window: {} are left between start-up and drain{needed}. Figures \
                     are those of the whole run; whether it is VALID does not depend on this.",
                    secs(*left)
                )
            }
            WindowState::NotEvaluated { missing } => {
                format!(
                    "Whether the run is steady was not evaluated: missing {}.",
                    list(missing)
                )
            }
        }
    }

    fn drifts(&self) -> String {
        let drifts: Vec<String> = self
            .drifting
            .iter()
            .map(|drift| {
                format!(
                    "{} ({} from start to end)",
                    drift.signal.name(),
                    percent(drift.relative_change)
                )
            })
            .collect();
        format!("no single number describes {}", list(&drifts))
    }

    fn place(&self, span: Option<Span>) -> String {
        match span {
            Some(span) => format!(
                "from {} to {}",
                self.since_start(span.from_ns),
                self.since_start(span.to_ns)
            ),
            None => "nowhere".to_owned(),
        }
    }

    fn since_start(&self, at_ns: i64) -> String {
        let from_ns = self.whole.map_or(0, |whole| whole.from_ns);
        secs((at_ns - from_ns) as f64 / 1e9)
    }
}
