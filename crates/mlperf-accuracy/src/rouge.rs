//! ROUGE-1, -2, -L and -Lsum, F-measure, as computed by Google's `rouge_score` (which Hugging Face's
//! `evaluate` wraps and MLPerf's scripts call).

use std::collections::HashMap;

use super::porter::stem;
use super::punkt::Punkt;

/// F-measures of one answer against its reference, each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rouge {
    /// Single words in common.
    pub rouge1: f64,
    /// Word pairs in common.
    pub rouge2: f64,
    /// Longest common subsequence.
    pub rouge_l: f64,
    /// Longest common subsequence by sentence, where each line is a sentence.
    pub rouge_lsum: f64,
}

/// How texts were split into sentences; affects ROUGE-Lsum only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sentences {
    /// By NLTK's model, as the reference scripts do.
    Punkt,
    /// Each line of the text is a sentence. Without the model, ROUGE-Lsum is not comparable with the
    /// reference.
    #[default]
    Lines,
}

/// Means over all answers, as the accuracy scripts print them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RougeReport {
    /// How sentences were found for ROUGE-Lsum.
    pub sentences: Sentences,
    /// Means, in percent.
    pub mean_percent: Rouge,
    /// Number of characters in all prepared answers.
    pub gen_len: usize,
    /// Number of answers.
    pub gen_num: usize,
}

/// Scores one answer. `rouge_lsum` is meaningful only if each sentence of both texts is on its own line.
pub fn rouge(reference: &str, answer: &str, use_stemmer: bool) -> Rouge {
    let mut words = Words {
        ids: HashMap::new(),
        use_stemmer,
    };
    let reference_words = words.of(reference);
    let answer_words = words.of(answer);
    let mut lines = |text: &str| -> Vec<Vec<u32>> {
        text.split('\n')
            .filter(|line| !line.is_empty())
            .map(|line| words.of(line))
            .collect()
    };
    let (reference_lines, answer_lines) = (lines(reference), lines(answer));
    Rouge {
        rouge1: n_grams(&reference_words, &answer_words, 1),
        rouge2: n_grams(&reference_words, &answer_words, 2),
        rouge_l: longest(&reference_words, &answer_words),
        rouge_lsum: by_line(&reference_lines, &answer_lines),
    }
}

impl RougeReport {
    /// The line that the submission checker looks for in `accuracy.txt`, as the reference script prints it
    /// under NumPy 1 (the NumPy 2 form is not readable by the checker). Without the sentence model it has no
    /// `rougeLsum`.
    pub fn accuracy_line(&self) -> String {
        let Rouge {
            rouge1,
            rouge2,
            rouge_l,
            rouge_lsum,
        } = self.mean_percent;
        let lsum = match self.sentences {
            Sentences::Punkt => format!("'rougeLsum': '{}', ", four_digits(rouge_lsum)),
            // A figure computed from different sentences would be mistaken for the reference's.
            Sentences::Lines => String::new(),
        };
        format!(
            "{{'rouge1': '{}', 'rouge2': '{}', 'rougeL': '{}', {lsum}'gen_len': {}, 'gen_num': {}}}",
            four_digits(rouge1),
            four_digits(rouge2),
            four_digits(rouge_l),
            self.gen_len,
            self.gen_num
        )
    }
}

/// Rounds to four decimal places and removes trailing zeros, but keeps at least one digit.
pub(super) fn four_digits(x: f64) -> String {
    let text = format!("{x:.4}");
    let short = text.trim_end_matches('0');
    if short.ends_with('.') {
        format!("{short}0")
    } else {
        short.to_owned()
    }
}

/// A text as the reference scripts score it: trimmed, with each sentence on its own line.
pub fn prepare(text: &str, punkt: Option<&Punkt>) -> String {
    match punkt {
        Some(punkt) => punkt.sentences(text.trim()).join("\n"),
        None => text.trim().to_owned(),
    }
}

/// Prepares, stems and scores all answers and averages the scores; pairs are (reference, answer).
pub fn rouge_report<'a>(
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    punkt: Option<&Punkt>,
) -> RougeReport {
    let mut sum = Rouge::default();
    let sentences = if punkt.is_some() {
        Sentences::Punkt
    } else {
        Sentences::Lines
    };
    let mut report = RougeReport {
        sentences,
        ..RougeReport::default()
    };
    for (reference, answer) in pairs {
        let (reference, answer) = (prepare(reference, punkt), prepare(answer, punkt));
        let one = rouge(&reference, &answer, true);
        sum.rouge1 += one.rouge1;
        sum.rouge2 += one.rouge2;
        sum.rouge_l += one.rouge_l;
        sum.rouge_lsum += one.rouge_lsum;
        report.gen_len += answer.chars().count();
        report.gen_num += 1;
    }
    if report.gen_num > 0 {
        let percent = |sum: f64| sum / report.gen_num as f64 * 100.0;
        report.mean_percent = Rouge {
            rouge1: percent(sum.rouge1),
            rouge2: percent(sum.rouge2),
            rouge_l: percent(sum.rouge_l),
            rouge_lsum: percent(sum.rouge_lsum),
        };
    }
    report
}

