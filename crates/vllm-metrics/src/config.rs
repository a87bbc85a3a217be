//! Session configuration, as written and as resolved. All problems are reported at once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::select::{SelectionConfig, Selector};
use run_model::ShownUrl;
use run_model::catalog::{NotAVersion, Version};
use run_model::{Error, Result};
use run_store::StoreFormat;

/// Default time between two scrapes of an endpoint.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest accepted interval.
pub const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// Upper bound of the default timeout of a scrape, which is also always shorter than the interval.
const MAX_DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Default time between two scrapes of a whole page.
const DEFAULT_FULL_INTERVAL: Duration = Duration::from_secs(1);
/// Default metrics of partial scrapes: few, because the server pays for rendering them. The list includes
/// names of older vLLM releases; only names that the page contains are requested.
pub const PARTIAL_NAMES: [&str; 10] = [
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:num_requests_swapped",
    "vllm:kv_cache_usage_perc",
    "vllm:gpu_cache_usage_perc",
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:num_preemptions_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
];

/// A text that is never printed: a token or header value.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text itself, for sending it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// One endpoint as written. Every key except `url` is optional.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EndpointConfig {
    /// URL to scrape. `/metrics` is added if there is no path, `http://` if there is no scheme.
    pub url: String,
    /// Labels added to every series of this endpoint. A scraped label of the same name is kept as `exported_NAME`.
    pub labels: BTreeMap<String, String>,
    /// Value of the `Authorization` header, for example `Bearer …`.
    pub authorization: Option<Secret>,
    /// Timeout of one scrape in seconds; shorter than the interval.
    pub timeout_secs: Option<f64>,
    /// Time between two scrapes in seconds, if it differs from the session's.
    pub interval_secs: Option<f64>,
    /// Time between two scrapes of the whole page in seconds; 1 by default. Scrapes in between request only
    /// `partial`, if the server supports it (vLLM does).
    pub full_interval_secs: Option<f64>,
    /// Metrics requested between two whole pages; by default the vLLM gauges and counters that change within
    /// a second ([`PARTIAL_NAMES`]). Empty: every scrape takes the whole page.
    pub partial: Option<Vec<String>>,
    /// Metrics to record; by default what the session selects, or everything.
    pub select: SelectionConfig,
    /// Version reported by the server (`0.32.0`). Its page is compared with what that version exports.
    pub server_version: Option<String>,
    /// Certificates (PEM) to trust in addition to the system's, for `https`.
    pub ca_file: Option<PathBuf>,
    /// Accepts any certificate: only for test clusters, never with a token that matters.
    pub insecure_skip_verify: Option<bool>,
    /// Names of which the page must contain at least one, else it is reported. Trailing `*` matches any
    /// suffix.
    pub expect: Vec<String>,
}

impl fmt::Debug for EndpointConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointConfig")
            .field("url", &ShownUrl::from_text(&self.url))
            .field("labels", &self.labels)
            .field("authorization", &self.authorization)
            .field("timeout_secs", &self.timeout_secs)
            .field("interval_secs", &self.interval_secs)
            .field("full_interval_secs", &self.full_interval_secs)
            .field("select", &self.select)
            .field("expect", &self.expect)
            .finish_non_exhaustive()
    }
}

