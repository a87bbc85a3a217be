//! Splits a text into sentences as NLTK's Punkt does, using the model installed with NLTK.
//!
//! The algorithm is T. Kiss and J. Strunk, "Unsupervised Multilingual Sentence Boundary Detection" (2006).
//! Details (what counts as a word, which context a decision sees) follow NLTK 3.10. The model (abbreviations,
//! collocations, sentence starters, capitalisation) is read from NLTK's `punkt_tab` folder and is not part of
//! this program.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Closing punctuation that belongs to the sentence it follows.
const CLOSING: &[char] = &['"', '\'', ')', ']', '}', '‘', '’', '“', '”', '«', '»'];
/// Characters that cannot be inside a word.
const NON_WORD: &[char] = &[
    ')', '"', ';', '}', ']', '*', ':', '@', '\'', '(', '{', '[', '‘', '’', '“', '”', '«', '»', '?', '!',
];
/// Characters that cannot begin a word of more than one letter.
const NO_WORD_START: &[char] = &[
    '(', '"', '`', '{', '[', ':', ';', '&', '#', '*', '@', ')', '}', ']', '-', ',',
];
/// In which positions a word was seen, as bits: beginning of a sentence, middle, unknown; first upper case,
/// then lower.
const MIDDLE_UPPER: u32 = 1 << 2;
const ANY_UPPER: u32 = 0b111 << 1;
const BEGIN_LOWER: u32 = 1 << 4;
const ANY_LOWER: u32 = 0b111 << 4;

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PunktError {
    /// No NLTK data folder contains the model.
    #[error(
        "no NLTK sentence model: looked for tokenizers/punkt_tab/english in {}; install it with \
         python -c \"import nltk; nltk.download('punkt_tab')\" or set NLTK_DATA",
        looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NotFound {
        /// The folders that were searched.
        looked: Vec<PathBuf>,
    },
    /// A file of the model cannot be read.
    #[error("sentence model {path}: {what}")]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// A loaded model.
#[derive(Debug, Clone, Default)]
pub struct Punkt {
    abbreviations: HashSet<String>,
    collocations: HashSet<(String, String)>,
    starters: HashSet<String>,
    orthography: HashMap<String, u32>,
}

/// One word of the text around a possible sentence end.
#[derive(Debug, Clone)]
struct Token {
    text: String,
    /// The word in lower case, with every number replaced by the same placeholder.
    kind: String,
    ends_sentence: bool,
    abbreviation: bool,
    ellipsis: bool,
}

/// What the capitalisation implies about a word.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Starter {
    Yes,
    No,
    Unknown,
}

impl Punkt {
    /// Loads the English model from the NLTK data on this machine. `nltk_data` is the value of the
    /// environment variable `NLTK_DATA` (folders separated by colons), `home` the user's home folder.
    ///
    /// # Errors
    /// [`PunktError`] lists the folders that were searched and how to get the model.
    pub fn find(nltk_data: Option<&str>, home: Option<&Path>) -> Result<Self, PunktError> {
        let mut folders: Vec<PathBuf> = nltk_data
            .unwrap_or_default()
            .split(':')
            .filter(|p| !p.is_empty())
            .map(PathBuf::from)
            .collect();
        folders.extend(home.map(|home| home.join("nltk_data")));
        let usual = [
            "/usr/share/nltk_data",
            "/usr/local/share/nltk_data",
            "/usr/lib/nltk_data",
            "/usr/local/lib/nltk_data",
        ];
        folders.extend(usual.map(PathBuf::from));
        let model = folders
            .iter()
            .map(|f| f.join("tokenizers/punkt_tab/english"))
            .find(|f| f.is_dir());
        match model {
            Some(folder) => Self::load(&folder),
            None => Err(PunktError::NotFound { looked: folders }),
        }
    }

