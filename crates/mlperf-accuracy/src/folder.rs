//! Scores the folder of an accuracy run: the log's token ids, the recorded texts, and the dataset's
//! references.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mlperf_dataset::Dataset;
use mlperf_rules::BenchmarkSpec;
use mlperf_rules::files::{self, ACCURACY_LOG, ACCURACY_TXT};

use crate::{
    AccuracyLogError, AnsweredText, CheckedFigure, Measure, Punkt, Score, ScoreError, check_limits,
    read_accuracy_log, score,
};

/// Why the answers of a run could not be scored. The answers are still in LoadGen's accuracy log, where the
/// reference scripts can read them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// The benchmark's measure is not implemented here.
    #[error("{benchmark} is not scored natively: judge the accuracy log with the benchmark's own script")]
    NotNative {
        /// LoadGen's name of the benchmark.
        benchmark: String,
    },
    /// The accuracy log cannot be used.
    #[error(transparent)]
    Log(#[from] AccuracyLogError),
    /// The server sent token ids without text for some answers. A score of the remaining ones would be
    /// mistaken for the score of the run.
    #[error(
        "not scored: {without_text} of {answers} answers came without text from the server; judge the accuracy log \
         with the benchmark's own script, which has the tokenizer"
    )]
    WithoutText {
        /// Answers without text.
        without_text: usize,
        /// All answers.
        answers: usize,
    },
    /// The dataset lacks what the measure needs.
    #[error("not scored: {0}")]
    Score(#[from] ScoreError),
}

/// The outcome of scoring.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// Every figure with its limits; empty when nothing could be scored.
    pub figures: Vec<CheckedFigure>,
    /// What was left out and why, one sentence each.
    pub remarks: Vec<String>,
    /// Path of `accuracy.txt`, if it was written.
    pub file: Option<PathBuf>,
}

impl Scored {
    fn nothing(why: String) -> Self {
        Self {
            figures: Vec::new(),
            remarks: vec![why],
            file: None,
        }
    }

    /// Whether all limits hold; `None` when a required figure is unknown.
    pub fn passed(&self) -> Option<bool> {
        if self.figures.is_empty() {
            return None;
        }
        if self.figures.iter().any(|figure| figure.holds() == Some(false)) {
            return Some(false);
        }
        let all_known = self.figures.iter().all(|figure| figure.value.is_some());
        all_known.then_some(true)
    }

    /// Whether the run counts: all figures are known and within their limits, and `accuracy.txt` contains
    /// them.
    pub fn counts(&self) -> bool {
        self.passed() == Some(true) && self.file.is_some()
    }

    /// The outcome in one word, as the closing table shows it.
    pub fn word(&self) -> &'static str {
        match (self.passed(), self.figures.is_empty()) {
            (Some(true), _) => "SCORED: every limit of the benchmark holds",
            (Some(false), _) => "SCORED: BELOW THE BENCHMARK'S LIMITS",
            (None, false) => "SCORED IN PART: not every figure that the benchmark asks for is known",
            (None, true) => "NOT SCORED: the answers are in LoadGen's accuracy log",
        }
    }
}

/// What will be missing when a run over this dataset is scored, one sentence each; empty when nothing is. Can
/// be called before the run.
pub fn lacking(spec: &BenchmarkSpec, dataset: &Dataset) -> Vec<String> {
    let Some(measure) = Measure::of_benchmark(&spec.loadgen_name) else {
        return vec![format!(
            "{} is not scored natively: the accuracy log is for the benchmark's own script",
            spec.loadgen_name
        )];
    };
    let mut lacking = Vec::new();
    let without = |what: &dyn Fn(&mlperf_dataset::Prompt) -> bool| {
        dataset.prompts.iter().filter(|prompt| !what(prompt)).count()
    };
    let of = dataset.prompts.len();
    match measure {
        Measure::Rouge { .. } => {
            let missing = without(&|prompt| prompt.reference.is_some());
            if missing > 0 {
                lacking.push(format!(
                    "{missing} of {of} samples have no reference answer, so no answer will be scored"
                ));
            }
            if let Err(error) = find_punkt() {
                lacking.push(format!("rougeLsum will be left out: {error}"));
            }
        }
        Measure::ExactMatch(_) => {
            let missing = without(&|prompt| prompt.part.is_some());
            if missing > 0 {
                lacking.push(format!(
                    "{missing} of {of} samples do not name the part of the dataset that they are from (column \
                     dataset), so no answer will be scored"
                ));
            }
        }
    }
    lacking
}

fn find_punkt() -> Result<Punkt, crate::PunktError> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    Punkt::find(std::env::var("NLTK_DATA").ok().as_deref(), home.as_deref())
}

/// Scores the run in `log_dir` and writes its `accuracy.txt`. Anything that prevents scoring becomes a
/// remark, since the reference scripts can still judge the answers.
pub fn score_folder(
    spec: &BenchmarkSpec,
    dataset: &Dataset,
    log_dir: &Path,
    texts: &BTreeMap<usize, String>,
) -> Scored {
    match evaluate(spec, dataset, log_dir, texts) {
        Ok((result, no_punkt)) => scored(spec, &result, log_dir, no_punkt),
        Err(why) => Scored::nothing(why.to_string()),
    }
}

