//! Compares what a server exports with what its version is known to export.

use std::collections::BTreeSet;

use super::version::{Span, Version};
use super::vllm::{Entry, Presence, vllm_entries, vllm_entry};

/// Differences between a server's page and the catalogue, for names that begin with `vllm:`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Drift {
    /// The version compared with; `None` if the server did not report it.
    pub version: Option<Version>,
    /// The version is outside the range of the catalogue; it was compared with the nearest release.
    pub beyond_catalogue: bool,
    /// Unconditionally expected but absent under any name. Empty if the version is not known.
    pub missing: Vec<&'static Entry>,
    /// Present only under an older name, so that queries for the current name find nothing.
    pub renamed: Vec<Renamed>,
    /// Present but not expected.
    pub unexpected: Vec<Unexpected>,
}

/// A metric present only under an older name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Renamed {
    /// The exported metric.
    pub seen: &'static Entry,
    /// Its replacement in newer releases.
    pub now: &'static Entry,
}

/// A family that the catalogue does not expect from this version. It is recorded like any other.
#[derive(Debug, Clone, PartialEq)]
pub struct Unexpected {
    /// The name as seen, without sample suffixes if the family is known.
    pub name: String,
    /// Why it is not expected.
    pub why: Why,
}

/// Why a name is not expected.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Why {
    /// No known release exports it.
    Unknown,
    /// It was added in a later release.
    NotYet(Span),
    /// It should have been removed by this release.
    Gone(Span),
}

/// Compares names on a server's page (families or samples, in any order) with those of its version.
pub fn drift<'a>(version: Option<Version>, seen: impl IntoIterator<Item = &'a str>) -> Drift {
    let mut known: BTreeSet<&'static str> = BTreeSet::new();
    let mut unknown: BTreeSet<&str> = BTreeSet::new();
    for name in seen.into_iter().filter(|name| name.starts_with("vllm:")) {
        match vllm_entry(name) {
            Some(entry) => known.insert(entry.name),
            None => unknown.insert(family_of_unknown(name)),
        };
    }

    let nearest = version.map(|v| v.clamp(Version::OLDEST, Version::NEWEST));
    let entry = |name: &str| vllm_entry(name).expect("names in `known` come from the table");
    let renamed: Vec<Renamed> = known
        .iter()
        .map(|name| entry(name))
        .filter_map(|seen| {
            Some(Renamed {
                seen,
                now: entry(seen.now?),
            })
        })
        .filter(|Renamed { now, .. }| !known.contains(now.name))
        // A release without the new name is not expected to use it.
        .filter(|Renamed { now, .. }| nearest.is_none_or(|v| now.presence(v) != Presence::NotYet))
        .collect();

    let mut drift = Drift {
        version,
        beyond_catalogue: version != nearest,
        renamed,
        ..Drift::default()
    };
    if let Some(version) = nearest {
        drift.missing = vllm_entries()
            .iter()
            .filter(|entry| entry.presence(version) == Presence::Always && !known.contains(entry.name))
            .filter(|entry| !drift.renamed.iter().any(|renamed| renamed.now.name == entry.name))
            .collect();
        for entry in known.iter().map(|name| entry(name)) {
            let why = match entry.presence(version) {
                Presence::NotYet => Why::NotYet(entry.first),
                Presence::Gone => Why::Gone(entry.gone.expect("only an entry that goes can be gone")),
                _ => continue,
            };
            drift.unexpected.push(Unexpected {
                name: entry.name.to_owned(),
                why,
            });
        }
    }
    drift.unexpected.extend(unknown.iter().map(|name| Unexpected {
        name: (*name).to_owned(),
        why: Why::Unknown,
    }));
    drift
}