    /// Reads a model folder: `abbrev_types.txt`, `collocations.tab`, `sent_starters.txt`, `ortho_context.tab`.
    ///
    /// # Errors
    /// [`PunktError::Bad`].
    pub fn load(folder: &Path) -> Result<Self, PunktError> {
        let bad = |path: &Path, what: String| PunktError::Bad {
            path: path.to_owned(),
            what,
        };
        let read = |name: &str| {
            let path = folder.join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok((path, text)),
                Err(e) => Err(bad(&path, e.to_string())),
            }
        };
        let words = |text: &str| text.lines().map(str::to_owned).collect();
        let mut model = Self {
            abbreviations: words(&read("abbrev_types.txt")?.1),
            starters: words(&read("sent_starters.txt")?.1),
            ..Self::default()
        };
        let (path, text) = read("collocations.tab")?;
        for (at, line) in text.lines().enumerate() {
            let pair = line
                .split_once('\t')
                .ok_or_else(|| bad(&path, format!("line {}: no tab", at + 1)))?;
            model.collocations.insert((pair.0.to_owned(), pair.1.to_owned()));
        }
        let (path, text) = read("ortho_context.tab")?;
        for (at, line) in text.lines().enumerate() {
            let pair = line
                .split_once('\t')
                .and_then(|(word, bits)| Some((word, bits.parse().ok()?)));
            let (word, bits) =
                pair.ok_or_else(|| bad(&path, format!("line {}: no word and number", at + 1)))?;
            model.orthography.insert(word.to_owned(), bits);
        }
        Ok(model)
    }

    /// The sentences of a text, in order, without the white space between them.
    pub fn sentences(&self, text: &str) -> Vec<String> {
        let chars: Vec<char> = text.chars().collect();
        let spans = realign(&chars, &self.spans(&chars));
        spans
            .into_iter()
            .map(|(from, to)| chars[from..to].iter().collect())
            .collect()
    }

    /// Sentences as half-open ranges; closing punctuation still belongs to the next sentence.
    fn spans(&self, text: &[char]) -> Vec<(usize, usize)> {
        let mut spans = Vec::new();
        let mut last = 0;
        for end in candidates(text) {
            if self.breaks(&end.context) {
                spans.push((last, end.at + 1));
                last = end.next_word.unwrap_or(end.at + 1);
            }
        }
        let trimmed = text.iter().rposition(|c| !is_space(*c)).map_or(0, |at| at + 1);
        spans.push((last, trimmed));
        spans
    }

    /// Whether a sentence ends within a context: whether a word that ends one is followed by another word.
    fn breaks(&self, context: &[char]) -> bool {
        let mut tokens: Vec<Token> = context
            .split(|c| *c == '\n')
            .flat_map(words)
            .map(|w| self.first_pass(w))
            .collect();
        for at in 1..tokens.len() {
            let (before, after) = tokens.split_at_mut(at);
            if let (Some(token), Some(next)) = (before.last_mut(), after.first()) {
                self.second_pass(token, next);
            }
        }
        tokens.iter().rev().skip(1).any(|token| token.ends_sentence)
    }

    /// Classifies a word by itself.
    fn first_pass(&self, text: String) -> Token {
        let lower = text.to_lowercase();
        let kind = if is_number(&lower) {
            "##number##".to_owned()
        } else {
            lower.clone()
        };
        let mut token = Token {
            text,
            kind,
            ends_sentence: false,
            abbreviation: false,
            ellipsis: false,
        };
        if matches!(token.text.as_str(), "." | "?" | "!") {
            token.ends_sentence = true;
        } else if token.text.len() > 1 && token.text.chars().all(|c| c == '.') {
            token.ellipsis = true;
        } else if let Some(stem) = lower.strip_suffix('.')
            && !stem.ends_with('.')
        {
            let last_part = stem.rsplit('-').next().unwrap_or(stem);
            if self.abbreviations.contains(stem) || self.abbreviations.contains(last_part) {
                token.abbreviation = true;
            } else {
                token.ends_sentence = true;
            }
        }
        token
    }

    /// Classifies a word with a final period by the word after it.
    fn second_pass(&self, token: &mut Token, next: &Token) {
        if !token.text.ends_with('.') {
            return;
        }
        let kind = token.without_period().to_owned();
        let next_kind = next.without_sentence_period().to_owned();
        let initial = token.is_initial();
        if self.collocations.contains(&(kind.clone(), next_kind.clone())) {
            token.ends_sentence = false;
            token.abbreviation = true;
            return;
        }
        if (token.abbreviation || token.ellipsis) && !initial {
            let frequent = next.starts_upper() && self.starters.contains(&next_kind);
            if self.starter(next) == Starter::Yes || frequent {
                token.ends_sentence = true;
                return;
            }
        }
        if initial || kind == "##number##" {
            let seen = self.orthography.get(&next_kind).copied().unwrap_or(0);
            let name = initial && next.starts_upper() && seen & ANY_LOWER == 0;
            match self.starter(next) {
                Starter::Yes => {}
                Starter::Unknown if !name => {}
                Starter::No | Starter::Unknown => {
                    token.ends_sentence = false;
                    token.abbreviation = true;
                }
            }
        }
    }

    /// Whether a word begins a sentence, judged by the capitalisation seen in training.
    fn starter(&self, token: &Token) -> Starter {
        if matches!(token.text.as_str(), ";" | ":" | "," | "." | "!" | "?") {
            return Starter::No;
        }
        let seen = self
            .orthography
            .get(token.without_sentence_period())
            .copied()
            .unwrap_or(0);
        if token.starts_upper() && seen & ANY_LOWER != 0 && seen & MIDDLE_UPPER == 0 {
            Starter::Yes
        } else if token.starts_lower() && (seen & ANY_UPPER != 0 || seen & BEGIN_LOWER == 0) {
            Starter::No
        } else {
            Starter::Unknown
        }
    }
}

