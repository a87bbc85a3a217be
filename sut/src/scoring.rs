//! From an accuracy run's folder to its score: the log's token ids, the texts beside it, the dataset's references.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::anyhow;

use crate::accuracy::{
    ANSWERS, AnsweredText, Beside, Measure, Punkt, Score, beside_limits, read_accuracy_log, read_texts, score,
};
use crate::benchmark::BenchmarkSpec;
use crate::dataset::{Columns, Dataset};
use crate::exit::{Exit, Fail};
use crate::record::RunRecord;
use crate::report;

/// LoadGen's name of the accuracy log.
pub const ACCURACY_LOG: &str = "mlperf_log_accuracy.json";
/// The figures, in the form that the submission checker reads.
pub const ACCURACY_TXT: &str = "accuracy.txt";

/// Flags of `sut score`.
#[derive(Debug, clap::Args)]
pub struct ScoreArgs {
    /// Folder of the run's logs.
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Dataset of the run.
    #[arg(long, value_name = "FILE")]
    pub dataset_path: PathBuf,
    /// Column of the reference output.
    #[arg(long)]
    pub output_column: Option<String>,
}

/// Scores a run once more, say after the sentence model was installed, and writes its `accuracy.txt` anew.
///
/// # Errors
/// [`Exit::Usage`] when the folder or the dataset cannot be used.
pub fn run(args: &ScoreArgs) -> Result<Exit, Fail> {
    let record = RunRecord::read(&args.run).map_err(Fail::usage)?;
    let spec = BenchmarkSpec::named(&record.benchmark).map_err(Fail::usage)?;
    let columns = Columns {
        output: args.output_column.clone(),
        ..Columns::default()
    };
    let mut dataset = Dataset::load(&args.dataset_path, &columns).map_err(Fail::usage)?;
    if dataset.prompts.len() < record.samples {
        return Err(Fail::usage(anyhow!(
            "{} has {} samples, and the run had {}: it is not the run's dataset",
            dataset.origin,
            dataset.prompts.len(),
            record.samples
        )));
    }
    dataset.prompts.truncate(record.samples);
    let path = args.run.join(ANSWERS);
    let texts = read_texts(&path).map_err(|error| Fail::usage(anyhow!("{}: {error}", path.display())))?;
    let scored = score_folder(&spec, &dataset, &args.run, &texts);
    report::print(&format!("{}\n", scored.word()));
    for line in scored
        .figures
        .iter()
        .map(Beside::words)
        .chain(scored.remarks.iter().cloned())
    {
        report::print(&format!("  {line}\n"));
    }
    Ok(scored.exit())
}

/// What came of scoring.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// Every figure beside its limits; empty when nothing could be scored.
    pub figures: Vec<Beside>,
    /// What was left out, and why, a sentence each.
    pub remarks: Vec<String>,
    /// `accuracy.txt`, when it was written.
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

    /// Whether all limits hold; `None` when some figure that is asked for is not known.
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

    /// A run counts when all its figures are known and within their limits, and `accuracy.txt` tells them.
    pub fn exit(&self) -> Exit {
        if self.passed() == Some(true) && self.file.is_some() {
            Exit::Valid
        } else {
            Exit::NotValid
        }
    }

    /// The outcome in a word, as the closing table has it.
    pub fn word(&self) -> &'static str {
        match (self.passed(), self.figures.is_empty()) {
            (Some(true), _) => "SCORED: every limit of the benchmark holds",
            (Some(false), _) => "SCORED: BELOW THE BENCHMARK'S LIMITS",
            (None, false) => "SCORED IN PART: not every figure that the benchmark asks for is known",
            (None, true) => "NOT SCORED: the answers are in LoadGen's accuracy log",
        }
    }
}

/// Scores the run in `log_dir` and writes its `accuracy.txt`. What keeps a run from being scored is a remark: the
/// answers are there all the same, and the reference scripts can judge them.
pub fn score_folder(
    spec: &BenchmarkSpec,
    dataset: &Dataset,
    log_dir: &Path,
    texts: &BTreeMap<usize, String>,
) -> Scored {
    match evaluate(spec, dataset, log_dir, texts) {
        Ok((result, no_punkt)) => scored(spec, &result, log_dir, no_punkt),
        Err(why) => Scored::nothing(why),
    }
}

