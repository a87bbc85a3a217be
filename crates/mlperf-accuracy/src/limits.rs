//! A run's figures compared with the limits of its benchmark.

use std::collections::BTreeMap;

use mlperf_rules::Bounds;

/// One figure and its bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedFigure {
    /// The measure's name, as in the benchmark's file.
    pub name: String,
    /// The run's value; `None` when it is unknown.
    pub value: Option<f64>,
    /// The limits; open on both sides where there are none.
    pub bounds: Bounds,
}

impl CheckedFigure {
    /// Whether the bounds hold; `None` without a value.
    pub fn holds(&self) -> Option<bool> {
        self.value.map(|value| self.bounds.hold(value))
    }

    /// `rouge1 41.2034 (at least 38.391)`.
    pub fn words(&self) -> String {
        let Bounds { min, max } = self.bounds;
        let asked = match (min, max) {
            (None, None) => "no limit".to_owned(),
            (Some(min), None) => format!("at least {min}"),
            (None, Some(max)) => format!("at most {max}"),
            (Some(min), Some(max)) => format!("{min} to {max}"),
        };
        let name = &self.name;
        match (self.value, self.holds()) {
            (Some(value), Some(true)) => format!("{name} {} ({asked})", short(value)),
            (Some(value), _) => format!("{name} {} MISSES ITS LIMIT ({asked})", short(value)),
            (None, _) => format!("{name} is not known ({asked})"),
        }
    }
}

fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Every required measure, followed by the figures without a limit. Names are compared case-insensitively,
/// since the submission checker writes some of them in upper case.
pub fn check_limits<N: AsRef<str>>(
    figures: &[(N, f64)],
    asked: &BTreeMap<String, Bounds>,
) -> Vec<CheckedFigure> {
    let value_of = |name: &str| {
        let found = figures
            .iter()
            .find(|(figure, _)| figure.as_ref().eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    };
    let mut all: Vec<CheckedFigure> = asked
        .iter()
        .map(|(name, bounds)| CheckedFigure {
            name: name.clone(),
            value: value_of(name),
            bounds: *bounds,
        })
        .collect();
    let others = figures.iter().filter(|(figure, _)| {
        !asked
            .keys()
            .any(|name| name.eq_ignore_ascii_case(figure.as_ref()))
    });
    all.extend(others.map(|(figure, value)| CheckedFigure {
        name: figure.as_ref().to_ascii_lowercase(),
        value: Some(*value),
        bounds: Bounds { min: None, max: None },
    }));
    all
}

/// The figures of any `accuracy.txt`: every `'name': number` or `'name': 'number'` in its lines.
pub fn figures_of(accuracy_txt: &str) -> Vec<(String, f64)> {
    static FIGURE: std::sync::LazyLock<regex::Regex> = std::sync::LazyLock::new(|| {
        regex::Regex::new(r"'([A-Za-z0-9_-]+)':\s+'?([0-9.]+)'?").expect("the pattern is a constant")
    });
    FIGURE
        .captures_iter(accuracy_txt)
        .filter_map(|c| Some((c[1].to_owned(), c[2].parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_beside_their_limits() {
        let figures =
            figures_of("{'rouge1': '41.2034', 'gen_len': 17, 'gen_num': 13368}\n\nhash=0123'abc': x\n");
        assert_eq!(figures.len(), 3);
        let bounds = |min, max| Bounds { min, max };
        let asked = BTreeMap::from([
            ("gen_len".to_owned(), bounds(Some(10.0), Some(16.0))),
            ("rouge1".to_owned(), bounds(Some(38.391), None)),
            ("rougeL".to_owned(), bounds(Some(24.0), None)),
        ]);
        let words: Vec<String> = check_limits(&figures, &asked)
            .iter()
            .map(CheckedFigure::words)
            .collect();
        assert_eq!(
            words,
            [
                "gen_len 17 MISSES ITS LIMIT (10 to 16)",
                "rouge1 41.2034 (at least 38.391)",
                "rougeL is not known (at least 24)",
                "gen_num 13368 (no limit)",
            ]
        );
    }
}
