//! Versions of vLLM, and version ranges of changes that are only roughly known.

use std::fmt;
use std::str::FromStr;

/// A release of vLLM. Pre-releases and builds count as the release they precede.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// The oldest release in the catalogue.
    pub const OLDEST: Self = Self::new(0, 6, 0);
    /// The newest release in the catalogue.
    pub const NEWEST: Self = Self::new(0, 32, u32::MAX);

    /// `major.minor.patch`.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch } = *self;
        if patch == u32::MAX {
            write!(f, "{major}.{minor}.x")
        } else {
            write!(f, "{major}.{minor}.{patch}")
        }
    }
}

/// The text does not begin with `major.minor`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a version of the form 0.32.0")]
pub struct NotAVersion(String);

impl FromStr for Version {
    type Err = NotAVersion;

    /// Parses the version in a server's `/version`: `0.32.0`, `v0.11.0rc2.dev17+gabc`, `0.6.4.post1`.
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let mut parts = text.trim().trim_start_matches('v').split('.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse::<u32>().ok()
        });
        match (
            parts.next().flatten(),
            parts.next().flatten(),
            parts.next().flatten(),
        ) {
            (Some(major), Some(minor), patch) => Ok(Self::new(major, minor, patch.unwrap_or(0))),
            _ => Err(NotAVersion(text.to_owned())),
        }
    }
}

/// A change between releases, known only within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first release that may have the change.
    pub earliest: Version,
    /// The first release that certainly has it.
    pub latest: Version,
}

impl FromStr for Span {
    type Err = NotAVersion;

    /// Parses `0.10.2..0.12`, or a single version.
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let (earliest, latest) = text.split_once("..").unwrap_or((text, text));
        Ok(Self {
            earliest: earliest.parse()?,
            latest: latest.parse()?,
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.earliest == self.latest {
            write!(f, "{}", self.earliest)
        } else {
            write!(f, "{} to {}", self.earliest, self.latest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_servers_tell_them() {
        for (text, expected) in [
            ("0.32.0", Some((0, 32, 0))),
            ("v0.11.0rc2.dev17+gabc", Some((0, 11, 0))),
            ("0.6.4.post1", Some((0, 6, 4))),
            ("0.9", Some((0, 9, 0))),
            (" 1.2.3\n", Some((1, 2, 3))),
            ("main", None),
            ("", None),
        ] {
            let expected = expected.map(|(major, minor, patch)| Version::new(major, minor, patch));
            assert_eq!(text.parse().ok(), expected, "{text:?}");
        }
        assert!(Version::new(0, 9, 2) < Version::new(0, 10, 0));
    }

    #[test]
    fn spans() {
        let span: Span = "0.9.1..0.10".parse().unwrap();
        assert_eq!(span.to_string(), "0.9.1 to 0.10.0");
        let span: Span = "0.6".parse().unwrap();
        assert_eq!(span.to_string(), "0.6.0");
    }
}
