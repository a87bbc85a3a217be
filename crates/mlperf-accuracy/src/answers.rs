//! Extracts the answer from a reasoning model's output and compares it with the reference answer, as the
//! evaluation scripts of deepseek-r1 and gpt-oss-120b do.
//!
//! Multiple choice (gpqa, mmlu) and whole numbers (aime) are judged here. Mathematical expressions (math500)
//! need a computer algebra system, and programs (livecodebench) need to be executed; both are counted as not
//! judged, never as right or wrong.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

/// How the model formats its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFormat {
    /// Plain text that ends in "ANSWER: X" (deepseek-r1).
    Plain,
    /// Channels between special tokens, the last one `final` (gpt-oss-120b). The text must contain the
    /// special tokens: request it with `skip_special_tokens` false.
    Channels,
}

/// The judgement of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The extracted answer equals the reference answer.
    Right,
    /// The extracted answer is different, or there is none.
    Wrong,
    /// The part needs more than a comparison, such as executing code.
    NotJudged,
}

/// Counts of verdicts for one part of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerdictCounts {
    /// Right answers.
    pub right: usize,
    /// Wrong answers.
    pub wrong: usize,
    /// Answers that were not judged here.
    pub not_judged: usize,
}

/// Counts of verdicts for each part of the dataset.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerdictReport {
    /// Keyed by the name in the dataset's column `dataset`.
    pub parts: BTreeMap<String, VerdictCounts>,
}

impl VerdictReport {
    /// Counts one verdict.
    pub fn add(&mut self, part: &str, verdict: Verdict) {
        let counts = self.parts.entry(part.to_owned()).or_default();
        match verdict {
            Verdict::Right => counts.right += 1,
            Verdict::Wrong => counts.wrong += 1,
            Verdict::NotJudged => counts.not_judged += 1,
        }
    }

    /// All parts together.
    pub fn total(&self) -> VerdictCounts {
        self.parts
            .values()
            .fold(VerdictCounts::default(), |sum, part| VerdictCounts {
                right: sum.right + part.right,
                wrong: sum.wrong + part.wrong,
                not_judged: sum.not_judged + part.not_judged,
            })
    }
}

impl VerdictCounts {
    /// Right answers in percent of those judged; `None` when none was.
    pub fn exact_match_percent(&self) -> Option<f64> {
        let judged = self.right + self.wrong;
        (judged > 0).then(|| self.right as f64 / judged as f64 * 100.0)
    }
}

/// Judges one answer. `part` is the sample's entry in the dataset's column `dataset`; an unknown part is not
/// judged. Without a reference answer, no answer is right.
pub fn judge(format: AnswerFormat, part: &str, answer: &str, truth: Option<&str>) -> Verdict {
    let right = match Kind::of(part) {
        None => return Verdict::NotJudged,
        Some(Kind::Number) => {
            let truth = truth.and_then(|t| t.trim().parse().ok());
            truth.is_some() && whole_number(answer) == truth
        }
        Some(Kind::Choice(options)) => {
            let truth = truth.map(str::to_uppercase);
            truth.is_some() && choice(format, answer, options).map(String::from) == truth
        }
    };
    if right { Verdict::Right } else { Verdict::Wrong }
}

/// The extracted answer: an upper-case letter or a whole number. `None` when there is none, or when the part
/// is not judged here.
pub fn find_answer(format: AnswerFormat, part: &str, answer: &str) -> Option<String> {
    match Kind::of(part)? {
        Kind::Number => whole_number(answer).map(|n| n.to_string()),
        Kind::Choice(options) => choice(format, answer, options).map(String::from),
    }
}

/// The kind of answer that a part of a dataset expects.
enum Kind {
    Choice(Options),
    Number,
}

impl Kind {
    fn of(part: &str) -> Option<Self> {
        let part = part.to_lowercase();
        // The order matters: the first matching name decides.
        let kinds = [
            ("gpqa", Some(Self::Choice(Options::D))),
            ("mmlu_pro", Some(Self::Choice(Options::J))),
            ("math500", None),
            ("aime", Some(Self::Number)),
            ("livecodebench", None),
            ("mmlu", Some(Self::Choice(Options::J))),
        ];
        kinds
            .into_iter()
            .find(|(name, _)| part.contains(name))
            .and_then(|(_, kind)| kind)
    }
}

/// Which letters are options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Options {
    D,
    J,
}

struct Patterns {
    /// "ANSWER: X", anywhere.
    stated: Regex,
    /// "Answer: X", with more freedom about what is between.
    stated_loosely: Regex,
    /// The first letter of the text, when it is an option by itself.
    first: Regex,
    /// An option that is a word by itself.
    lone: Regex,
}

