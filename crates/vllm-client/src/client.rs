//! The client of one server: posts a prepared body and turns the answer into a completion or a named failure.

use std::error::Error as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Request, Response};
use url::Url;

use crate::answer::{Completion, FirstToken, Remark};
use crate::completion::{CompletionAssembler, Expected};
use crate::config::ClientConfig;
use crate::error::{ControlError, Received, StreamError, TimeoutKind};
use crate::secrets::redact_url;
use crate::sse::{EventSplitter, SplitError};

/// How long an idle connection is kept.
const MOST_IDLE: Duration = Duration::from_secs(4);
/// How long to wait for the end of the body after the end mark, so that the connection can be reused.
const DRAIN: Duration = Duration::from_millis(200);
/// Bytes of an error answer that are kept.
const BODY_EXCERPT: usize = 512;

/// Talks to one server. Cloning is cheap and shares the connection pool.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) http: reqwest::Client,
    /// Keeps no connections: used for a retry after a kept connection had been closed.
    fresh: reqwest::Client,
    /// Times at which kept connections were returned to the pool, newest last: the pool reuses the newest
    /// first.
    kept: Arc<Mutex<Vec<Instant>>>,
    /// Kinds of remarks that have been logged.
    warned: Arc<Mutex<Vec<&'static str>>>,
    /// Tokens received in streams.
    streamed: Arc<AtomicU64>,
    pub(crate) base: Url,
    completions: Url,
    /// The base URL as shown in errors.
    pub(crate) shown: String,
    pub(crate) config: ClientConfig,
}

impl Client {
    /// Checks the configuration and sets up the connection pool. Does not connect yet.
    ///
    /// # Errors
    /// [`ControlError::BadUrl`] or [`ControlError::BadSetting`].
    pub fn new(config: ClientConfig) -> Result<Self, ControlError> {
        let base = parse_base(&config.base_url)?;
        let shown = base.as_str().trim_end_matches('/').to_owned();
        let mut headers = HeaderMap::new();
        if let Some(key) = &config.api_key {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose())).map_err(|_| {
                ControlError::BadSetting {
                    key: "api_key",
                    reason: "it has characters that a header cannot carry".to_owned(),
                }
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let make = |pool_size| {
            with_certificates(reqwest::Client::builder(), &config)?
                .http1_only()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .connect_timeout(config.timeouts.connect)
                .pool_max_idle_per_host(pool_size)
                // Servers close idle connections after a few seconds (uvicorn: 5). Closing them earlier
                // ourselves avoids sending requests into a connection that is being closed.
                .pool_idle_timeout(MOST_IDLE)
                .tcp_nodelay(true)
                .default_headers(headers.clone())
                .build()
                .map_err(|e| ControlError::BadSetting {
                    key: "client",
                    reason: chain(&e),
                })
        };
        let (http, fresh) = (make(config.pool_size)?, make(0)?);
        let completions = join(&base, "v1/completions");
        Ok(Self {
            http,
            fresh,
            kept: Arc::default(),
            warned: Arc::default(),
            streamed: Arc::default(),
            base,
            completions,
            shown,
            config,
        })
    }

    /// Tokens received in streams so far, including those of answers that are not complete.
    pub fn streamed_tokens(&self) -> u64 {
        self.streamed.load(Ordering::Relaxed)
    }

    /// The server's base URL, without a trailing slash.
    pub fn url(&self) -> &str {
        &self.shown
    }

    /// Posts a streaming body to `/v1/completions` and reads the answer to its end.
    ///
    /// `on_first` is called at most once, immediately, when the first chunk with a token arrives: after the
    /// clock was read and before the answer is processed any further. Dropping the future aborts the request.
    ///
    /// If the server had closed a kept connection before it answered, the request is sent again once, at
    /// once, on a new connection, and the completion has [`Remark::SentAgain`](crate::Remark::SentAgain).
    /// Nothing else is retried here.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub async fn complete(
        &self,
        body: Bytes,
        on_first: impl FnOnce(FirstToken),
    ) -> Result<Completion, StreamError> {
        self.stream(Instant::now(), self.request(body), on_first).await
    }

