//! Selects the metrics to record: by exact name, glob or regular expression, or all, minus exclusions.
//!
//! | pattern | selects |
//! |---|---|
//! | `all` | everything |
//! | `vllm:num_requests_running` | exactly this metric, not every name that contains it |
//! | `vllm:*_seconds`, `vllm:request_?ueue*`, `{node,go}_*` | names that match the glob; `*` matches any text, including `:` |
//! | `re:vllm:(prompt\|generation)_tokens.*` | names that the regular expression matches as a whole |
//! | `exact:…`, `glob:…` | as above, to force one interpretation |
//!
//! A pattern selects families: `vllm:time_to_first_token_seconds` selects the buckets, sum and count of that
//! histogram. A pattern that names a single sample (`…_count`) selects only that sample. Exact names are
//! expanded with the [`catalog`]: with and without `_total`, older vLLM names of a present one, and the
//! sources of a promised name such as `vllm:gpu_utilization`. Exclusions always win and are not expanded.

use std::collections::HashSet;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use regex::RegexSet;
use serde::Deserialize;

use run_model::catalog;
use run_model::{Error, Result};

/// The selection as written. An empty `include` means everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelectionConfig {
    /// Patterns of which at least one must match.
    pub include: Vec<String>,
    /// Patterns of which none may match.
    pub exclude: Vec<String>,
}

impl SelectionConfig {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// [`Error::Config`] with every invalid pattern.
    pub fn resolve(&self) -> Result<Selector> {
        let mut problems = Vec::new();
        let include = Patterns::compile("include", &self.include, true, &mut problems);
        let exclude = Patterns::compile("exclude", &self.exclude, false, &mut problems);
        if problems.is_empty() {
            Ok(Selector {
                include: if self.include.is_empty() {
                    Patterns::all()
                } else {
                    include
                },
                exclude,
            })
        } else {
            Err(Error::Config { problems })
        }
    }
}

/// A compiled selection. It is evaluated once per series, so a large selection adds no cost per sample.
#[derive(Debug, Clone)]
pub struct Selector {
    include: Patterns,
    exclude: Patterns,
}

impl Default for Selector {
    fn default() -> Self {
        Self::all()
    }
}

impl Selector {
    /// Selects everything.
    pub fn all() -> Self {
        Self {
            include: Patterns::all(),
            exclude: Patterns::default(),
        }
    }

    /// Whether the sample called `sample` of the family called `family` is recorded.
    pub fn selects(&self, family: &str, sample: &str) -> bool {
        self.include.fit(family, sample) && !self.exclude.fit(family, sample)
    }

    /// Returns the included patterns, as written, that match none of `seen` (pairs of family and sample):
    /// they are misspelt or not exported by this server.
    pub fn unused<'a>(&self, seen: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<String> {
        let mut used: HashSet<usize> = HashSet::new();
        for (family, sample) in seen {
            used.extend(self.include.which(family, sample));
        }
        let unused = |i: &usize| !used.contains(i);
        (0..self.include.written.len())
            .filter(unused)
            .map(|i| self.include.written[i].clone())
            .collect()
    }
}

/// The patterns of one list: one set per form, each with the positions of its patterns in the list.
#[derive(Debug, Clone, Default)]
struct Patterns {
    written: Vec<String>,
    everything: Vec<usize>,
    /// Names with their positions.
    names: Vec<(String, usize)>,
    /// The same names, for fast lookup.
    name_set: HashSet<String>,
    globs: GlobSet,
    glob_places: Vec<usize>,
    regexes: RegexSet,
    regex_places: Vec<usize>,
}

