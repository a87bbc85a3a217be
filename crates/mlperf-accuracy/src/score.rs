//! Computes the figures of a benchmark from a run's answers, with the names that the submission checker uses.

use std::collections::HashSet;
use std::fmt::Write as _;

use mlperf_dataset::{Dataset, Prompt};

use super::answers::{AnswerFormat, VerdictReport, judge};
use super::punkt::Punkt;
use super::rouge::{Rouge, RougeReport, Sentences, four_digits, rouge_report};

/// The accuracy measure of a benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// ROUGE against reference texts, with the answers' length in characters (llama3.1-8b) or tokens
    /// (llama2-70b).
    Rouge {
        /// Whether the length is tokens per sample instead of the total number of characters.
        by_tokens: bool,
    },
    /// Answers extracted from the text and compared with the reference answer.
    ExactMatch(AnswerFormat),
}

impl Measure {
    /// The measure for LoadGen's benchmark name; `None` for a benchmark that is not judged here.
    pub fn of_benchmark(name: &str) -> Option<Self> {
        Some(match name.trim_end_matches("-interactive") {
            "llama3_1-8b" | "llama3_1-8b-edge" => Self::Rouge { by_tokens: false },
            "llama2-70b" => Self::Rouge { by_tokens: true },
            "deepseek-r1" => Self::ExactMatch(AnswerFormat::Plain),
            "gpt-oss-120b" => Self::ExactMatch(AnswerFormat::Channels),
            _ => return None,
        })
    }
}

/// One answer of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredText {
    /// Index of the sample in the dataset.
    pub sample_index: usize,
    /// The answer's text.
    pub text: String,
    /// Its length in tokens.
    pub tokens: usize,
}

/// Why a run's answers cannot be scored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// There are none.
    #[error("no answers to score: was the run in accuracy mode?")]
    NoAnswers,
    /// An answer belongs to a sample that is not in the dataset.
    #[error(
        "an answer to sample {sample_index}, but the dataset has {samples}: is it the dataset of the run?"
    )]
    NoSuchSample {
        /// Index of the answer's sample.
        sample_index: usize,
        /// Samples of the dataset.
        samples: usize,
    },
    /// A sample without a reference answer.
    #[error(
        "sample {sample_index} of the dataset has no reference answer; name its column with --output-column"
    )]
    NoReference {
        /// Index of the sample.
        sample_index: usize,
    },
    /// A sample does not state which part of the dataset it is from.
    #[error(
        "sample {sample_index} of the dataset has no entry in a column named dataset, which decides how its \
             answer is judged"
    )]
    NoPart {
        /// Index of the sample.
        sample_index: usize,
    },
}

/// The score of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Number of scored answers; repeated answers to one sample count once.
    pub answers: usize,
    /// Number of samples without an answer.
    pub missing: usize,
    /// Number of tokens in all answers.
    pub tokens: usize,
    /// The part that depends on the measure.
    pub found: Found,
}

/// The part of a score that depends on the measure.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Means of ROUGE.
    Rouge {
        /// The means and lengths.
        report: RougeReport,
        /// As in [`Measure::Rouge`].
        by_tokens: bool,
    },
    /// Counts of right and wrong answers.
    ExactMatch(VerdictReport),
}

/// Scores answers against their dataset. Without a sentence model, ROUGE-Lsum is omitted.
///
/// # Errors
/// See [`ScoreError`].
pub fn score(
    measure: Measure,
    dataset: &Dataset,
    answers: &[AnsweredText],
    punkt: Option<&Punkt>,
) -> Result<Score, ScoreError> {
    let samples = dataset.prompts.len();
    let mut seen = HashSet::new();
    let mut pairs: Vec<(&AnsweredText, &Prompt)> = Vec::with_capacity(answers.len());
    for answer in answers {
        let sample_index = answer.sample_index;
        let prompt = dataset
            .prompts
            .get(sample_index)
            .ok_or(ScoreError::NoSuchSample {
                sample_index,
                samples,
            })?;
        if seen.insert(sample_index) {
            pairs.push((answer, prompt));
        }
    }
    if pairs.is_empty() {
        return Err(ScoreError::NoAnswers);
    }
    let found = match measure {
        Measure::Rouge { by_tokens } => {
            let texts = pairs.iter().map(|(answer, prompt)| match &prompt.reference {
                Some(reference) => Ok((reference.as_str(), answer.text.as_str())),
                None => Err(ScoreError::NoReference {
                    sample_index: answer.sample_index,
                }),
            });
            let texts = texts.collect::<Result<Vec<_>, _>>()?;
            Found::Rouge {
                report: rouge_report(texts, punkt),
                by_tokens,
            }
        }
        Measure::ExactMatch(format) => {
            let mut report = VerdictReport::default();
            for (answer, prompt) in &pairs {
                let part = prompt.part.as_deref();
                let part = part.ok_or(ScoreError::NoPart {
                    sample_index: answer.sample_index,
                })?;
                report.add(
                    part,
                    judge(format, part, &answer.text, prompt.reference.as_deref()),
                );
            }
            Found::ExactMatch(report)
        }
    };
    let tokens = pairs.iter().map(|(answer, _)| answer.tokens).sum();
    Ok(Score {
        answers: pairs.len(),
        missing: samples - pairs.len(),
        tokens,
        found,
    })
}

