//! Replays recorded or generated snapshots through [`Monitor::step`].

use crate::error::{Error, Result};
use crate::policy::Decision;
use crate::snapshot::{SCHEMA, Snapshot};
use crate::{Monitor, State, Time};

/// Steps through snapshots in order of time and yields the decisions of each.
///
/// ```
/// use vllm_monitor::config::Settings;
/// use vllm_monitor::{Monitor, Snapshot, State, Time, replay};
///
/// let monitor = Monitor::new(Settings::default());
/// let mut state = State::default();
/// let snapshots = (0..3).map(|s| Snapshot::empty("t", Time::from_secs_f64(f64::from(s))));
/// assert_eq!(replay::run(&monitor, &mut state, snapshots).count(), 3);
/// ```
pub fn run<'a>(
    monitor: &'a Monitor,
    state: &'a mut State,
    snapshots: impl IntoIterator<Item = Snapshot> + 'a,
) -> impl Iterator<Item = (Time, Vec<Decision>)> + 'a {
    snapshots
        .into_iter()
        .map(|snapshot| (snapshot.time, monitor.step(state, &snapshot)))
}

/// Reads snapshots from JSON lines. Empty lines are passed over.
///
/// # Errors
/// For each line that is not a snapshot of this schema, [`Error::Data`] with the file and the line's number; the lines
/// after it are read.
pub fn read_lines<'a>(text: &'a str, file: &'a str) -> impl Iterator<Item = Result<Snapshot>> + 'a {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(move |(i, line)| {
            let wrong = |problem: String| Error::Data {
                file: format!("{file}:{}", i + 1),
                problem,
            };
            let snapshot: Snapshot = serde_json::from_str(line).map_err(|e| wrong(e.to_string()))?;
            if snapshot.schema == SCHEMA {
                Ok(snapshot)
            } else {
                Err(wrong(format!(
                    "schema {} cannot be read, only schema {SCHEMA}",
                    snapshot.schema
                )))
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_mistakes_named() {
        let good = serde_json::to_string(&Snapshot::empty("t", Time::ZERO)).expect("plain data");
        let other = good.replacen("\"schema\":1", "\"schema\":9", 1);
        let text = format!("{good}\n\n{other}\n{{\n{good}\n");
        let read: Vec<Result<Snapshot>> = read_lines(&text, "run.jsonl").collect();
        assert_eq!(read.iter().filter(|r| r.is_ok()).count(), 2);
        let errors: Vec<String> = read
            .iter()
            .filter_map(|r| r.as_ref().err())
            .map(ToString::to_string)
            .collect();
        assert!(errors[0].starts_with("run.jsonl:3: schema 9"), "{errors:?}");
        assert!(errors[1].starts_with("run.jsonl:4: "), "{errors:?}");
    }
}
