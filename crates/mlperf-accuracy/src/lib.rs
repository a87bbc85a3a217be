//! Accuracy of answers: ROUGE and exact match as the reference scripts compute them, and LoadGen's accuracy
//! log.
//!
//! The figures in a submission come from MLCommons' own scripts. The figures computed here agree with them to
//! 1e-4 on the same texts, and show within seconds of a run whether it would pass.

mod answers;
mod exact;
mod folder;
mod limits;
mod log;
mod porter;
mod punkt;
mod rouge;
mod score;
mod texts;

pub use answers::{AnswerFormat, Verdict, VerdictCounts, VerdictReport, find_answer, judge};
pub use exact::{ExactMatch, exact_match};
pub use folder::{EvaluateError, Scored, evaluate, lacking, score_folder};
pub use limits::{CheckedFigure, check_limits, figures_of};
pub use log::{AccuracyLogError, AccuracyRecord, read_accuracy_log};
pub use porter::stem;
pub use punkt::{Punkt, PunktError};
pub use rouge::{Rouge, RougeReport, Sentences, prepare, rouge, rouge_report};
pub use score::{AnsweredText, Found, Measure, Score, ScoreError, score};
pub use texts::{ANSWERS, Texts, read_texts, write_texts};