impl EndpointConfig {
    /// Creates an endpoint at `url` with defaults for everything else.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ..Self::default()
        }
    }

    /// Adds a label to every series of this endpoint.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Sends `Authorization: Bearer TOKEN`.
    #[must_use]
    pub fn bearer(mut self, token: &str) -> Self {
        self.authorization = Some(Secret::new(format!("Bearer {token}")));
        self
    }

    /// Sets the timeout of one scrape.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout_secs = Some(timeout.as_secs_f64());
        self
    }

    /// Sets the time between two scrapes of this endpoint.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval_secs = Some(interval.as_secs_f64());
        self
    }

    /// Sets the time between two scrapes of the whole page; scrapes in between request only a part.
    #[must_use]
    pub fn full_interval(mut self, interval: Duration) -> Self {
        self.full_interval_secs = Some(interval.as_secs_f64());
        self
    }

    /// Sets the metrics requested between two whole pages; with none, every scrape takes the whole page.
    #[must_use]
    pub fn partial(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.partial = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Records only metrics that match one of these patterns (see [`crate::select`]).
    #[must_use]
    pub fn select(mut self, patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.select.include.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Excludes metrics that match one of these patterns.
    #[must_use]
    pub fn exclude(mut self, patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.select.exclude.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Sets the version that the server reported: its page is compared with what that version exports.
    #[must_use]
    pub fn server_version(mut self, version: impl Into<String>) -> Self {
        self.server_version = Some(version.into());
        self
    }

    /// Trusts the certificates in this PEM file in addition to the system's, for `https`.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Expects `name` on the page (a trailing `*` matches any suffix).
    #[must_use]
    pub fn expect(mut self, name: impl Into<String>) -> Self {
        self.expect.push(name.into());
        self
    }
}

/// A session as written: the content of a configuration file, filled in by the builder.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionConfig {
    /// Endpoints to scrape; may be empty for a session that uses only hooks and samplers.
    pub endpoints: Vec<EndpointConfig>,
    /// Time between two scrapes in seconds; default 1, minimum 0.01.
    pub interval_secs: Option<f64>,
    /// Folder of the run's files, created if missing. Default: `./metrics_output`.
    pub output_dir: Option<PathBuf>,
    /// File format: `parquet` (default), `json`, `csv`, `sqlite` or `prom`.
    pub format: Option<String>,
    /// Free-form facts kept with the run.
    pub facts: BTreeMap<String, String>,
    /// Whether the server or the GPUs are simulated; recorded in everything derived from the run.
    pub simulated: Option<bool>,
    /// Memory for records waiting to be written, in MiB; default 64.
    pub queue_mib: Option<u32>,
    /// Size of each calling thread's hook ring in KiB; default 2048, which holds a burst of 37,000 calls of
    /// 56 bytes each. The rings are emptied ten times a second.
    pub hook_ring_kib: Option<u32>,
    /// Maximum page size in MiB; default 64.
    pub body_limit_mib: Option<u32>,
    /// Metrics to record, for endpoints without a selection of their own.
    pub select: SelectionConfig,
    /// Whether every scrape writes an event that describes its result.
    pub debug: Option<bool>,
}

/// A resolved endpoint.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) url: Url,
    /// The URL without credentials, for display and storage.
    pub(crate) shown_url: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) authorization: Option<Secret>,
    pub(crate) timeout: Duration,
    pub(crate) interval: Duration,
    pub(crate) full_interval: Duration,
    pub(crate) partial: Vec<String>,
    pub(crate) expect: Vec<String>,
    pub(crate) tls: Tls,
    pub(crate) selector: Selector,
    pub(crate) server_version: Option<Version>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.shown_url)
            .finish_non_exhaustive()
    }
}

/// TLS trust settings of an `https` endpoint.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tls {
    /// PEM text of certificates to trust in addition to the system's.
    pub(crate) ca_pem: Option<Vec<u8>>,
    pub(crate) accept_any: bool,
}

/// A resolved session configuration.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) interval: Duration,
    pub(crate) output_dir: PathBuf,
    pub(crate) format: StoreFormat,
    pub(crate) facts: BTreeMap<String, String>,
    pub(crate) simulated: bool,
    pub(crate) queue_bytes: usize,
    pub(crate) hook_ring_words: usize,
    pub(crate) body_limit_bytes: usize,
    pub(crate) debug: bool,
}

