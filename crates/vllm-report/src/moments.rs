//! Moments marked on every picture: lost servers, restarts and faults of GPUs; on request every warning.

use vllm_metrics::Severity;

use crate::axis;
use crate::draw::Mark;
use crate::query::{self, View};

/// Limited by the number of letters.
const MOST: usize = 26;
/// Kinds of events that are always marked.
const ALWAYS: &[&str] = &[
    "counter_reset",
    "gpu_lost",
    "process_gone",
    "several_processes",
    "xid",
];
/// Kinds of events that a picture shows in another way.
const SHOWN_ELSEWHERE: &[&str] = &["phase", "gap", "scrape_failed", "missed_tick"];

/// Marks in time order, with a sentence each for the notes. `events` includes all warnings and errors.
pub(crate) fn of(view: &View<'_>, events: bool) -> (Vec<Mark>, Vec<String>) {
    let mut moments: Vec<(i64, String)> = Vec::new();
    for (endpoint, from) in view.frame.lost() {
        moments.push((from, format!("{} was lost", query::host_of(&endpoint))));
    }
    for event in &view.run.events {
        let wanted = ALWAYS.contains(&&*event.kind)
            || (events && event.severity >= Severity::Warning && !SHOWN_ELSEWHERE.contains(&&*event.kind));
        if wanted {
            moments.push((event.timestamp_ns, event.message.to_string()));
        }
    }
    moments.sort();
    moments.dedup();
    let left_out = moments.len().saturating_sub(MOST);
    moments.truncate(MOST);
    let letters = (b'a'..=b'z').map(|letter| char::from(letter).to_string());
    let (marks, mut notes): (Vec<Mark>, Vec<String>) = moments
        .into_iter()
        .zip(letters)
        .map(|((at_ns, what), letter)| {
            let at = axis::duration((at_ns - view.frame.start_ns).max(0));
            let note = format!("{letter}: at {at}, {what}");
            (Mark { at_ns, letter }, note)
        })
        .unzip();
    if left_out > 0 {
        notes.push(format!("{left_out} later events are not marked"));
    }
    (marks, notes)
}