/// The score of a run's answers, and the reason for a missing sentence model if one is needed.
///
/// # Errors
/// See [`EvaluateError`].
pub fn evaluate(
    spec: &BenchmarkSpec,
    dataset: &Dataset,
    log_dir: &Path,
    texts: &BTreeMap<usize, String>,
) -> Result<(Score, Option<String>), EvaluateError> {
    let measure = Measure::of_benchmark(&spec.loadgen_name).ok_or_else(|| EvaluateError::NotNative {
        benchmark: spec.loadgen_name.clone(),
    })?;
    let records = read_accuracy_log(&log_dir.join(ACCURACY_LOG))?;
    let mut answers = Vec::with_capacity(records.len());
    let mut without_text = 0;
    for record in &records {
        match texts.get(&record.sample_index) {
            Some(text) => answers.push(AnsweredText {
                sample_index: record.sample_index,
                text: text.clone(),
                tokens: record.token_ids.len(),
            }),
            None => without_text += 1,
        }
    }
    if without_text > 0 {
        return Err(EvaluateError::WithoutText {
            without_text,
            answers: records.len(),
        });
    }
    let (punkt, no_punkt) = match measure {
        Measure::Rouge { .. } => match find_punkt() {
            Ok(punkt) => (Some(punkt), None),
            Err(error) => (None, Some(error.to_string())),
        },
        Measure::ExactMatch(_) => (None, None),
    };
    let result = score(measure, dataset, &answers, punkt.as_ref())?;
    Ok((result, no_punkt))
}

fn scored(spec: &BenchmarkSpec, result: &Score, log_dir: &Path, no_punkt: Option<String>) -> Scored {
    let figures = check_limits(&result.figures(), &spec.accuracy);
    let mut remarks = Vec::new();
    match no_punkt {
        // A missing model matters only if the figure is required.
        Some(why) if figures.iter().any(|figure| figure.value.is_none()) => {
            remarks.push(format!("rougeLsum is left out: {why}"));
        }
        _ => remarks.extend(result.not_judged()),
    }
    if result.missing > 0 {
        remarks.push(format!(
            "{} samples of the dataset have no answer",
            result.missing
        ));
    }
    let path = log_dir.join(ACCURACY_TXT);
    let file = match files::write(&path, &(result.accuracy_line() + "\n")) {
        Ok(()) => Some(path),
        Err(error) => {
            remarks.push(format!("{} could not be written: {error}", path.display()));
            None
        }
    };
    Scored {
        figures,
        remarks,
        file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlperf_dataset::Prompt;
    use mlperf_rules::Bounds;

    fn dataset() -> Dataset {
        Dataset {
            prompts: vec![Prompt {
                reference: Some("a cat sat".into()),
                ..Prompt::default()
            }],
            ..Dataset::default()
        }
    }

    fn folder(log: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(ACCURACY_LOG), log).unwrap();
        dir
    }

    const ONE: &str =
        "[\n{ \"seq_id\" : 0, \"qsl_idx\" : 0, \"data\" : \"0100000002000000\", \"token_count\" : 2 }\n]\n";

    #[test]
    fn one_answer_is_scored_and_misses_the_length() {
        let dir = folder(ONE);
        let spec = BenchmarkSpec::named("llama3_1-8b").unwrap();
        let texts = BTreeMap::from([(0, " a cat sat ".to_owned())]);
        let result = score_folder(&spec, &dataset(), dir.path(), &texts);
        assert_eq!(result.passed(), Some(false), "{result:?}");
        let text = std::fs::read_to_string(dir.path().join(ACCURACY_TXT)).unwrap();
        assert!(text.starts_with("{'rouge1': '100.0', "), "{text}");
        assert!(text.ends_with("'gen_len': 9, 'gen_num': 1}\n"), "{text}");
    }

    #[test]
    fn a_run_counts_when_every_figure_is_known_and_written() {
        let figure = |value| CheckedFigure {
            name: "rouge1".into(),
            value,
            bounds: Bounds {
                min: Some(38.0),
                max: None,
            },
        };
        let counts = |value, file: Option<&str>| {
            let scored = Scored {
                figures: vec![figure(Some(40.0)), figure(value)],
                remarks: Vec::new(),
                file: file.map(PathBuf::from),
            };
            scored.counts()
        };
        assert!(counts(Some(39.0), Some(ACCURACY_TXT)));
        assert!(!counts(Some(39.0), None));
        assert!(!counts(None, Some(ACCURACY_TXT)));
        assert!(!counts(Some(37.0), Some(ACCURACY_TXT)));
    }

    #[test]
    fn what_keeps_a_run_from_being_scored_is_said() {
        let dir = folder(ONE);
        let spec = BenchmarkSpec::named("llama3_1-8b").unwrap();
        let untold = score_folder(&spec, &dataset(), dir.path(), &BTreeMap::new());
        assert!(untold.remarks[0].contains("1 of 1 answers came without text"));
        assert!(!untold.counts());
        assert_eq!((untold.passed(), untold.file), (None, None));
        let other = BenchmarkSpec::named("mixtral-8x7b").unwrap();
        let untold = score_folder(&other, &dataset(), dir.path(), &BTreeMap::new());
        assert!(untold.remarks[0].contains("not scored natively"));
        let cut = folder("[\n{ \"seq_id\"");
        let untold = score_folder(&spec, &dataset(), cut.path(), &BTreeMap::new());
        assert!(untold.remarks[0].contains("cut before"), "{untold:?}");
    }
}