impl SessionConfig {
    /// Reads a JSON object and rejects unknown keys. For other formats, use this type's `Deserialize`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the key and its position.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| Error::config(error.to_string()))
    }

    /// Checks the configuration as a start does: values, units, URLs and patterns, and it reads each `ca_file`. No
    /// server is contacted and nothing is written, so an endpoint that does not answer and a folder that cannot be
    /// written pass.
    ///
    /// # Errors
    /// [`Error::Config`] with every problem found, each with its key.
    pub fn check(&self) -> Result<()> {
        self.clone().resolve().map(drop)
    }

    pub(crate) fn resolve(self) -> Result<Resolved> {
        let mut problems = Vec::new();
        let interval = self
            .interval_secs
            .map_or(Ok(DEFAULT_INTERVAL), |secs| interval("interval_secs", secs))
            .unwrap_or_else(|problem| {
                problems.push(problem);
                DEFAULT_INTERVAL
            });
        let format = self
            .format
            .map_or(Ok(StoreFormat::default()), |word| word.parse())
            .unwrap_or_else(|error: run_store::UnknownFormat| {
                problems.push(format!("format: {error}"));
                StoreFormat::default()
            });
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for (index, endpoint) in self.endpoints.into_iter().enumerate() {
            match endpoint.resolve(index, interval, &self.select, &mut problems) {
                Some(endpoint) if endpoints.iter().any(|other| other.url == endpoint.url) => {
                    problems.push(format!(
                        "endpoints[{index}].url: {} is listed twice",
                        endpoint.shown_url
                    ));
                }
                Some(endpoint) => endpoints.push(endpoint),
                None => {}
            }
        }
        let size = |key: &str, value: Option<u32>, default: u32, unit: usize, problems: &mut Vec<String>| {
            let value = value.unwrap_or(default);
            if value == 0 {
                problems.push(format!("{key}: must be at least 1"));
            }
            value.max(1) as usize * unit
        };
        let queue_bytes = size("queue_mib", self.queue_mib, 64, 1 << 20, &mut problems);
        let ring_bytes = size("hook_ring_kib", self.hook_ring_kib, 2048, 1 << 10, &mut problems);
        let body_limit_bytes = size("body_limit_mib", self.body_limit_mib, 64, 1 << 20, &mut problems);
        if !problems.is_empty() {
            return Err(Error::Config { problems });
        }
        Ok(Resolved {
            endpoints,
            interval,
            output_dir: self.output_dir.unwrap_or_else(|| PathBuf::from("metrics_output")),
            format,
            facts: self.facts,
            simulated: self.simulated.unwrap_or(false),
            queue_bytes,
            hook_ring_words: ring_bytes / size_of::<u64>(),
            body_limit_bytes,
            debug: self.debug.unwrap_or(false),
        })
    }
}

impl EndpointConfig {
    fn resolve(
        self,
        index: usize,
        session: Duration,
        select: &SelectionConfig,
        problems: &mut Vec<String>,
    ) -> Option<Endpoint> {
        let key = |name: &str| format!("endpoints[{index}].{name}");
        let url = match endpoint_url(&self.url) {
            Ok(url) => Some(url),
            Err(problem) => {
                problems.push(format!("{}: {problem}", key("url")));
                None
            }
        };
        let interval = match self
            .interval_secs
            .map(|secs| interval(&key("interval_secs"), secs))
        {
            None => session,
            Some(Ok(interval)) => interval,
            Some(Err(problem)) => {
                problems.push(problem);
                session
            }
        };
        let full_interval = match self
            .full_interval_secs
            .map(|secs| self::interval(&key("full_interval_secs"), secs))
        {
            None => DEFAULT_FULL_INTERVAL,
            Some(Ok(full)) => full,
            Some(Err(problem)) => {
                problems.push(problem);
                DEFAULT_FULL_INTERVAL
            }
        };
        let partial = self
            .partial
            .unwrap_or_else(|| PARTIAL_NAMES.map(str::to_owned).to_vec());
        let default_timeout = interval.mul_f64(0.9).min(MAX_DEFAULT_TIMEOUT);
        let timeout = match self.timeout_secs {
            None => default_timeout,
            Some(secs) => match Duration::try_from_secs_f64(secs) {
                Ok(timeout) if !timeout.is_zero() && timeout < interval => timeout,
                _ => {
                    problems.push(format!(
                        "{}: {secs} is not between 0 and the interval of {}",
                        key("timeout_secs"),
                        duration_text::Shown(interval)
                    ));
                    default_timeout
                }
            },
        };
        for name in self.labels.keys() {
            if !is_label_name(name) {
                problems.push(format!("{}: {name:?} is not a label name", key("labels")));
            }
        }
        let ca_pem = self.ca_file.as_ref().and_then(|path| match std::fs::read(path) {
            Ok(pem) => Some(pem),
            Err(error) => {
                problems.push(format!(
                    "{}: cannot read {}: {error}",
                    key("ca_file"),
                    path.display()
                ));
                None
            }
        });
        let tls = Tls {
            ca_pem,
            accept_any: self.insecure_skip_verify.unwrap_or(false),
        };
        if url.as_ref().is_some_and(|url| url.scheme() != "https") && (tls.ca_pem.is_some() || tls.accept_any)
        {
            problems.push(format!("{}: certificates are for https only", key("url")));
        }
        let select = if self.select == SelectionConfig::default() {
            select
        } else {
            &self.select
        };
        let selector = select.resolve().unwrap_or_else(|error| {
            problems.push(format!("{}: {error}", key("select")));
            Selector::all()
        });
        let server_version = self.server_version.and_then(|text| {
            let version = text.parse();
            version
                .map_err(|error: NotAVersion| problems.push(format!("{}: {error}", key("server_version"))))
                .ok()
        });
        let url = url?;
        Some(Endpoint {
            shown_url: ShownUrl::new(&url).into(),
            url,
            labels: self.labels,
            authorization: self.authorization,
            timeout,
            interval,
            full_interval,
            partial,
            expect: self.expect,
            tls,
            selector,
            server_version,
        })
    }
}

