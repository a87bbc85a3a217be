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
        Ok(())
    }

    /// Gives this spelling of the question up if `error` says that the server does not understand it, rather than
    /// that it cannot be reached.
    pub(super) fn refused(&mut self, url: &Url, error: &ScrapeError) -> bool {
        let misunderstood = matches!(
            error,
            ScrapeError::Status(_) | ScrapeError::WrongContent(_) | ScrapeError::TooLarge(_)
        );
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
