//! Parts of a page. What a scrape costs a server is the rendering of its page: a vLLM spends milliseconds of its API
//! process on the whole one and a tenth of that on the few series that change within a second. Its client library
//! renders only what `name[]=…` in the query names, so that is what short intervals ask for between whole pages.

use std::collections::BTreeSet;
use std::time::Duration;

use exposition::{Event, Format, Parser};
use url::Url;

use crate::config::Endpoint;
use crate::scrape::ScrapeError;
use crate::select::Selector;

/// How much of the page a scrape asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Extent<'a> {
    /// All of it.
    Full,
    /// What this URL names.
    Part(&'a Url),
}

impl Extent<'_> {
    /// The URL to ask, where it is not the endpoint's own.
    pub(super) fn url(&self) -> Option<&Url> {
        match self {
            Self::Full => None,
            Self::Part(url) => Some(url),
        }
    }
}

/// Whether and how parts of one endpoint's page are asked for.
#[derive(Debug)]
pub(super) struct Partial {
    full_url: Url,
    names: Vec<String>,
    interval: Duration,
    full_interval: Duration,
    last_full_ns: i64,
    /// What the page holds of `names`.
    asked: BTreeSet<String>,
    /// Spellings of the question that are still to be tried, the next one last. Where one has worked, only that.
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

    /// From the names of the first whole page: what can be asked for.
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

    /// The URL of a part, when it is too soon for a whole page.
    pub(super) fn due(&self, now_ns: i64) -> Option<Url> {
        let since = u64::try_from(now_ns.saturating_sub(self.last_full_ns)).unwrap_or(u64::MAX);
        // Half an interval early is nearer than half an interval late.
        if Duration::from_nanos(since) + self.interval / 2 >= self.full_interval {
            return None;
        }
        self.urls.last().cloned()
    }

    /// A whole page was read that was taken at this time.
    pub(super) fn full_read(&mut self, at_ns: i64) {
        self.last_full_ns = at_ns;
    }

    /// Looks once at what a server makes of the question: all that was asked for and nothing else.
    ///
    /// # Errors
    /// What the answer holds instead.
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
        // The one that was asked is the last.
        let others = self.urls.len().saturating_sub(1);
        self.urls.drain(..others);
        Ok(())
    }

    /// Gives this spelling of the question up if `error` says that the server does not understand it, rather than
    /// that it cannot be reached or is busy. A spelling that has worked is understood, whatever status comes later.
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

    /// True once no spelling is left, and whole pages are all there is.
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
        // The other is not tried any more.
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