    /// Like [`Client::complete`], with `request_id` as the `X-Request-Id` header, so that the server's log
    /// and this client's rows can be joined. It is omitted if it has characters that a header cannot carry.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub async fn complete_as(
        &self,
        request_id: &str,
        body: Bytes,
        on_first: impl FnOnce(FirstToken),
    ) -> Result<Completion, StreamError> {
        self.complete_since(Instant::now(), request_id, body, on_first)
            .await
    }

    /// As [`Client::complete_as`], with the limit of the whole request counted from `begun_at`.
    pub(crate) async fn complete_since(
        &self,
        begun_at: Instant,
        request_id: &str,
        body: Bytes,
        on_first: impl FnOnce(FirstToken),
    ) -> Result<Completion, StreamError> {
        let mut request = self.request(body);
        if let Ok(id) = HeaderValue::from_str(request_id) {
            request.headers_mut().insert("x-request-id", id);
        }
        self.stream(begun_at, request, on_first).await
    }

    async fn stream(
        &self,
        begun_at: Instant,
        request: Request,
        on_first: impl FnOnce(FirstToken),
    ) -> Result<Completion, StreamError> {
        let sent_at = Instant::now();
        let expected = Expected::of(
            request
                .body()
                .and_then(|body| body.as_bytes())
                .unwrap_or_default(),
        );
        let mut assembler = CompletionAssembler::new(self.config.keep_text, expected);
        let mut splitter = EventSplitter::default();
        let mut on_first = Some(on_first);
        let mut watch = Watch::new(&self.config, begun_at, sent_at);
        let sleep = tokio::time::sleep_until(watch.next_check().into());
        tokio::pin!(sleep);

        let sending = self.send(request);
        tokio::pin!(sending);
        let mut response = loop {
            tokio::select! {
                biased;
                sent = &mut sending => {
                    let (response, again) = sent.map_err(|e| self.send_error(&e))?;
                    if again {
                        assembler.sent_again();
                    }
                    break response;
                }
                () = &mut sleep => {
                    watch.check(Received::default())?;
                    sleep.as_mut().reset(watch.next_check().into());
                }
            }
        };
        if response.status() != 200 {
            return Err(self.status_error(response).await);
        }
        if !is_event_stream(&response) {
            let head = self.body_excerpt(response).await;
            return Err(assembler.malformed("the content type is not text/event-stream", head.as_bytes()));
        }

        let mut counted = 0;
        let finished_at = loop {
            let piece = tokio::select! {
                biased;
                piece = response.chunk() => piece.map_err(|e| self.broken(&e, assembler.received()))?,
                () = &mut sleep => {
                    watch.check(assembler.received())?;
                    sleep.as_mut().reset(watch.next_check().into());
                    continue;
                }
            };
            let at = Instant::now();
            let Some(piece) = piece else {
                let rest = splitter.pending();
                assembler.ends_with(rest);
                if assembler.done() {
                    break at;
                }
                // A clean end in the middle of an event is a truncated stream.
                return Err(StreamError::Truncated {
                    received: assembler.received(),
                })
                .inspect_err(|_| tracing::debug!(rest = %crate::error::excerpt(rest), "stream ended early"));
            };
            let cut: Result<(), EventError> = splitter.feed(&piece, |event| {
                if let Some(first) = assembler.event(event, at)?
                    && let Some(call) = on_first.take()
                {
                    call(first);
                }
                Ok(())
            });
            match cut {
                Ok(()) => {}
                Err(EventError::Stream(error)) => return Err(*error),
                Err(EventError::Cut(error)) => return Err(assembler.cut_error(error)),
            }
            let tokens = assembler.received().tokens;
            self.streamed
                .fetch_add((tokens - counted) as u64, Ordering::Relaxed);
            counted = tokens;
            if watch.progress(&assembler, at) {
                // The limit between chunks may be earlier than the timer's deadline; later the deadline only
                // moves forward, so this is needed once.
                sleep.as_mut().reset(watch.next_check().into());
            }
            if assembler.done() {
                break at;
            }
        };
        // Read the end of the body, so that the connection returns to the pool, by the same rules as before:
        // the result must not depend on TCP segmentation. A server that does not end the body costs a
        // connection, not the request.
        let drained = tokio::time::timeout(DRAIN, async {
            while let Ok(Some(rest)) = response.chunk().await {
                let at = Instant::now();
                let cut: Result<(), EventError> =
                    splitter.feed(&rest, |event| Ok(assembler.event(event, at).map(drop)?));
                cut?;
            }
            Ok(())
        })
        .await;
        match drained {
            Ok(Ok(())) => self.keeps_connection(),
            Ok(Err(EventError::Stream(error))) => return Err(*error),
            Ok(Err(EventError::Cut(error))) => return Err(assembler.cut_error(error)),
            Err(_) => {
                tracing::debug!(url = %self.shown, "the body did not end after its end mark; the connection is dropped");
            }
        }
        let completion = assembler.into_completion(self.config.token_policy, sent_at, finished_at)?;
        self.warn_once(&completion.remarks);
        Ok(completion)
    }

    /// Logs the first remark of each kind; all remarks are on their completions.
    fn warn_once(&self, remarks: &[Remark]) {
        for remark in remarks {
            let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
            if !warned.contains(&remark.kind()) {
                warned.push(remark.kind());
                drop(warned);
                tracing::warn!(url = %self.shown, kind = remark.kind(), "{remark}; further answers like this are not logged");
            }
        }
    }

    /// Sends a request; sends it again on a new connection if it broke before any byte of an answer and a
    /// kept connection may have been used. True if it was sent twice.
    pub(crate) async fn send(&self, request: Request) -> reqwest::Result<(Response, bool)> {
        let again = self.takes_kept().then(|| request.try_clone()).flatten();
        match self.http.execute(request).await {
            Ok(response) => Ok((response, false)),
            Err(error)
                if error.is_request()
                    && !error.is_connect()
                    && !error.is_timeout()
                    && !is_not_http(&error) =>
            {
                let Some(again) = again else {
                    return Err(error);
                };
                tracing::debug!(url = %self.shown, "a kept connection was closed; sending the request again");
                match self.fresh.execute(again).await {
                    Ok(response) => Ok((response, true)),
                    // The server is gone. The broken first attempt is the more useful error: the server may
                    // have worked on it.
                    Err(second) if second.is_connect() => Err(error),
                    Err(second) => Err(second),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Records that a connection has been returned.
    pub(crate) fn keeps_connection(&self) {
        let mut kept = self.lock_kept();
        if kept.len() < self.config.pool_size {
            kept.push(Instant::now());
        }
    }

    /// Whether the next request is likely to go out on a kept connection.
    fn takes_kept(&self) -> bool {
        let mut kept = self.lock_kept();
        match kept.pop() {
            Some(since) if since.elapsed() < MOST_IDLE => true,
            // The remaining ones are older still.
            _ => {
                kept.clear();
                false
            }
        }
    }

    fn lock_kept(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn request(&self, body: Bytes) -> Request {
        let mut request = Request::new(Method::POST, self.completions.clone());
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(body.into());
        request
    }

    pub(crate) fn send_error(&self, error: &reqwest::Error) -> StreamError {
        let reason = chain(error);
        if error.is_connect() {
            if error.is_timeout() {
                let limit = self.config.timeouts.connect;
                return StreamError::Timeout {
                    kind: TimeoutKind::Connect,
                    limit,
                    received: Received::default(),
                };
            }
            return StreamError::Refused {
                url: self.shown.clone(),
                reason,
            };
        }
        if is_not_http(error) {
            return StreamError::Malformed {
                reason: "the answer is not HTTP".to_owned(),
                line: reason,
                received: Received::default(),
            };
        }
        StreamError::Reset {
            url: self.shown.clone(),
            received: Received::default(),
            reason,
        }
    }

    pub(crate) fn broken(&self, error: &reqwest::Error, received: Received) -> StreamError {
        StreamError::Reset {
            url: self.shown.clone(),
            received,
            reason: chain(error),
        }
    }

    pub(crate) async fn status_error(&self, response: Response) -> StreamError {
        let code = response.status().as_u16();
        let retry_after = retry_after(response.headers(), SystemTime::now());
        StreamError::Status {
            url: self.shown.clone(),
            code,
            retry_after,
            body: self.body_excerpt(response).await,
        }
    }

    /// The beginning of an unexpected body, as far as it arrives in time.
    pub(crate) async fn body_excerpt(&self, mut response: Response) -> String {
        let mut head = Vec::new();
        let read = async {
            while let Ok(Some(piece)) = response.chunk().await {
                head.extend_from_slice(&piece);
                // Reading slightly past the excerpt allows the connection to be reused after a typical error
                // answer.
                if head.len() > 16 * BODY_EXCERPT {
                    break;
                }
            }
        };
        // The excerpt is what arrived in time, so exceeding the limit loses nothing.
        let _late = tokio::time::timeout(self.config.timeouts.control, read).await;
        // Before it is cut, since a part of the key is still a secret.
        let head = self.without_key(&head);
        let cut = head.floor_char_boundary(BODY_EXCERPT);
        head[..cut].trim_end().to_owned()
    }

    /// The text of an answer without the key, which some servers repeat in their errors.
    pub(crate) fn without_key(&self, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(body);
        match &self.config.api_key {
            Some(key) if !key.expose().is_empty() => text.replace(key.expose(), "(redacted)"),
            _ => text.into_owned(),
        }
    }
}

#[cfg(feature = "tls")]
fn with_certificates(
    builder: reqwest::ClientBuilder,
    config: &ClientConfig,
) -> Result<reqwest::ClientBuilder, ControlError> {
    let Some(pem) = &config.ca_pem else {
        return Ok(builder);
    };
    let certificates =
        reqwest::Certificate::from_pem_bundle(pem).map_err(|error| ControlError::BadSetting {
            key: "ca_pem",
            reason: chain(&error),
        })?;
    Ok(builder.tls_certs_merge(certificates))
}

#[cfg(not(feature = "tls"))]
fn with_certificates(
    builder: reqwest::ClientBuilder,
    config: &ClientConfig,
) -> Result<reqwest::ClientBuilder, ControlError> {
    match config.ca_pem {
        None => Ok(builder),
        Some(_) => Err(ControlError::BadSetting {
            key: "ca_pem",
            reason: "TLS is not built in; build with the feature `tls`".to_owned(),
        }),
    }
}

/// The limits of one streaming request, checked by one timer that is armed for the nearest of them. Progress only
/// updates a value; it is read when the timer fires, so the timer is not reset for every chunk.
struct Watch {
    request: (Instant, Duration),
    first_token: (Instant, Duration),
    between: Duration,
    last_progress: Option<Instant>,
}

impl Watch {
    fn new(config: &ClientConfig, begun_at: Instant, start: Instant) -> Self {
        let t = &config.timeouts;
        Self {
            request: (after(begun_at, t.request), t.request),
            first_token: (after(start, t.first_token), t.first_token),
            between: t.between_chunks,
            last_progress: None,
        }
    }

    /// Records that bytes arrived at `at`; true if they brought the first token. Before it, other bytes (such
    /// as comments) are no progress.
    fn progress(&mut self, assembler: &CompletionAssembler, at: Instant) -> bool {
        assembler.received().first_token && self.last_progress.replace(at).is_none()
    }

    fn next_check(&self) -> Instant {
        let stream = match self.last_progress {
            None => self.first_token.0,
            Some(at) => after(at, self.between),
        };
        stream.min(self.request.0)
    }

    fn check(&self, received: Received) -> Result<(), StreamError> {
        let now = Instant::now();
        let error = |kind, limit| {
            Err(StreamError::Timeout {
                kind,
                limit,
                received,
            })
        };
        if now >= self.request.0 {
            return error(TimeoutKind::Request, self.request.1);
        }
        match self.last_progress {
            None if now >= self.first_token.0 => error(TimeoutKind::FirstToken, self.first_token.1),
            Some(at) if now >= after(at, self.between) => error(TimeoutKind::BetweenChunks, self.between),
            _ => Ok(()),
        }
    }
}

/// A limit too large for the clock means never.
fn after(start: Instant, limit: Duration) -> Instant {
    start
        .checked_add(limit)
        .unwrap_or(start + Duration::from_secs(365 * 24 * 3600))
}

/// The error path of reading a stream; boxed, because it is rare.
enum EventError {
    Cut(SplitError),
    Stream(Box<StreamError>),
}

impl From<SplitError> for EventError {
    fn from(error: SplitError) -> Self {
        Self::Cut(error)
    }
}

impl From<StreamError> for EventError {
    fn from(error: StreamError) -> Self {
        Self::Stream(Box::new(error))
    }
}

fn is_not_http(error: &reqwest::Error) -> bool {
    chain(error).contains("invalid HTTP")
}

/// The wait requested by the server: `Retry-After` in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(secs) = text.parse() {
        return Some(Duration::from_secs(secs));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

fn is_event_stream(response: &Response) -> bool {
    let kind = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    kind.trim_start()
        .to_ascii_lowercase()
        .starts_with("text/event-stream")
}

/// An error with its causes: reqwest's own text alone is not informative.
pub(crate) fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        cause = error.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}

fn parse_base(text: &str) -> Result<Url, ControlError> {
    let bad = |url: &str, reason: &str| ControlError::BadUrl {
        url: url.to_owned(),
        reason: reason.to_owned(),
    };
    let trimmed = text.trim();
    let parsed = Url::parse(trimmed);
    let Ok(mut url) = parsed else {
        let way_out = if trimmed.contains("://") {
            "it is not a URL"
        } else {
            "write it as http://host:port"
        };
        return Err(bad(&redact_url(trimmed), way_out));
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad(
            "(not shown)",
            "user and password in the URL are not sent; use an API key",
        ));
    }
    match url.scheme() {
        "http" => {}
        "https" if cfg!(feature = "tls") => {}
        "https" => {
            return Err(bad(
                &redact_url(trimmed),
                "this build has no TLS: build one with `cargo build --release -p sut --features tls`, or use http:// (a local proxy can add TLS)",
            ));
        }
        _ => return Err(bad(&redact_url(trimmed), "write it as http://host:port")),
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad(&redact_url(trimmed), "it names no host"));
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/v1").unwrap_or(path).to_owned();
    url.set_path(&format!("{path}/"));
    Ok(url)
}

/// Appends a relative route to a base whose path ends in a slash.
pub(crate) fn join(base: &Url, route: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{route}", base.path()));
    url
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ApiKey;

    #[test]
    fn base_urls() {
        for good in ["http://h:1", "http://h:1/", "http://h:1/v1", " http://h:1/v1/ "] {
            assert_eq!(
                Client::new(ClientConfig::new(good)).unwrap().url(),
                "http://h:1",
                "{good}"
            );
        }
        let client = Client::new(ClientConfig::new("http://h:1/a/v1")).unwrap();
        assert_eq!(client.completions.as_str(), "http://h:1/a/v1/completions");
        for bad in [
            "",
            "h:1",
            "ftp://h",
            "http://",
            "http://u:secret@h:1",
            "http://u:secret@[h",
            "ftp://h/?key=secret",
            "https://[h/?key=secret",
        ] {
            let error = Client::new(ClientConfig::new(bad)).unwrap_err();
            assert!(matches!(error, ControlError::BadUrl { .. }), "{bad}: {error}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn retry_after_in_seconds_and_as_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (text, wait) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            assert_eq!(
                retry_after(&headers, now),
                wait.map(Duration::from_secs),
                "{text}"
            );
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn https_needs_its_feature() {
        let result = Client::new(ClientConfig::new("https://h:1"));
        match result {
            Ok(client) => assert!(cfg!(feature = "tls") && client.url() == "https://h:1"),
            Err(error) => assert!(
                !cfg!(feature = "tls") && error.to_string().contains("--features tls"),
                "{error}"
            ),
        }
    }

    #[test]
    fn the_key_is_never_shown() {
        let config = ClientConfig {
            api_key: Some(ApiKey::new("hush-hush")),
            ..ClientConfig::new("http://h:1")
        };
        let client = Client::new(config.clone()).unwrap();
        assert!(!format!("{client:?} {config:?}").contains("hush"));
    }
}
