//! Parameters of the baselines, chosen on cases that are not reported.

use super::baselines::Baseline;
use super::case::Finds;
use super::record::Record;
use super::score::score;

/// A baseline with the parameters that did best.
#[derive(Debug, Clone)]
pub struct Tuned {
    /// The baseline.
    pub baseline: Baseline,
    /// What it has to find.
    pub finds: Finds,
    /// Its parameters.
    pub parameters: Vec<f64>,
}

/// Of a grid, the parameters that find the most with at most one false alarm per healthy hour; if none is that quiet,
/// the quietest. Of equals, the one that finds sooner after the onset; a longer lead is not better, since an alarm more than
/// two minutes ahead counts as false. The monitor's own parameters were chosen by the same rule.
pub fn tune(records: &[Record]) -> Vec<Tuned> {
    let mut tuned = Vec::new();
    for finds in Finds::ALL {
        let of: Vec<&Record> = records.iter().filter(|r| r.label.finds == Some(finds)).collect();
        if of.is_empty() {
            continue;
        }
        for baseline in Baseline::of(finds) {
            let best = baseline
                .grid(finds)
                .into_iter()
                .map(|parameters| {
                    let score = score(&of, Some(finds), &|| baseline.make(finds, &parameters));
                    let false_per_hour = score.false_alarms / score.healthy_hours.max(1e-9);
                    let quiet = false_per_hour <= 1.0;
                    let merit = if quiet { score.found } else { -false_per_hour };
                    let median = score.delay.map_or(0.0, |(median, _)| median);
                    let earliness = if finds.is_predicted() { 0.0 } else { -median };
                    (quiet, [merit, -false_per_hour, earliness], parameters)
                })
                .max_by(|a, b| {
                    let merits = a.1.iter().zip(&b.1).map(|(a, b)| a.total_cmp(b));
                    a.0.cmp(&b.0)
                        .then(merits.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then))
                });
            if let Some((.., parameters)) = best {
                tuned.push(Tuned {
                    baseline: *baseline,
                    finds,
                    parameters,
                });
            }
        }
    }
    tuned
}