/// How often gpt-oss-120b's dataset repeats the samples of a part. Each sample counts once in the score.
fn repeats(part: &str) -> f64 {
    match part {
        "aime25" => 8.0,
        "gpqa_diamond" => 5.0,
        "livecodebench_v6" => 3.0,
        _ => 1.0,
    }
}

impl Score {
    /// The figures by the submission checker's names. A figure that cannot be computed here is absent;
    /// [`Score::not_judged`] gives the reason.
    pub fn figures(&self) -> Vec<(&'static str, f64)> {
        let per_sample = self.tokens as f64 / self.answers as f64;
        match &self.found {
            Found::Rouge { report, by_tokens } => {
                let Rouge {
                    rouge1,
                    rouge2,
                    rouge_l,
                    rouge_lsum,
                } = report.mean_percent;
                let mut figures = vec![("ROUGE1", rouge1), ("ROUGE2", rouge2), ("ROUGEL", rouge_l)];
                if report.sentences == Sentences::Punkt {
                    figures.push(("ROUGELSUM", rouge_lsum));
                }
                figures.push(if *by_tokens {
                    ("TOKENS_PER_SAMPLE", per_sample)
                } else {
                    ("GEN_LEN", report.gen_len as f64)
                });
                figures
            }
            Found::ExactMatch(report) => {
                let mut figures = vec![("TOKENS_PER_SAMPLE", per_sample)];
                figures.extend(exact_match(report).map(|percent| ("exact_match", percent)));
                figures
            }
        }
    }

    /// What was left out, in one sentence; `None` when everything was judged.
    pub fn not_judged(&self) -> Option<String> {
        match &self.found {
            Found::Rouge { report, .. } if report.sentences == Sentences::Lines => Some(
                "ROUGE-Lsum is left out: it needs NLTK's sentence model (python -c \"import nltk; \
                 nltk.download('punkt_tab')\")"
                    .to_owned(),
            ),
            Found::Rouge { .. } => None,
            Found::ExactMatch(report) => {
                let parts: Vec<String> = report
                    .parts
                    .iter()
                    .filter(|(_, counts)| counts.not_judged > 0)
                    .map(|(part, counts)| format!("{part} ({} answers)", counts.not_judged))
                    .collect();
                (!parts.is_empty()).then(|| {
                    format!(
                        "{} can only be judged by the reference's own script, so there is no exact match over all",
                        parts.join(", ")
                    )
                })
            }
        }
    }

    /// The line of `accuracy.txt`, in the form that the submission checker reads.
    pub fn accuracy_line(&self) -> String {
        match &self.found {
            Found::Rouge {
                report,
                by_tokens: false,
            } => report.accuracy_line(),
            Found::Rouge {
                report,
                by_tokens: true,
            } => {
                let line = report.accuracy_line();
                let head = line.trim_end_matches('}');
                let per_sample = self.tokens as f64 / self.answers as f64;
                format!(
                    "{head}, 'gen_tok_len': {}, 'tokens_per_sample': {per_sample:.1}}}",
                    self.tokens
                )
            }
            Found::ExactMatch(report) => {
                let mut line = String::from("{");
                if let Some(percent) = exact_match(report) {
                    // Writing to a `String` cannot fail.
                    let _infallible = write!(line, "'exact_match': {}, ", four_digits(percent));
                }
                let per_sample = self.tokens as f64 / self.answers as f64;
                line + &format!(
                    "'tokens_per_sample': {per_sample:.1}, 'num-samples': {}}}",
                    self.answers
                )
            }
        }
    }
}

