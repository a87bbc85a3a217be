//! The tables of a campaign, as Markdown.

use std::fmt::Write as _;

use super::case::Finds;
use super::methods::{Method, Ours};
use super::record::Record;
use super::score::{Interval, MethodScore, score};
use super::tune::Tuned;

/// The head of the table.
pub const HEAD: &str = "| case | method | found | delay, or lead: median, worst | healthy hours | false alarms per hour \
                        | Brier skill at 60 s | ECE |\n|---|---|---|---|---|---|---|---|";

/// The scores of the monitor, and of the baselines that apply, on the records of each case. Where nothing must be found,
/// these are the baselines for `otherwise`.
pub fn lines(records: &[Record], tuned: &[Tuned], otherwise: Finds) -> String {
    let mut text = String::new();
    let mut cases: Vec<&str> = Vec::new();
    for record in records {
        if !cases.contains(&record.label.case.as_str()) {
            cases.push(&record.label.case);
        }
    }
    for case in cases {
        let of: Vec<&Record> = records.iter().filter(|r| r.label.case == case).collect();
        // A healthy run looks for nothing, but its case does.
        let finds = of.iter().find_map(|record| record.label.finds);
        let mut line = |name: &str, make: &dyn Fn() -> Box<dyn Method>| {
            let row = cells(&score(&of, finds, make), finds);
            let _infallible = writeln!(text, "| {case} | {name} | {row} |");
        };
        line("monitor", &|| Box::new(Ours::new(finds.unwrap_or(otherwise))));
        for tuned in tuned
            .iter()
            .filter(|tuned| tuned.finds == finds.unwrap_or(otherwise))
        {
            line(tuned.baseline.name(), &|| {
                tuned.baseline.make(tuned.finds, &tuned.parameters)
            });
        }
    }
    text
}

/// The parameters that were chosen.
pub fn parameters(tuned: &[Tuned]) -> String {
    let mut text = String::from("Parameters of the baselines, chosen on the tuning file:\n\n");
    for tuned in tuned {
        let _infallible = writeln!(
            text,
            "- {} for {}: {:?}",
            tuned.baseline.name(),
            tuned.finds.as_str(),
            tuned.parameters
        );
    }
    text
}

fn cells(score: &MethodScore, finds: Option<Finds>) -> String {
    let range = |interval: Interval, digits: usize| match interval {
        Some((value, low, high)) => format!("{value:.digits$} [{low:.digits$}, {high:.digits$}]"),
        None => String::new(),
    };
    let found = match finds {
        Some(_) => format!("{}/{}, {}", score.found, score.onsets, range(score.recall, 2)),
        None => String::new(),
    };
    let skill = match (score.skill, score.base_rate) {
        (Some(_), Some(base)) => {
            let others = score
                .skills
                .map(|skill| skill.map_or("–".to_owned(), |skill| format!("{skill:.2}")));
            format!(
                "{} (5, 30, 60, 300 s: {}; base rate {base:.3})",
                range(score.skill, 2),
                others.join(", ")
            )
        }
        _ => String::new(),
    };
    let delay = score.delay.map_or(String::new(), |(median, worst)| {
        format!("{median:.0} s, {worst:.0} s")
    });
    format!(
        "{found} | {delay} | {:.1} | {} | {} | {}",
        score.healthy_hours,
        range(score.false_per_hour, 2),
        skill,
        range(score.calibration_error, 3)
    )
}
