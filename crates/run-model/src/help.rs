//! What servers say about their metrics: the text after `# HELP` on a scraped page.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// The fact that holds the texts as a JSON object: family name to text.
const TEXTS_FACT: &str = "metrics.help";
/// The fact that counts families whose text was left out.
const LEFT_OUT_FACT: &str = "metrics.help_left_out";

/// Most bytes of names and texts together: they are stored in every file of a run.
const MOST_BYTES: usize = 256 << 10;
/// Most families that are counted as left out.
const MOST_LEFT_OUT: usize = 4096;

/// The texts of a run, by family. The first text of a family counts. Texts beyond the limits are left out and
/// counted; none is shortened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HelpTexts {
    texts: BTreeMap<Arc<str>, Arc<str>>,
    bytes: usize,
    left_out: HashSet<u64>,
}

impl HelpTexts {
    /// Longest text and longest name, in bytes. vLLM's longest text has about 200.
    pub const LONGEST: usize = 1024;

    /// Adds the text of a family as one line without control characters; returns it if it is new and was kept.
    pub fn add(&mut self, family: &str, text: &str) -> Option<(Arc<str>, Arc<str>)> {
        if text.is_empty() || self.texts.contains_key(family) {
            return None;
        }
        let bytes = family.len() + text.len();
        if family.len() > Self::LONGEST || text.len() > Self::LONGEST || self.bytes + bytes > MOST_BYTES {
            if self.left_out.len() < MOST_LEFT_OUT {
                self.left_out.insert(hash(family));
            }
            return None;
        }
        let plain: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let (family, text): (Arc<str>, Arc<str>) = (Arc::from(family), Arc::from(plain));
        self.bytes += bytes;
        self.texts.insert(Arc::clone(&family), Arc::clone(&text));
        Some((family, text))
    }

    /// The text for a family or for one of its series: `ttft_seconds_bucket` has that of `ttft_seconds`, and
    /// `requests_total` that of the OpenMetrics family `requests`.
    pub fn of(&self, name: &str) -> Option<&str> {
        let stripped = ["_bucket", "_sum", "_count", "_total", "_created", "_info"]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix));
        std::iter::once(name)
            .chain(stripped)
            .find_map(|name| self.texts.get(name))
            .map(|text| &**text)
    }

    /// Every family with its text, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.texts.iter()
    }

    /// How many families' texts were left out, counted up to 4096.
    pub fn left_out(&self) -> usize {
        self.left_out.len()
    }

    /// Stores the texts among the facts of a run.
    pub fn add_facts(&self, facts: &mut BTreeMap<String, String>) {
        if !self.texts.is_empty() {
            let texts: BTreeMap<&str, &str> = self.iter().map(|(name, text)| (&**name, &**text)).collect();
            let json = serde_json::to_string(&texts).expect("a map of texts always serialises");
            facts.insert(TEXTS_FACT.into(), json);
        }
        if self.left_out() > 0 {
            facts.insert(LEFT_OUT_FACT.into(), self.left_out().to_string());
        }
    }

    /// Whether a fact holds the texts, which are long and no setting of the run.
    pub fn is_fact(key: &str) -> bool {
        key == TEXTS_FACT
    }

    /// The texts among the facts of a run, within the same limits; none if the fact is absent or no JSON object of
    /// texts.
    pub fn from_facts(facts: &BTreeMap<String, String>) -> Self {
        let texts: BTreeMap<String, String> = facts
            .get(TEXTS_FACT)
            .and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or_default();
        let mut helps = Self::default();
        for (family, text) in &texts {
            helps.add(family, text);
        }
        helps
    }
}

fn hash(text: &str) -> u64 {
    use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_counted_and_read_back() {
        let mut helps = HelpTexts::default();
        helps.add("a_seconds", "first\nline \u{1b}[31m \\ \"quoted\"");
        helps.add("a_seconds", "second");
        helps.add("b", "");
        helps.add("long", &"x".repeat(1 << 20));
        helps.add("long", &"x".repeat(1 << 20));
        helps.add(&"n".repeat(HelpTexts::LONGEST + 1), "text");
        assert_eq!(
            helps.of("a_seconds_bucket"),
            Some("first line  [31m \\ \"quoted\"")
        );
        assert_eq!(
            (helps.of("b"), helps.of("long"), helps.left_out()),
            (None, None, 2)
        );
        let mut facts = BTreeMap::new();
        helps.add_facts(&mut facts);
        assert_eq!(facts[LEFT_OUT_FACT], "2");
        let read = HelpTexts::from_facts(&facts);
        assert!(read.iter().eq(helps.iter()));
        for index in 0..100_000 {
            helps.add(&format!("family_{index}"), &"y".repeat(1000));
        }
        facts.clear();
        helps.add_facts(&mut facts);
        assert!(
            facts[TEXTS_FACT].len() < 2 * MOST_BYTES,
            "{}",
            facts[TEXTS_FACT].len()
        );
        assert_eq!(helps.left_out(), MOST_LEFT_OUT);
        facts.insert(TEXTS_FACT.into(), "[1]".into());
        assert_eq!(HelpTexts::from_facts(&facts), HelpTexts::default());
    }
}