/// Right answers in percent, with each part weighted by its repeats; `None` if any part is not judged.
fn exact_match(report: &VerdictReport) -> Option<f64> {
    let (mut right, mut all) = (0.0, 0.0);
    for (part, counts) in &report.parts {
        if counts.not_judged > 0 {
            return None;
        }
        right += counts.right as f64 / repeats(part);
        all += (counts.right + counts.wrong) as f64 / repeats(part);
    }
    (all > 0.0).then(|| right / all * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(rows: &[(&str, &str)]) -> Dataset {
        let prompts = rows.iter().map(|(part, reference)| Prompt {
            part: Some((*part).to_owned()),
            reference: Some((*reference).to_owned()),
            ..Prompt::default()
        });
        Dataset {
            prompts: prompts.collect(),
            ..Dataset::default()
        }
    }

    fn answer(sample_index: usize, text: &str, tokens: usize) -> AnsweredText {
        AnsweredText {
            sample_index,
            text: text.to_owned(),
            tokens,
        }
    }

    #[test]
    fn rouge_by_characters_and_by_tokens() {
        let data = dataset(&[("", "the cat sat"), ("", "a dog"), ("", "unanswered")]);
        // The second answer to sample 0 does not count.
        let answers = [
            answer(0, "the cat sat", 3),
            answer(0, "x", 90),
            answer(1, "a bird", 2),
        ];
        let by_characters = Measure::of_benchmark("llama3_1-8b").unwrap();
        let result = score(by_characters, &data, &answers, Some(&Punkt::default())).unwrap();
        assert_eq!((result.answers, result.missing, result.tokens), (2, 1, 5));
        let figures = result.figures();
        assert_eq!((figures[0], figures[4]), (("ROUGE1", 75.0), ("GEN_LEN", 17.0)));
        assert_eq!(result.not_judged(), None);
        let by_tokens = Measure::of_benchmark("llama2-70b-interactive").unwrap();
        let result = score(by_tokens, &data, &answers, None).unwrap();
        assert_eq!(result.figures()[3], ("TOKENS_PER_SAMPLE", 2.5));
        assert!(
            result
                .accuracy_line()
                .ends_with("'gen_num': 2, 'gen_tok_len': 5, 'tokens_per_sample': 2.5}")
        );
        assert!(result.not_judged().unwrap().contains("nltk"));
    }

    #[test]
    fn exact_match_is_whole_or_absent() {
        let data = dataset(&[
            ("aime25", "7"),
            ("aime25", "8"),
            ("gpqa_diamond", "A"),
            ("livecodebench_v6", "q1"),
        ]);
        let plain = Measure::of_benchmark("gpt-oss-120b").unwrap();
        let answers = [
            answer(0, "Answer: 7", 10),
            answer(1, "Answer: 9", 10),
            answer(2, "A", 10),
        ];
        let result = score(plain, &data, &answers, None).unwrap();
        // 1/8 of 2/8 and 1/5 of 1/5.
        let expected = (1.0 / 8.0 + 1.0 / 5.0) / (2.0 / 8.0 + 1.0 / 5.0) * 100.0;
        assert_eq!(result.figures()[1], ("exact_match", expected));
        assert_eq!(
            result.accuracy_line(),
            "{'exact_match': 72.2222, 'tokens_per_sample': 10.0, 'num-samples': 3}"
        );
        let all = [answers.as_slice(), &[answer(3, "```python\n```", 10)]].concat();
        let result = score(plain, &data, &all, None).unwrap();
        assert_eq!(result.figures().len(), 1);
        assert_eq!(
            result.accuracy_line(),
            "{'tokens_per_sample': 10.0, 'num-samples': 4}"
        );
        assert!(
            result
                .not_judged()
                .unwrap()
                .contains("livecodebench_v6 (1 answers)")
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let data = dataset(&[("", "r")]);
        let rouge = Measure::of_benchmark("llama3_1-8b-edge").unwrap();
        assert_eq!(Measure::of_benchmark("resnet50"), None);
        assert_eq!(score(rouge, &data, &[], None), Err(ScoreError::NoAnswers));
        let wrong = score(rouge, &data, &[answer(5, "", 0)], None);
        assert_eq!(
            wrong,
            Err(ScoreError::NoSuchSample {
                sample_index: 5,
                samples: 1
            })
        );
        let bare = Dataset {
            prompts: vec![Prompt::default()],
            ..Dataset::default()
        };
        let wrong = score(rouge, &bare, &[answer(0, "", 0)], None);
        assert_eq!(wrong, Err(ScoreError::NoReference { sample_index: 0 }));
        let exact = Measure::of_benchmark("deepseek-r1").unwrap();
        assert_eq!(
            score(exact, &bare, &[answer(0, "", 0)], None),
            Err(ScoreError::NoPart { sample_index: 0 })
        );
    }
}
