//! A comparison in plain sentences.

use super::{ComparedFigure, Comparison, Conclusion, Mismatch, Severity};
use crate::words::{list, percent};

impl Comparison {
    /// The conclusion, each decisive figure, what else changed, and what limits the conclusion.
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences = vec![self.headline()];
        sentences.extend(self.decisive.iter().map(ComparedFigure::sentence));
        let changed: Vec<String> = self
            .others
            .iter()
            .filter(|figure| figure.has_changed())
            .map(ComparedFigure::short)
            .collect();
        if !changed.is_empty() {
            sentences.push(format!("Also changed: {}.", list(&changed)));
        }
        if !self.noise.is_empty() {
            sentences.push(format!("Latencies decide nothing: {}.", list(&self.noise)));
        }
        sentences.extend(self.differences(Severity::Warn, "The runs also differ in"));
        sentences.extend(self.differences(
            Severity::Unknown,
            "Not known for at least one run, so not checked:",
        ));
        if self.runs == 1 && !self.decisive.is_empty() {
            sentences.push(
                "One run each: differences between runs of one build are not in these intervals.".to_owned(),
            );
        }
        sentences
    }

    fn headline(&self) -> String {
        let between = format!("{} against {}", self.other, self.base);
        if self.conclusion == Conclusion::NotComparable {
            let reasons = self
                .differences(Severity::Refuse, "they differ in")
                .or_else(|| self.decisive.first()?.because.clone())
                .unwrap_or_default();
            return format!("{between}: not comparable: {}.", reasons.trim_end_matches('.'));
        }
        let unknown: Vec<&str> = self
            .decisive
            .iter()
            .filter(|figure| figure.conclusion == Conclusion::NotComparable)
            .map(|figure| &*figure.name)
            .collect();
        let conclusion = self.conclusion.text();
        match unknown.is_empty() {
            true => format!("{between}: {conclusion}."),
            // The conclusion is that of the other decisive figures only.
            false => format!(
                "{between}: {conclusion} in what is comparable; not comparable: {}.",
                list(&unknown)
            ),
        }
    }

    fn differences(&self, severity: Severity, opening: &str) -> Option<String> {
        let found: Vec<String> = self
            .mismatches
            .iter()
            .filter(|mismatch| mismatch.severity == severity)
            .map(Mismatch::sentence_part)
            .collect();
        (!found.is_empty()).then(|| format!("{opening} {}.", list(&found)))
    }
}

impl Mismatch {
    fn sentence_part(&self) -> String {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not known".to_owned());
        match (&self.base, &self.other) {
            (None, None) => self.what.clone(),
            _ => format!("{} ({}, {})", self.what, value(&self.base), value(&self.other)),
        }
    }
}

impl ComparedFigure {
    /// One figure as a sentence.
    pub fn sentence(&self) -> String {
        let mut sentence = format!("{}: {}", self.name, self.conclusion.text());
        if let Some(ratio) = &self.ratio {
            let (low, high) = (percent(ratio.ratio_low - 1.0), percent(ratio.ratio_high - 1.0));
            sentence.push_str(&format!(
                ", {} ({low} to {high})",
                percent(ratio.relative_change())
            ));
        }
        if let Some(because) = &self.because {
            sentence.push_str(&format!(" ({because})"));
        }
        if let Some(longer_by) = self.longer_by {
            sentence.push_str(&format!(
                "; a run about {longer_by:.1} times as long would decide it"
            ));
        }
        sentence.push('.');
        sentence
    }

    fn short(&self) -> String {
        let change = self.ratio.map_or(0.0, |ratio| ratio.relative_change());
        format!("{} {}", self.name, percent(change))
    }
}