impl Token {
    fn without_period(&self) -> &str {
        match self.kind.strip_suffix('.') {
            Some(rest) if !rest.is_empty() => rest,
            _ => &self.kind,
        }
    }

    fn without_sentence_period(&self) -> &str {
        if self.ends_sentence {
            self.without_period()
        } else {
            &self.kind
        }
    }

    fn starts_upper(&self) -> bool {
        self.text.chars().next().is_some_and(char::is_uppercase)
    }

    fn starts_lower(&self) -> bool {
        self.text.chars().next().is_some_and(char::is_lowercase)
    }

    /// One letter and a period.
    fn is_initial(&self) -> bool {
        let mut chars = self.text.chars();
        let letter = chars
            .next()
            .is_some_and(|c| (c.is_alphanumeric() || c == '_') && !c.is_ascii_digit());
        letter && chars.as_str() == "."
    }
}

/// White space as Python defines it.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `-3.5`, `1,000`, `.5`, `7.`
fn is_number(text: &str) -> bool {
    let rest = text.strip_prefix('-').unwrap_or(text);
    let rest = rest.strip_prefix(['.', ',']).unwrap_or(rest);
    rest.starts_with(|c: char| c.is_ascii_digit())
        && rest.chars().all(|c| c.is_ascii_digit() || ",.-".contains(c))
}

/// A place where a sentence may end.
struct Candidate {
    /// Position of the mark.
    at: usize,
    /// Where the next word begins; `None` when punctuation follows at once.
    next_word: Option<usize>,
    /// The word before the mark, the mark, and what follows up to the next word's end.
    context: Vec<char>,
}