/// Parses `text` as an endpoint's URL, adding `http://` and `/metrics` if they are missing.
pub(crate) fn endpoint_url(text: &str) -> Result<Url, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("is empty".into());
    }
    let shown = ShownUrl::from_text(text);
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let mut url = Url::parse(&full).map_err(|error| format!("{shown:?} is not a URL: {error}"))?;
    match url.scheme() {
        "http" => {}
        "https" if cfg!(feature = "tls") => {}
        "https" => {
            return Err(format!(
                "{shown}: this build has no TLS; build with `--features tls`, or use http:// (a local proxy can add TLS)"
            ));
        }
        other => return Err(format!("{shown}: the scheme {other} is not http or https")),
    }
    if url.path() == "/" {
        url.set_path("/metrics");
    }
    url.set_fragment(None);
    Ok(url)
}

fn interval(key: &str, secs: f64) -> Result<Duration, String> {
    match Duration::try_from_secs_f64(secs) {
        Ok(interval) if interval >= MIN_INTERVAL && secs <= 86_400.0 => Ok(interval),
        _ => Err(format!("{key}: {secs} is not between 0.01 and 86400 seconds")),
    }
}

fn is_label_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name != "le"
        && name != "quantile"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(config: SessionConfig) -> Vec<String> {
        match config.resolve() {
            Err(Error::Config { problems }) => problems,
            other => panic!("expected problems, got {other:?}"),
        }
    }

    #[test]
    fn urls_are_completed_and_checked() {
        let check = |text: &str, expected: &str| assert_eq!(endpoint_url(text).unwrap().as_str(), expected);
        check("http://a:8000", "http://a:8000/metrics");
        check("a:8000", "http://a:8000/metrics");
        check("http://a/custom?x=1", "http://a/custom?x=1");
        check("[::1]:9400/", "http://[::1]:9400/metrics");
        assert!(endpoint_url("ftp://a").is_err());
        assert!(endpoint_url("").is_err());
        assert!(endpoint_url("http://").is_err());
    }

    #[test]
    fn credentials_are_not_shown() {
        let endpoint = EndpointConfig::new("http://user:canary@a/metrics?token=canary").bearer("canary");
        assert!(!format!("{endpoint:?}").contains("canary"), "{endpoint:?}");
        for url in [
            "http://user:canary@a:x/?canary",
            "ftp://user:canary@a/?canary",
            "user:canary@a:b:c",
        ] {
            let told = problems(SessionConfig {
                endpoints: vec![EndpointConfig::new(url)],
                ..SessionConfig::default()
            });
            assert!(!told[0].contains("canary"), "{told:?}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let told = problems(SessionConfig {
            interval_secs: Some(0.001),
            format: Some("xls".into()),
            queue_mib: Some(0),
            endpoints: vec![
                EndpointConfig::new("a")
                    .timeout(Duration::from_secs(2))
                    .label("0x", ""),
                EndpointConfig::new("http://a/metrics"),
                EndpointConfig::new("gopher://a"),
            ],
            ..SessionConfig::default()
        });
        assert_eq!(told.len(), 7, "{told:#?}");
    }

    #[test]
    fn the_timeout_is_below_the_interval() {
        let config = SessionConfig {
            interval_secs: Some(0.01),
            endpoints: vec![
                EndpointConfig::new("a"),
                EndpointConfig::new("b").interval(Duration::from_secs(60)),
            ],
            ..SessionConfig::default()
        };
        let resolved = config.resolve().unwrap();
        assert_eq!(resolved.endpoints[0].timeout, Duration::from_millis(9));
        assert_eq!(resolved.endpoints[1].timeout, Duration::from_secs(5));
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(SessionConfig::from_json(r#"{"intervall_secs": 1}"#).is_err());
        assert!(SessionConfig::from_json(r#"{"interval_secs": 0.5, "endpoints": [{"url": "a"}]}"#).is_ok());
    }
}