impl Drift {
    /// True if the page is what the catalogue expects.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.renamed.is_empty() && self.unexpected.is_empty()
    }

    /// One sentence per difference, for events and the report.
    pub fn sentences(&self) -> Vec<String> {
        let version = self
            .version
            .map_or_else(|| "this server".to_owned(), |v| format!("vLLM {v}"));
        let mut sentences = Vec::new();
        if self.beyond_catalogue {
            sentences.push(format!(
                "{version} is outside the catalogue ({} to {}) and was compared with the nearest release",
                Version::OLDEST,
                Version::NEWEST
            ));
        }
        for entry in &self.missing {
            sentences.push(format!(
                "{version} should export {} and does not: {}",
                entry.name, entry.meaning
            ));
        }
        for Renamed { seen, now } in &self.renamed {
            sentences.push(format!(
                "{version} exports {}, which newer releases call {}",
                seen.name, now.name
            ));
        }
        for Unexpected { name, why } in &self.unexpected {
            sentences.push(match why {
                Why::Unknown => {
                    format!("{version} exports {name}, which the catalogue does not know; it is recorded")
                }
                Why::NotYet(first) => {
                    format!("{version} exports {name}, known only since {first}; it is recorded")
                }
                Why::Gone(gone) => {
                    format!("{version} exports {name}, which went with {gone}; it is recorded")
                }
            });
        }
        sentences
    }
}

/// An unknown histogram counts as one difference, not three.
fn family_of_unknown(name: &str) -> &str {
    ["_bucket", "_sum", "_count", "_created"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names on a page of vLLM 0.32.
    fn page() -> Vec<&'static str> {
        const PAGE: &str = include_str!("../../../exposition/tests/fixtures/vllm-0.32.txt");
        PAGE.lines()
            .filter(|l| !l.starts_with('#'))
            .filter_map(|l| l.split(['{', ' ']).next())
            .collect()
    }

    #[test]
    fn a_recorded_page_of_0_32_does_not_drift() {
        let drift = drift(Some(Version::new(0, 32, 0)), page());
        assert!(drift.is_empty(), "{:#?}", drift.sentences());
    }

    #[test]
    fn differences_are_told_by_name() {
        let mut names = page();
        names.retain(|name| {
            !name.starts_with("vllm:kv_cache_usage_perc") && !name.contains("num_preemptions")
        });
        names.extend([
            "vllm:gpu_cache_usage_perc",
            "vllm:new_thing_bucket",
            "vllm:new_thing_sum",
            "other:thing",
        ]);
        let drift = drift(Some(Version::new(0, 32, 0)), names);
        let missing: Vec<_> = drift.missing.iter().map(|e| e.name).collect();
        // Added in or before 0.32: too uncertain to be reported missing.
        assert!(missing.contains(&"vllm:num_preemptions_total"), "{missing:?}");
        assert!(
            !missing.contains(&"vllm:kv_cache_usage_perc"),
            "it is there under its older name"
        );
        let renamed: Vec<_> = drift.renamed.iter().map(|r| (r.seen.name, r.now.name)).collect();
        assert_eq!(
            renamed,
            [("vllm:gpu_cache_usage_perc", "vllm:kv_cache_usage_perc")]
        );
        let unexpected: Vec<_> = drift.unexpected.iter().map(|u| u.name.as_str()).collect();
        assert_eq!(unexpected, ["vllm:gpu_cache_usage_perc", "vllm:new_thing"]);
        assert_eq!(drift.unexpected[1].why, Why::Unknown);
        let expected = missing.len() + 1 + 2;
        assert_eq!(drift.sentences().len(), expected);
    }

    #[test]
    fn an_old_server_is_held_to_its_own_version() {
        let names = [
            "vllm:gpu_cache_usage_perc",
            "vllm:time_per_output_token_seconds_bucket",
        ];
        let at_0_8 = drift(Some(Version::new(0, 8, 0)), names);
        assert_eq!((at_0_8.renamed.len(), at_0_8.unexpected.len()), (0, 0));
        assert!(
            at_0_8
                .missing
                .iter()
                .all(|e| e.presence(Version::new(0, 8, 0)) == Presence::Always)
        );
        let unknown_version = drift(None, names);
        assert_eq!(
            (unknown_version.renamed.len(), unknown_version.missing.len()),
            (2, 0)
        );
    }

    #[test]
    fn a_version_beyond_the_catalogue_is_said_to_be() {
        let newer = drift(Some(Version::new(0, 40, 0)), page());
        assert!(newer.beyond_catalogue && newer.is_empty());
        assert_eq!(newer.sentences().len(), 1);
    }
}