/// All places where a sentence may end. Of several marks in one word only the last counts.
fn candidates(text: &[char]) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    let mut previous: Option<(usize, usize, Candidate)> = None;
    for (at, mark) in text.iter().enumerate() {
        if !matches!(mark, '.' | '?' | '!') {
            continue;
        }
        let Some(next) = text.get(at + 1) else { continue };
        let (next_word, end) = if NON_WORD.contains(next) {
            (None, at + 2)
        } else {
            let spaces = text[at + 1..].iter().take_while(|c| is_space(**c)).count();
            let word = at + 1 + spaces;
            let letters = text[word..].iter().take_while(|c| !is_space(**c)).count();
            if spaces == 0 || letters == 0 {
                continue;
            }
            (Some(word), word + letters)
        };
        let (before_start, before_stop) = previous.as_ref().map_or((0, 0), |(from, to, _)| (*from, *to));
        let space = text[before_stop..at]
            .iter()
            .rposition(|c| matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}'));
        let start = match space {
            // A space at the very beginning does not count, as in NLTK.
            Some(space) if space > 0 => before_stop + space + 1,
            _ => before_start,
        };
        if let Some((_, stop, candidate)) = previous.take()
            && stop <= start
        {
            found.push(candidate);
        }
        previous = Some((
            start,
            at,
            Candidate {
                at,
                next_word,
                context: text[start..end].to_vec(),
            },
        ));
    }
    found.extend(previous.map(|(_, _, candidate)| candidate));
    found
}

/// Words and punctuation of a line.
fn words(line: &[char]) -> Vec<String> {
    let mut words = Vec::new();
    let mut at = 0;
    while at < line.len() {
        if is_space(line[at]) {
            at += 1;
            continue;
        }
        let length = match multi(&line[at..]) {
            0 if NO_WORD_START.contains(&line[at]) => 1,
            0 => {
                let mut length = 1;
                while !word_ends(&line[at + length..]) {
                    length += 1;
                }
                length
            }
            length => length,
        };
        words.push(line[at..at + length].iter().collect());
        at += length;
    }
    words
}

/// Length of a dash or an ellipsis at the beginning: `--`, `...`, `. . .`; 0 if there is none.
fn multi(text: &[char]) -> usize {
    let run = |c: char| text.iter().take_while(|x| **x == c).count();
    if run('-') >= 2 {
        return run('-');
    }
    if run('.') >= 2 {
        return run('.');
    }
    let pairs = text
        .chunks_exact(2)
        .take_while(|pair| pair[0] == '.' && is_space(pair[1]))
        .count();
    // If no period follows the pairs, the period of the last pair is the final one.
    let closed = if text.get(2 * pairs) == Some(&'.') {
        pairs
    } else {
        pairs.saturating_sub(1)
    };
    if closed >= 2 { 2 * closed + 1 } else { 0 }
}

/// Whether a word ends before the rest of its line.
fn word_ends(rest: &[char]) -> bool {
    let stops = |rest: &[char]| match rest.first() {
        None => true,
        Some(c) => is_space(*c) || NON_WORD.contains(c) || multi(rest) > 0,
    };
    stops(rest) || rest.first() == Some(&',') && stops(&rest[1..])
}

/// Moves closing quotes and brackets from the beginning of a sentence to the previous sentence.
fn realign(text: &[char], spans: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut result = Vec::new();
    let mut shift = 0;
    for (at, &(from, to)) in spans.iter().enumerate() {
        let from = from + shift;
        shift = 0;
        if let Some(&(next, next_end)) = spans.get(at + 1)
            && next < next_end
            && let Some((closing, whole)) = closing_at(&text[next..next_end])
        {
            result.push((from, next + closing));
            shift = whole;
        } else if from < to {
            result.push((from, to));
        }
    }
    result.retain(|(from, to)| from < to);
    result
}

/// Closing punctuation followed by white space, a dash or the end: its length without and with the white
/// space.
fn closing_at(text: &[char]) -> Option<(usize, usize)> {
    let mut n = 0;
    while text.get(n).is_some_and(|c| CLOSING.contains(c)) {
        n += 1;
        let rest = &text[n..];
        let spaces = rest.iter().take_while(|c| is_space(**c)).count();
        if spaces > 0 || rest.is_empty() || rest.starts_with(&['-', '-']) {
            return Some((n, n + spaces));
        }
    }
    None
}