/// Words as numbers: the same word has the same number within one comparison.
struct Words {
    ids: HashMap<String, u32>,
    use_stemmer: bool,
}

impl Words {
    /// Runs of a–z and 0–9 of the lower-cased text; words of more than three letters are stemmed.
    fn of(&mut self, text: &str) -> Vec<u32> {
        let lower = text.to_lowercase();
        let words = lower.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
        words
            .filter(|word| !word.is_empty())
            .map(|word| {
                let word = if self.use_stemmer && word.len() > 3 {
                    stem(word)
                } else {
                    word.to_owned()
                };
                let next = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
                *self.ids.entry(word).or_insert(next)
            })
            .collect()
    }
}

fn f_measure(common: usize, reference: usize, answer: usize) -> f64 {
    if common == 0 {
        return 0.0;
    }
    let precision = common as f64 / answer as f64;
    let recall = common as f64 / reference as f64;
    2.0 * precision * recall / (precision + recall)
}

fn n_grams(reference: &[u32], answer: &[u32], n: usize) -> f64 {
    let mut counts: HashMap<&[u32], usize> = HashMap::new();
    for gram in reference.windows(n) {
        *counts.entry(gram).or_default() += 1;
    }
    let mut common = 0;
    for gram in answer.windows(n) {
        if let Some(left) = counts.get_mut(gram).filter(|left| **left > 0) {
            *left -= 1;
            common += 1;
        }
    }
    f_measure(common, reference.windows(n).len(), answer.windows(n).len())
}

fn longest(reference: &[u32], answer: &[u32]) -> f64 {
    // Two rows of the table are enough for the length alone.
    let mut above = vec![0usize; answer.len() + 1];
    let mut row = above.clone();
    for word in reference {
        for (at, other) in answer.iter().enumerate() {
            row[at + 1] = if word == other {
                above[at] + 1
            } else {
                above[at + 1].max(row[at])
            };
        }
        std::mem::swap(&mut above, &mut row);
    }
    f_measure(above[answer.len()], reference.len(), answer.len())
}

/// For each line of the reference, its words that are in the longest common subsequence with any line of the
/// answer. No word counts more often than it occurs in either text.
fn by_line(reference: &[Vec<u32>], answer: &[Vec<u32>]) -> f64 {
    let count = |lines: &[Vec<u32>]| {
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for word in lines.iter().flatten() {
            *counts.entry(*word).or_default() += 1;
        }
        counts
    };
    let (mut left_reference, mut left_answer) = (count(reference), count(answer));
    let mut hits = 0;
    let mut table = Vec::new();
    for line in reference {
        let mut in_any = vec![false; line.len()];
        for other in answer {
            mark_longest(line, other, &mut table, &mut in_any);
        }
        for (word, _) in line.iter().zip(&in_any).filter(|(_, marked)| **marked) {
            if let (Some(a), Some(b)) = (left_answer.get_mut(word), left_reference.get_mut(word))
                && *a > 0
                && *b > 0
            {
                *a -= 1;
                *b -= 1;
                hits += 1;
            }
        }
    }
    f_measure(
        hits,
        reference.iter().map(Vec::len).sum(),
        answer.iter().map(Vec::len).sum(),
    )
}

/// Marks the words of `line` that are in one longest common subsequence with `other`. If there are several,
/// the choice affects the score: backtracking from the end prefers up to left, as in `rouge_score`.
fn mark_longest(line: &[u32], other: &[u32], table: &mut Vec<u32>, marked: &mut [bool]) {
    let width = other.len() + 1;
    table.clear();
    table.resize((line.len() + 1) * width, 0);
    for (i, word) in line.iter().enumerate() {
        for (j, other_word) in other.iter().enumerate() {
            table[(i + 1) * width + j + 1] = if word == other_word {
                table[i * width + j] + 1
            } else {
                table[i * width + j + 1].max(table[(i + 1) * width + j])
            };
        }
    }
    let (mut i, mut j) = (line.len(), other.len());
    while i > 0 && j > 0 {
        if line[i - 1] == other[j - 1] {
            marked[i - 1] = true;
            i -= 1;
            j -= 1;
        } else if table[i * width + j - 1] > table[(i - 1) * width + j] {
            j -= 1;
        } else {
            i -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_accuracy_txt() {
        let mean_percent = Rouge {
            rouge1: 38.77919,
            rouge2: 15.9075,
            rouge_l: 24.0,
            rouge_lsum: 0.00001,
        };
        let report = RougeReport {
            sentences: Sentences::Punkt,
            mean_percent,
            gen_len: 8_167_644,
            gen_num: 13_368,
        };
        assert_eq!(
            report.accuracy_line(),
            "{'rouge1': '38.7792', 'rouge2': '15.9075', 'rougeL': '24.0', 'rougeLsum': '0.0', 'gen_len': 8167644, \
             'gen_num': 13368}"
        );
    }
}
