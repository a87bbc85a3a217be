//! Recognises significant lines of the server's log. The patterns are data: `configs/monitor/log-patterns.toml`.

use std::sync::Arc;

use serde::Deserialize;
use vllm_metrics::catalog::Version;

use super::{LoadPhase, LogMark, Meaning};
use crate::Time;
use crate::error::{Error, Result};

const COMPILED_IN: &str = include_str!("../../../../configs/monitor/log-patterns.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    pattern: Vec<Raw>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    id: String,
    since: Option<String>,
    until: Option<String>,
    all: Vec<String>,
    means: String,
    number_after: Option<String>,
    advice: Option<String>,
}

/// One pattern.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    /// Its name.
    pub id: Arc<str>,
    /// First release that writes the line; `None`: 0.6 or before.
    pub since: Option<Version>,
    /// First release that no longer writes it.
    pub until: Option<Version>,
    /// Texts that must occur in the line, in this order.
    pub all: Vec<String>,
    /// What the line means.
    pub means: Meaning,
    /// The text before the line's number.
    pub number_after: Option<String>,
    /// The way out.
    pub advice: Option<Arc<str>>,
}

/// All patterns, in the order in which they are tried.
#[derive(Debug, Clone, PartialEq)]
pub struct LogPatterns {
    patterns: Vec<Pattern>,
}

impl LogPatterns {
    /// The patterns that are compiled in.
    ///
    /// ```
    /// use vllm_monitor::Time;
    /// use vllm_monitor::log::{LogPatterns, Meaning};
    ///
    /// let patterns = LogPatterns::compiled_in();
    /// let line = "ERROR Worker proc VllmWorker-1 died unexpectedly (exit code: -9), shutting down executor.";
    /// let mark = patterns.find(line, None, Time::ZERO).unwrap();
    /// assert_eq!(mark.means, Meaning::Fatal("worker_died".into()));
    /// assert_eq!(mark.number, Some(-9.0));
    /// ```
    pub fn compiled_in() -> Self {
        Self {
            patterns: parse(COMPILED_IN, "log-patterns.toml").expect("a test reads the compiled-in patterns"),
        }
    }

    /// The compiled-in patterns changed by a user's file: the same id replaces, a new one is tried first.
    ///
    /// # Errors
    /// [`Error::Data`] names the file, the entry and what is wrong with it.
    pub fn with_overrides(text: &str, file: &str) -> Result<Self> {
        let mut patterns = Self::compiled_in().patterns;
        let mut added = Vec::new();
        for pattern in parse(text, file)? {
            match patterns.iter_mut().find(|known| known.id == pattern.id) {
                Some(known) => *known = pattern,
                None => added.push(pattern),
            }
        }
        added.append(&mut patterns);
        Ok(Self { patterns: added })
    }

    /// What a line means to a server of this version, or to any version if that is not known.
    pub fn find(&self, line: &str, version: Option<Version>, at: Time) -> Option<LogMark> {
        let pattern = self.patterns.iter().find(|p| p.is_for(version) && p.fits(line))?;
        let number = pattern.number_after.as_ref().and_then(|before| {
            let rest = &line[line.find(before.as_str())? + before.len()..];
            let end = rest
                .find(|c: char| !matches!(c, '0'..='9' | '.' | '-'))
                .unwrap_or(rest.len());
            rest[..end].trim_end_matches('.').parse().ok()
        });
        let mut end = line.len().min(LogMark::LONGEST);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        Some(LogMark {
            at,
            pattern: Arc::clone(&pattern.id),
            means: pattern.means.clone(),
            number,
            line: line[..end].into(),
        })
    }

    /// The way out for a pattern, if there is one.
    pub fn advice(&self, pattern: &str) -> Option<&str> {
        self.patterns
            .iter()
            .find(|known| &*known.id == pattern)?
            .advice
            .as_deref()
    }

    /// All of them.
    pub fn all(&self) -> &[Pattern] {
        &self.patterns
    }
}

impl Pattern {
    fn is_for(&self, version: Option<Version>) -> bool {
        version.is_none_or(|v| {
            self.since.is_none_or(|since| v >= since) && self.until.is_none_or(|until| v < until)
        })
    }

    fn fits(&self, line: &str) -> bool {
        let mut rest = line;
        self.all.iter().all(|text| match rest.find(text.as_str()) {
            Some(at) => {
                rest = &rest[at + text.len()..];
                true
            }
            None => false,
        })
    }
}

fn parse(text: &str, file: &str) -> Result<Vec<Pattern>> {
    let data_error = |problem: String| Error::Data {
        file: file.to_owned(),
        problem,
    };
    let raw: File = toml::from_str(text).map_err(|e| data_error(e.to_string()))?;
    let mut patterns: Vec<Pattern> = Vec::with_capacity(raw.pattern.len());
    for raw in raw.pattern {
        let wrong = |problem: &str| data_error(format!("pattern `{}`: {problem}", raw.id));
        let version = |text: &Option<String>| match text {
            Some(text) => text
                .parse::<Version>()
                .map(Some)
                .map_err(|e| wrong(&e.to_string())),
            None => Ok(None),
        };
        let (since, until) = (version(&raw.since)?, version(&raw.until)?);
        if raw.all.is_empty() || raw.all.iter().any(String::is_empty) {
            return Err(wrong("`all` needs at least one text, and none of them empty"));
        }
        if patterns.iter().any(|known| *known.id == *raw.id) {
            return Err(wrong("the id occurs twice"));
        }
        let means =
            meaning(&raw.means).ok_or_else(|| wrong(&format!("`means = \"{}\"` is not known", raw.means)))?;
        patterns.push(Pattern {
            id: raw.id.as_str().into(),
            since,
            until,
            all: raw.all,
            means,
            number_after: raw.number_after,
            advice: raw.advice.map(Arc::from),
        });
    }
    Ok(patterns)
}