/// The score of a run's answers, and why there is no sentence model where one was looked for and not found.
///
/// # Errors
/// What keeps the answers from being scored, in a sentence.
pub fn evaluate(
    spec: &BenchmarkSpec,
    dataset: &Dataset,
    log_dir: &Path,
    texts: &BTreeMap<usize, String>,
) -> Result<(Score, Option<String>), String> {
    let measure = Measure::of_benchmark(&spec.loadgen_name).ok_or_else(|| {
        format!(
            "{} is not scored natively: judge the accuracy log with the benchmark's own script",
            spec.loadgen_name
        )
    })?;
    let records = read_accuracy_log(&log_dir.join(ACCURACY_LOG)).map_err(|error| error.to_string())?;
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
        // A score over the others would be taken for the run's.
        return Err(format!(
            "not scored: {without_text} of {} answers came without text from the server; judge the accuracy log with \
             the benchmark's own script, which has the tokenizer",
            records.len()
        ));
    }
    let (punkt, no_punkt) = match measure {
        Measure::Rouge { .. } => {
            let home = std::env::var_os("HOME").map(PathBuf::from);
            match Punkt::find(std::env::var("NLTK_DATA").ok().as_deref(), home.as_deref()) {
                Ok(punkt) => (Some(punkt), None),
                Err(error) => (None, Some(error.to_string())),
            }
        }
        Measure::ExactMatch(_) => (None, None),
    };
    let result = score(measure, dataset, &answers, punkt.as_ref());
    result
        .map(|result| (result, no_punkt))
        .map_err(|error| format!("not scored: {error}"))
}

fn scored(spec: &BenchmarkSpec, result: &Score, log_dir: &Path, no_punkt: Option<String>) -> Scored {
    let figures = beside_limits(&result.figures(), &spec.accuracy);
    let mut remarks = Vec::new();
    match no_punkt {
        // Only where the figure is asked for, its absence matters.
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
    let file = match std::fs::write(&path, result.accuracy_line() + "\n") {
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
    use crate::benchmark::Bounds;
    use crate::dataset::Prompt;

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
        let figure = |value| Beside {
            name: "rouge1".into(),
            value,
            bounds: Bounds {
                min: Some(38.0),
                max: None,
            },
        };
        let exit = |value, file: Option<&str>| {
            let scored = Scored {
                figures: vec![figure(Some(40.0)), figure(value)],
                remarks: Vec::new(),
                file: file.map(PathBuf::from),
            };
            scored.exit()
        };
        assert_eq!(exit(Some(39.0), Some(ACCURACY_TXT)), Exit::Valid);
        assert_eq!(exit(Some(39.0), None), Exit::NotValid);
        assert_eq!(exit(None, Some(ACCURACY_TXT)), Exit::NotValid);
        assert_eq!(exit(Some(37.0), Some(ACCURACY_TXT)), Exit::NotValid);
    }

    #[test]
    fn what_keeps_a_run_from_being_scored_is_said() {
        let dir = folder(ONE);
        let spec = BenchmarkSpec::named("llama3_1-8b").unwrap();
        let untold = score_folder(&spec, &dataset(), dir.path(), &BTreeMap::new());
        assert!(untold.remarks[0].contains("1 of 1 answers came without text"));
        assert_eq!(untold.exit(), Exit::NotValid);
        assert_eq!((untold.passed(), untold.file), (None, None));
        let other = BenchmarkSpec::named("mixtral-8x7b").unwrap();
        let untold = score_folder(&other, &dataset(), dir.path(), &BTreeMap::new());
        assert!(untold.remarks[0].contains("not scored natively"));
        let cut = folder("[\n{ \"seq_id\"");
        let untold = score_folder(&spec, &dataset(), cut.path(), &BTreeMap::new());
        assert!(untold.remarks[0].contains("cut before"), "{untold:?}");
    }
}