impl Patterns {
    fn new(letters: &str) -> Self {
        let regex = |pattern: String| Regex::new(&pattern).expect("the pattern is a constant");
        Self {
            stated: regex(format!(
                r"(?i)\b(?:ANSWER|FINAL\s*ANSWER)\b\s*[:=]?\s*\(?\s*([{letters}])\s*\)?(?:\s*$|[^A-Za-z])"
            )),
            stated_loosely: regex(format!(r"(?i)\bAnswer\s*[:.]?\s*([{letters}])\b")),
            first: regex(format!("(?i)^[^a-z]*([{letters}])(?:[^a-z]|$)")),
            lone: regex(format!(r"(?i)\b([{letters}])\b")),
        }
    }

    fn of(options: Options) -> &'static Self {
        static TO_D: LazyLock<Patterns> = LazyLock::new(|| Patterns::new("A-D"));
        static TO_J: LazyLock<Patterns> = LazyLock::new(|| Patterns::new("A-J"));
        match options {
            Options::D => &TO_D,
            Options::J => &TO_J,
        }
    }
}

fn letter(captures: &regex::Captures<'_>) -> Option<char> {
    captures[1].chars().next().map(|c| c.to_ascii_uppercase())
}

/// The option that an answer names.
fn choice(format: AnswerFormat, answer: &str, options: Options) -> Option<char> {
    let patterns = Patterns::of(options);
    let answer = answer.trim();
    let last = |pattern: &Regex, text: &str| pattern.captures_iter(text).last().as_ref().and_then(letter);
    match format {
        AnswerFormat::Plain => {
            let text = unescape(unlist(answer));
            let stated = last(&patterns.stated, &text);
            stated.or_else(|| {
                if options == Options::J {
                    last(&patterns.lone, &text)
                } else {
                    None
                }
            })
        }
        AnswerFormat::Channels => {
            let plain = without_bold(final_channel(answer));
            let last_part = unescape(unlist(&plain));
            let first = patterns.first.captures(last_part.trim());
            let found = first.or_else(|| patterns.stated_loosely.captures(&last_part));
            found
                .as_ref()
                .and_then(letter)
                .or_else(|| last(&patterns.stated, &unescape(answer)))
                .or_else(|| {
                    if options == Options::J {
                        last(&patterns.lone, &last_part)
                    } else {
                        None
                    }
                })
        }
    }
}

/// The last number in a box, or else the last one after "Answer:"; only from 0 to 999.
fn whole_number(answer: &str) -> Option<i64> {
    static BOXED: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\\boxed\{\s*(\d+)\s*\}").expect("the pattern is a constant"));
    static STATED: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?i)Answer:\s*(\d+)").expect("the pattern is a constant"));
    let digits = BOXED
        .captures_iter(answer)
        .last()
        .and_then(|c| c.get(1))
        .or_else(|| {
            // Reject the integer part of a decimal fraction and the beginning of a word.
            let whole = |end: usize| {
                let next = answer[end..].chars().next();
                next.is_none_or(|c| c != '.' && c != '_' && !c.is_alphanumeric())
            };
            STATED
                .captures_iter(answer)
                .filter_map(|c| c.get(1))
                .filter(|digits| whole(digits.end()))
                .last()
        })?;
    digits.as_str().parse().ok().filter(|n| (0..=999).contains(n))
}

/// The text of the channel `final`, or the whole text when there is none. Malformed markers with something
/// between the name and the message are accepted too.
fn final_channel(text: &str) -> &str {
    static FINAL: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?s)<\|channel\|>final[^<]*<\|message\|>(.*?)(?:<\|return\|>|$)")
            .expect("the pattern is a constant")
    });
    FINAL
        .captures(text)
        .and_then(|c| c.get(1))
        .map_or(text, |found| found.as_str().trim())
}

/// `**A**` as `A`.
fn without_bold(text: &str) -> Cow<'_, str> {
    static BOLD: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\*\*([^*]+)\*\*").expect("the pattern is a constant"));
    BOLD.replace_all(text, "$1")
}

/// The only element of a one-element list as Python prints it.
fn unlist(text: &str) -> &str {
    let opened = text.starts_with("['") || text.starts_with("[\"");
    let closed = text.ends_with("']") || text.ends_with("\"]");
    if opened && closed {
        text.get(2..text.len().saturating_sub(2))
            .unwrap_or_default()
            .trim()
    } else {
        text
    }
}

/// Unescapes line ends and apostrophes.
fn unescape(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\'", "'")
}