fn meaning(text: &str) -> Option<Meaning> {
    match text.split_once(':') {
        None => match text {
            "started" => Some(Meaning::Started),
            "shutdown" => Some(Meaning::Shutdown),
            _ => None,
        },
        Some(("phase", phase)) => LoadPhase::from_name(phase).map(Meaning::Phase),
        Some(("done", phase)) => LoadPhase::from_name(phase).map(Meaning::Done),
        Some(("fatal", cause)) if !cause.is_empty() => Some(Meaning::Fatal(cause.into())),
        Some(("warning", what)) if !what.is_empty() => Some(Meaning::Warning(what.into())),
        Some(("gate", "compile")) => Some(Meaning::Compiling),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(line: &str) -> Option<Meaning> {
        LogPatterns::compiled_in()
            .find(line, None, Time::ZERO)
            .map(|mark| mark.means)
    }

    #[test]
    fn lines_of_a_start_in_order() {
        use LoadPhase as P;
        for (line, expected) in [
            (
                "INFO Initializing a V1 LLM engine (v0.32.0) with config: model='tiny'",
                Meaning::Phase(P::EngineInit),
            ),
            (
                "INFO Starting to load model tiny...",
                Meaning::Phase(P::LoadWeights),
            ),
            (
                "INFO Loading weights took 12.34 seconds",
                Meaning::Phase(P::PrepareModel),
            ),
            (
                "INFO Model loading took 14.9 GiB memory and 13.1 seconds",
                Meaning::Done(P::PrepareModel),
            ),
            (
                "INFO torch.compile took 22.1 s in total",
                Meaning::Done(P::Compile),
            ),
            (
                "INFO GPU KV cache size: 299,584 tokens",
                Meaning::Phase(P::KvCache),
            ),
            (
                "INFO Graph capturing finished in 5 secs, took 0.5 GiB",
                Meaning::Done(P::CaptureGraphs),
            ),
            (
                "INFO Starting vLLM API server 0 on http://0.0.0.0:8000",
                Meaning::Phase(P::StartServer),
            ),
            ("INFO:     Application startup complete.", Meaning::Started),
            (
                "INFO [shutdown] API server: shutdown triggered",
                Meaning::Shutdown,
            ),
        ] {
            assert_eq!(means(line), Some(expected), "{line}");
        }
        assert_eq!(
            means("INFO 127.0.0.1:54321 - \"GET /health HTTP/1.1\" 200 OK"),
            None
        );
    }

    #[test]
    fn a_pattern_holds_for_its_versions() {
        let patterns = LogPatterns::compiled_in();
        let line = "Initializing an LLM engine (v0.8.2)";
        let find = |version: &str| patterns.find(line, version.parse().ok(), Time::ZERO);
        assert!(find("0.8.2").is_some() && find("0.32.0").is_none());
    }

    #[test]
    fn overrides_replace_and_add() {
        let text = r#"
            [[pattern]]
            id = "server-started"
            all = ["ready to serve"]
            means = "started"
            [[pattern]]
            id = "ours"
            all = ["license", "expired"]
            means = "fatal:license"
            advice = "renew it"
        "#;
        let patterns = LogPatterns::with_overrides(text, "mine.toml").expect("it is well-formed");
        let means = |line: &str| patterns.find(line, None, Time::ZERO).map(|mark| mark.means);
        assert_eq!(means("ready to serve"), Some(Meaning::Started));
        assert_eq!(means("Application startup complete."), None);
        assert_eq!(
            means("license of X expired"),
            Some(Meaning::Fatal("license".into()))
        );
        assert_eq!(means("expired license"), None, "the order of the texts counts");
        assert_eq!(patterns.advice("ours"), Some("renew it"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            (
                "[[pattern]]\nid = \"a\"\nall = [\"x\"]\nmeans = \"phase:lunch\"",
                ["`a`", "phase:lunch"],
            ),
            (
                "[[pattern]]\nid = \"a\"\nall = []\nmeans = \"started\"",
                ["`a`", "at least one text"],
            ),
            (
                "[[pattern]]\nid = \"a\"\nall = [\"x\"]\nmeans = \"started\"\ncolour = 1",
                ["colour", "mine.toml"],
            ),
        ] {
            let error = LogPatterns::with_overrides(text, "mine.toml")
                .expect_err("refused")
                .to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let line = format!("CUDA out of memory {}", "ü".repeat(500));
        let mark = LogPatterns::compiled_in()
            .find(&line, None, Time::ZERO)
            .expect("it is known");
        assert!(mark.line.len() <= LogMark::LONGEST);
    }
}
