//! Partial scrapes. Most of a scrape's cost to the server is rendering the page: a vLLM spends milliseconds
//! of its API process on the whole page and a tenth of that on the few series that change within a second.
//! Its client library renders only the names in `name[]=…` of the query, so scrapes at short intervals
//! request only those.

use std::collections::BTreeSet;
use std::time::Duration;

use exposition::{Event, Format, Parser};
use url::Url;

use crate::config::Endpoint;
use crate::scrape::ScrapeError;
use crate::select::Selector;

/// How much of the page a scrape requests.
#[derive(Debug, Clone, Copy)]
pub(super) enum Extent<'a> {
    /// The whole page.
    Full,
    /// The names in this URL.
    Part(&'a Url),
}

impl Extent<'_> {
    /// The URL to request, if it is not the endpoint's own.
    pub(super) fn url(&self) -> Option<&Url> {
        match self {
            Self::Full => None,
            Self::Part(url) => Some(url),
        }
    }
}

/// Whether and how parts of one endpoint's page are requested.
#[derive(Debug)]
pub(super) struct Partial {
    full_url: Url,
    names: Vec<String>,
    interval: Duration,
    full_interval: Duration,
    last_full_ns: i64,
    /// Those of `names` that the page contains.
    asked: BTreeSet<String>,
    /// URL spellings still to be tried, the next one last; only the working one once it is known.
    urls: Vec<Url>,
    works: bool,
}

impl Partial {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        Self {
            full_url: endpoint.url.clone(),
            names: endpoint.partial.clone(),
            interval: endpoint.interval,
            full_interval: endpoint.full_interval,
            last_full_ns: i64::MIN,
            asked: BTreeSet::new(),
            urls: Vec::new(),
            works: false,
        }
    }

    /// Learns from the names of the first whole page which of them can be requested.
    pub(super) fn learn(&mut self, page: &BTreeSet<(String, String)>, selector: &Selector) {
        if self.interval >= self.full_interval {
            return;
        }
        self.asked = page
            .iter()
            .filter(|(family, sample)| self.names.contains(sample) && selector.selects(family, sample))
            .map(|(_, sample)| sample.clone())
            .collect();
        if self.asked.is_empty() {
            return;
        }
        let asking = |path: &str| {
            let mut url = self.full_url.clone();
            url.set_path(path);
            url.query_pairs_mut()
                .extend_pairs(self.asked.iter().map(|name| ("name[]", name)));
            url
        };
        let path = self.full_url.path();
        self.urls = vec![asking(path)];
        if !path.ends_with('/') {
            // vLLM answers /metrics itself and leaves /metrics/ to its client library, which reads the query.
            self.urls.push(asking(&format!("{path}/")));
        }
    }

    /// Returns the URL of a part if no whole page is due yet.
    pub(super) fn due(&self, now_ns: i64) -> Option<Url> {
        let since = u64::try_from(now_ns.saturating_sub(self.last_full_ns)).unwrap_or(u64::MAX);
        // Half an interval early is closer than half an interval late.
        if Duration::from_nanos(since) + self.interval / 2 >= self.full_interval {
            return None;
        }
        self.urls.last().cloned()
    }

    /// Records that a whole page was read at this time.
    pub(super) fn full_read(&mut self, at_ns: i64) {
        self.last_full_ns = at_ns;
    }

    /// Checks once that the server's answer contains everything requested and nothing else.
    ///
    /// # Errors
    /// A description of what the answer contains instead.
    pub(super) fn judge(&mut self, body: &[u8], format: Format) -> Result<(), String> {
        if self.works {
            return Ok(());
        }
        let mut missing = self.asked.clone();
        for event in Parser::new(body, format) {
            if let Event::Sample(sample) = event {
                let name = sample.name.text();
                if !self.asked.contains(name.as_ref()) {
                    return Err(format!("{name} was not asked for"));
                }
                missing.remove(name.as_ref());
            }
        }
        if let Some(name) = missing.first() {
            return Err(format!("{name} was asked for and is missing"));
        }
        self.works = true;
        // The one just requested is the last.
        let others = self.urls.len().saturating_sub(1);
        self.urls.drain(..others);
        Ok(())
    }

    /// Gives up this URL spelling if `error` shows that the server does not support it, as opposed to being
    /// unreachable or busy. A spelling that has worked once is never given up.
    pub(super) fn refused(&mut self, url: &Url, error: &ScrapeError) -> bool {
        let misunderstood = match error {
            ScrapeError::WrongContent(_) => true,
            ScrapeError::TooLarge(_) | ScrapeError::Status(400..=499) => !self.works,
            _ => false,
        };
        if misunderstood {
            self.urls.retain(|candidate| candidate != url);
            self.works = false;
        }
        misunderstood
    }

    /// True once no spelling is left and every scrape takes the whole page.
    pub(super) fn given_up(&self) -> bool {
        self.urls.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: &[u8] = b"# TYPE up gauge\nup 1\n";

    fn partial() -> Partial {
        let url = |text: &str| Url::parse(text).unwrap();
        Partial {
            full_url: url("http://h/metrics"),
            names: vec!["up".to_owned()],
            interval: Duration::from_millis(200),
            full_interval: Duration::from_secs(3600),
            last_full_ns: 0,
            asked: BTreeSet::from(["up".to_owned()]),
            urls: vec![
                url("http://h/metrics?name[]=up"),
                url("http://h/metrics/?name[]=up"),
            ],
            works: false,
        }
    }

    #[test]
    fn what_a_spelling_that_works_survives() {
        let mut partial = partial();
        let asked = partial.due(0).unwrap();
        assert_eq!(partial.judge(PART, Format::Text), Ok(()));
        // The other spelling is no longer tried.
        assert_eq!((partial.urls.len(), &partial.urls[0]), (1, &asked));
        for error in [
            ScrapeError::Status(503),
            ScrapeError::Status(404),
            ScrapeError::Cut,
            ScrapeError::Refused,
        ] {
            assert!(!partial.refused(&asked, &error), "{error}");
        }
        assert_eq!(partial.due(0), Some(asked.clone()));
        assert!(partial.refused(&asked, &ScrapeError::WrongContent(String::new())));
        assert!(partial.given_up());
    }

    #[test]
    fn what_a_new_spelling_does_not_survive() {
        let mut partial = partial();
        let first = partial.due(0).unwrap();
        for error in [ScrapeError::Status(503), ScrapeError::Cut] {
            assert!(!partial.refused(&first, &error), "{error}");
        }
        assert!(partial.refused(&first, &ScrapeError::Status(404)));
        let second = partial.due(0).unwrap();
        assert_ne!(first, second);
        assert!(partial.refused(&second, &ScrapeError::TooLarge(1)));
        assert!(partial.given_up() && partial.due(0).is_none());
    }
}