enum Form<'a> {
    All,
    Exact(&'a str),
    Glob(&'a str),
    Regex(&'a str),
}

fn form(pattern: &str) -> Form<'_> {
    if pattern == "all" || pattern == "*" {
        Form::All
    } else if let Some(name) = pattern.strip_prefix("exact:") {
        Form::Exact(name)
    } else if let Some(glob) = pattern.strip_prefix("glob:") {
        Form::Glob(glob)
    } else if let Some(regex) = pattern.strip_prefix("re:") {
        Form::Regex(regex)
    } else if pattern.contains(['*', '?', '[', '{']) {
        Form::Glob(pattern)
    } else {
        Form::Exact(pattern)
    }
}

impl Patterns {
    fn all() -> Self {
        Self {
            written: vec!["all".to_owned()],
            everything: vec![0],
            ..Self::default()
        }
    }

    /// With `widen`, a name also matches its equivalents in the catalogue.
    fn compile(key: &str, patterns: &[String], widen: bool, problems: &mut Vec<String>) -> Self {
        let mut compiled = Self {
            written: patterns.to_vec(),
            ..Self::default()
        };
        let mut globs = GlobSetBuilder::new();
        let mut regexes = Vec::new();
        for (place, pattern) in patterns.iter().enumerate() {
            let mut problem = |why: &str| problems.push(format!("select.{key}: {pattern:?} {why}"));
            match form(pattern.trim()) {
                Form::All => compiled.everything.push(place),
                Form::Exact("") | Form::Glob("") | Form::Regex("") => {
                    problem("is empty; write `all` for everything");
                }
                Form::Exact(name) if name.contains(char::is_whitespace) => {
                    problem("holds white space, which no metric name does; write one pattern per entry");
                }
                Form::Exact(name) if widen => {
                    compiled
                        .names
                        .extend(equivalents(name).into_iter().map(|name| (name, place)));
                }
                Form::Exact(name) => compiled.names.push((name.to_owned(), place)),
                Form::Glob(glob) => match GlobBuilder::new(glob).literal_separator(false).build() {
                    Ok(glob) => {
                        globs.add(glob);
                        compiled.glob_places.push(place);
                    }
                    Err(error) => problem(&format!("is not a glob: {}", error.kind())),
                },
                // Checked one by one, since the set does not report which of its patterns is invalid.
                Form::Regex(regex) => match regex::Regex::new(regex) {
                    Ok(_) => {
                        regexes.push(format!("^(?:{regex})$"));
                        compiled.regex_places.push(place);
                    }
                    Err(error) => {
                        let text = error.to_string();
                        let last_line = text
                            .lines()
                            .last()
                            .unwrap_or_default()
                            .trim_start_matches("error: ");
                        problem(&format!("is not a regular expression: {last_line}"));
                    }
                },
            }
        }
        compiled.name_set = compiled.names.iter().map(|(name, _)| name.clone()).collect();
        match (globs.build(), RegexSet::new(&regexes)) {
            (Ok(globs), Ok(regexes)) => (compiled.globs, compiled.regexes) = (globs, regexes),
            // Each is valid by itself, so together they are too many or too large.
            (Err(error), _) => {
                problems.push(format!("select.{key}: the globs together are refused: {error}"));
            }
            (_, Err(error)) => {
                problems.push(format!(
                    "select.{key}: the regular expressions together are refused: {error}"
                ));
            }
        }
        compiled
    }

    fn fit(&self, family: &str, sample: &str) -> bool {
        let fits = |name: &str| {
            self.name_set.contains(name) || self.globs.is_match(name) || self.regexes.is_match(name)
        };
        !self.everything.is_empty() || fits(sample) || (family != sample && fits(family))
    }

    /// Returns the positions of all patterns that match.
    fn which(&self, family: &str, sample: &str) -> Vec<usize> {
        let mut places = self.everything.clone();
        for name in [family, sample] {
            places.extend(
                self.names
                    .iter()
                    .filter(|(n, _)| n == name)
                    .map(|(_, place)| *place),
            );
            places.extend(self.globs.matches(name).into_iter().map(|i| self.glob_places[i]));
            places.extend(
                self.regexes
                    .matches(name)
                    .into_iter()
                    .map(|i| self.regex_places[i]),
            );
        }
        places
    }
}

/// Returns the name itself and the names under which other servers export the same metric.
fn equivalents(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    if let Some(promised) = catalog::promised(name) {
        for source in promised.metrics() {
            names.extend(equivalents(source));
        }
    }
    // A name with the suffix of a single sample selects that sample, not its family.
    if let Some(entry) =
        catalog::vllm_entry(name).filter(|e| e.name == name || e.name == format!("{name}_total"))
    {
        let same = |other: &&catalog::Entry| other.name == entry.name || other.now == Some(entry.name);
        for other in catalog::vllm_entries().iter().filter(same) {
            names.push(other.name.to_owned());
            // OpenMetrics and older client libraries name the family without the suffix.
            names.extend(other.name.strip_suffix("_total").map(str::to_owned));
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(include: &[&str], exclude: &[&str]) -> Selector {
        let owned = |patterns: &[&str]| patterns.iter().map(|&p| p.to_owned()).collect();
        SelectionConfig {
            include: owned(include),
            exclude: owned(exclude),
        }
        .resolve()
        .expect("patterns are right")
    }

    #[track_caller]
    fn check(include: &[&str], exclude: &[&str], sample: &str, expected: bool) {
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|s| sample.strip_suffix(s))
            .unwrap_or(sample);
        assert_eq!(
            selector(include, exclude).selects(family, sample),
            expected,
            "{include:?} {exclude:?} {sample}"
        );
    }

    #[test]
    fn exact_names_are_not_substrings() {
        check(
            &["vllm:num_requests_waiting"],
            &[],
            "vllm:num_requests_waiting",
            true,
        );
        check(
            &["vllm:num_requests_waiting"],
            &[],
            "vllm:num_requests_waiting_by_reason",
            false,
        );
        check(&["num_requests_waiting"], &[], "vllm:num_requests_waiting", false);
        check(&["exact:a*"], &[], "a*", true);
        check(&["exact:a*"], &[], "ab", false);
    }

    #[test]
    fn a_family_brings_its_samples_and_a_sample_only_itself() {
        check(
            &["vllm:e2e_request_latency_seconds"],
            &[],
            "vllm:e2e_request_latency_seconds_bucket",
            true,
        );
        check(
            &["vllm:e2e_request_latency_seconds_count"],
            &[],
            "vllm:e2e_request_latency_seconds_count",
            true,
        );
        check(
            &["vllm:e2e_request_latency_seconds_count"],
            &[],
            "vllm:e2e_request_latency_seconds_bucket",
            false,
        );
        check(
            &["all"],
            &["vllm:e2e_request_latency_seconds"],
            "vllm:e2e_request_latency_seconds_sum",
            false,
        );
        check(
            &["all"],
            &["*_bucket"],
            "vllm:e2e_request_latency_seconds_sum",
            true,
        );
        check(
            &["all"],
            &["*_bucket"],
            "vllm:e2e_request_latency_seconds_bucket",
            false,
        );
    }

    #[test]
    fn globs_and_regular_expressions_fit_the_whole_name() {
        check(
            &["vllm:*_seconds"],
            &[],
            "vllm:request_queue_time_seconds_bucket",
            true,
        );
        check(&["vllm:*_seconds"], &[], "http_request_duration_seconds", false);
        check(&["{node,go}_*"], &[], "go_goroutines", true);
        check(
            &["vllm:num_requests_[rw]*"],
            &[],
            "vllm:num_requests_running",
            true,
        );
        check(&["glob:plain"], &[], "plainer", false);
        check(
            &["re:vllm:(prompt|generation)_tokens(_total)?"],
            &[],
            "vllm:prompt_tokens_total",
            true,
        );
        check(&["re:prompt_tokens"], &[], "vllm:prompt_tokens_total", false);
        check(&["re:a|b"], &[], "ab", false);
    }

    #[test]
    fn everything_less_what_is_excluded() {
        check(&[], &[], "anything", true);
        check(&["*"], &["python_*", "re:go_.*"], "go_goroutines", false);
        check(
            &["vllm:num_requests_running"],
            &["vllm:*"],
            "vllm:num_requests_running",
            false,
        );
    }

    #[test]
    fn exact_names_know_the_catalogue() {
        check(
            &["vllm:kv_cache_usage_perc"],
            &[],
            "vllm:gpu_cache_usage_perc",
            true,
        );
        check(
            &["vllm:inter_token_latency_seconds"],
            &[],
            "vllm:time_per_output_token_seconds_bucket",
            true,
        );
        check(
            &["vllm:inter_token_latency_seconds"],
            &[],
            "vllm:request_time_per_output_token_seconds_sum",
            false,
        );
        check(&["vllm:prompt_tokens"], &[], "vllm:prompt_tokens_total", true);
        check(&["vllm:gpu_utilization"], &[], "DCGM_FI_DEV_GPU_UTIL", true);
        check(
            &["vllm:request_latency"],
            &[],
            "vllm:e2e_request_latency_seconds_sum",
            true,
        );
        check(
            &["all"],
            &["vllm:kv_cache_usage_perc"],
            "vllm:gpu_cache_usage_perc",
            true,
        );
    }

    #[test]
    fn unused_patterns_are_told() {
        let selector = selector(
            &["vllm:*", "node_load1", "re:x+", "vllm:kv_cache_usage_perc"],
            &[],
        );
        let seen = [("vllm:gpu_cache_usage_perc", "vllm:gpu_cache_usage_perc")];
        assert_eq!(selector.unused(seen), ["node_load1", "re:x+"]);
        assert!(Selector::all().unused([("a", "a")]).is_empty());
    }

    #[test]
    fn every_wrong_pattern_is_told_at_once() {
        let config = SelectionConfig {
            include: vec!["re:(".into(), "a b".into(), "vllm:[".into()],
            exclude: vec![String::new()],
        };
        let Err(Error::Config { problems }) = config.resolve() else {
            panic!("four patterns are wrong")
        };
        assert_eq!(problems.len(), 4, "{problems:#?}");
        assert!(
            problems[0].starts_with("select.include: \"re:(\" is not a regular expression: unclosed group")
        );
        assert!(problems[3].starts_with("select.exclude: \"\" is empty"));
    }
}
