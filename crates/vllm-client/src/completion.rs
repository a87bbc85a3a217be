//! Assembles a completion from the chunks of a stream.

use std::time::{Duration, Instant};

use crate::answer::{
    Completion, FinishReason, FirstToken, MaybeUsage, Remark, ServerMetrics, TokenSource, Usage,
};
use crate::chunk::{self, Chunk};
use crate::config::TokenPolicy;
use crate::error::{Received, StreamError, excerpt};
use crate::sse::{Event, MAX_EVENT_BYTES, SplitError};

/// Most token ids of an answer to a request that sets no `max_tokens`.
const MOST_TOKENS: usize = 1 << 22;
/// Longest text of an answer, in bytes.
const MOST_TEXT: usize = 256 << 20;

/// What the request specifies about its answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    max_tokens: Option<usize>,
    model: Option<String>,
}

impl Expected {
    /// Reads it from a request's JSON body. A quote inside a JSON string is escaped, so a key with bare
    /// quotes before a colon is a key. The first one is the outermost, unless the caller arranged the body
    /// differently.
    pub(crate) fn of(body: &[u8]) -> Self {
        let after = |key: &[u8]| {
            let at = memchr::memmem::find(body, key)?;
            Some(body[at + key.len()..].trim_ascii_start())
        };
        let max_tokens = after(b"\"max_tokens\":").and_then(|text| {
            let end = text.iter().position(|b| !b.is_ascii_digit())?;
            std::str::from_utf8(&text[..end]).ok()?.parse().ok()
        });
        let model = after(b"\"model\":").and_then(|text| {
            let mut values = serde_json::Deserializer::from_slice(text).into_iter::<String>();
            values.next()?.ok()
        });
        Self { max_tokens, model }
    }
}

/// Assembles one completion from event data in order of arrival.
#[derive(Debug)]
pub(crate) struct CompletionAssembler {
    keep_text: bool,
    expected: Expected,
    remarks: Vec<Remark>,
    model_seen: bool,
    ids: Vec<i32>,
    text: String,
    text_chunks: usize,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    metrics: Option<ServerMetrics>,
    request_id: Option<String>,
    chunks: usize,
    first_at: Option<Instant>,
    last_at: Option<Instant>,
    longest_gap: Option<Duration>,
    done: bool,
}

impl CompletionAssembler {
    pub(crate) fn new(keep_text: bool, expected: Expected) -> Self {
        Self {
            keep_text,
            expected,
            remarks: Vec::new(),
            model_seen: false,
            // Enough for short answers; longer ones double a few times.
            ids: Vec::with_capacity(128),
            text: String::new(),
            text_chunks: 0,
            finish: None,
            usage: None,
            metrics: None,
            request_id: None,
            chunks: 0,
            first_at: None,
            last_at: None,
            longest_gap: None,
            done: false,
        }
    }

    pub(crate) fn received(&self) -> Received {
        Received {
            first_token: self.first_at.is_some(),
            tokens: self.ids.len(),
        }
    }

    pub(crate) fn done(&self) -> bool {
        self.done
    }

    /// Takes one event whose bytes arrived at `at`. Returns the first token if this event brought it.
    pub(crate) fn event(&mut self, event: Event<'_>, at: Instant) -> Result<Option<FirstToken>, StreamError> {
        let data = event.data;
        let before = self.ids.len();
        if !self.keep_text
            && !self.done
            && !event.is_error
            && let Some(scanned) = chunk::scan(data, &mut self.ids)
        {
            let new = self.ids.len() - before;
            self.check_tokens(new, data)?;
            if let Some(word) = scanned.finish {
                self.finish(FinishReason::from(String::from_utf8_lossy(word).into_owned()))?;
            }
            if !self.model_seen
                && let Some(model) = chunk::model_of(data)
            {
                self.check_model(&String::from_utf8_lossy(model));
            }
            return Ok(self.arrived(before, new, new > 0, at));
        }
        // Gateways send empty events, and some an empty object, to keep a stream alive.
        let text = data.trim_ascii();
        if text.is_empty() || text == b"{}" {
            return Ok(None);
        }
        if text == b"[DONE]" {
            self.done = true;
            return Ok(None);
        }
        if self.done {
            return Err(self.malformed("data after the end mark [DONE]", data));
        }
        if event.is_error {
            let value = serde_json::from_slice(text)
                .unwrap_or_else(|_| serde_json::Value::from(String::from_utf8_lossy(text)));
            return Err(self.server_error(value.get("error").unwrap_or(&value)));
        }
        let chunk: Chunk = serde_json::from_slice(text)
            .map_err(|e| self.malformed(&format!("not a completion chunk: {e}"), data))?;
        self.chunk(chunk, data, at)
    }

    /// A body that ended cleanly without a blank line after its last event: only the end mark counts then.
    pub(crate) fn ends_with(&mut self, pending: &[u8]) {
        self.done |= pending.trim_ascii() == b"[DONE]";
    }

    /// Records that the request was sent a second time.
    pub(crate) fn sent_again(&mut self) {
        self.remarks.push(Remark::SentAgain);
    }

    /// Checks the last `new` tokens.
    fn check_tokens(&self, new: usize, data: &[u8]) -> Result<(), StreamError> {
        if new > 0 && self.finish.is_some() {
            return Err(self.malformed("tokens after the finish reason", data));
        }
        let most = self.expected.max_tokens.unwrap_or(MOST_TOKENS);
        if self.ids.len() > most {
            return Err(self.malformed(&format!("more than the {most} tokens that were asked for"), data));
        }
        Ok(())
    }

    fn odd_usage(&mut self, usage: &serde_json::Value) {
        // With usage on every chunk one remark is enough.
        let is_known = |remark: &Remark| matches!(remark, Remark::UsageUnreadable { .. });
        if !self.remarks.iter().any(is_known) {
            let usage = excerpt(usage.to_string().as_bytes());
            self.remarks.push(Remark::UsageUnreadable { usage });
        }
    }

    fn check_model(&mut self, answered: &str) {
        self.model_seen = true;
        let Some(asked) = self.expected.model.as_deref() else {
            return;
        };
        if asked != answered && !answered.is_empty() && !answered.contains('\\') {
            self.remarks.push(Remark::OtherModel {
                asked: asked.to_owned(),
                answered: answered.to_owned(),
            });
        }
    }

    /// Takes one parsed chunk, or a whole unstreamed answer.
    pub(crate) fn chunk(
        &mut self,
        chunk: Chunk,
        data: &[u8],
        at: Instant,
    ) -> Result<Option<FirstToken>, StreamError> {
        if let Some(error) = chunk.error {
            return Err(self.server_error(&error));
        }
        if chunk.object.as_deref() == Some("error") {
            let value = serde_json::from_slice(data).unwrap_or_default();
            return Err(self.server_error(&value));
        }
        if chunk.choices.is_none() && chunk.usage.is_none() {
            return Err(self.malformed("neither choices nor usage", data));
        }
        self.request_id = chunk.id.or(self.request_id.take());
        if !self.model_seen
            && let Some(model) = chunk.model
        {
            self.check_model(&model);
        }
        match chunk.usage {
            Some(MaybeUsage::Told(usage)) => self.usage = Some(usage),
            Some(MaybeUsage::Odd(usage)) => self.odd_usage(&usage),
            None => {}
        }
        self.metrics = chunk.metrics.or(self.metrics);
        let mut choices = chunk.choices.unwrap_or_default().into_iter();
        let Some(choice) = choices.next() else {
            return Ok(None);
        };
        if choice.index != 0 || choices.next().is_some() {
            return Err(self.malformed("more than one answer (n or several prompts in one request)", data));
        }
        let before = self.ids.len();
        let ids = choice.token_ids.unwrap_or_default();
        if let Some(id) = ids.iter().find(|id| **id < 0) {
            return Err(self.malformed(&format!("token id {id} is negative"), data));
        }
        self.ids.extend_from_slice(&ids);
        self.check_tokens(ids.len(), data)?;
        let text = choice.text.unwrap_or_default();
        if !text.is_empty() && ids.is_empty() {
            self.text_chunks += 1;
        }
        if self.keep_text {
            if self.text.len() + text.len() > MOST_TEXT {
                return Err(self.malformed(&format!("a text of more than {MOST_TEXT} bytes"), data));
            }
            self.text.push_str(&text);
        }
        if let Some(reason) = choice.finish_reason {
            self.finish(reason)?;
        }
        Ok(self.arrived(before, ids.len(), !ids.is_empty() || !text.is_empty(), at))
    }

    fn arrived(&mut self, before: usize, new: usize, any: bool, at: Instant) -> Option<FirstToken> {
        if !any {
            return None;
        }
        self.chunks += 1;
        if let Some(last) = self.last_at.replace(at) {
            self.longest_gap = self.longest_gap.max(Some(at.saturating_duration_since(last)));
        }
        if self.first_at.is_some() {
            return None;
        }
        self.first_at = Some(at);
        Some(FirstToken {
            at,
            token_id: self.ids.get(before).copied(),
            tokens_in_chunk: new,
        })
    }

    fn finish(&mut self, reason: FinishReason) -> Result<(), StreamError> {
        // vLLM's message when the engine dropped the request: the answer is truncated, whatever came before
        // it.
        if matches!(reason.as_str(), "abort" | "error") {
            return Err(StreamError::Server {
                message: "the server ended the request before it was complete".to_owned(),
                kind: reason.as_str().to_owned(),
                code: 0,
                received: self.received(),
            });
        }
        self.finish = Some(reason);
        Ok(())
    }

    fn server_error(&self, error: &serde_json::Value) -> StreamError {
        let text = |key: &str| {
            error
                .get(key)
                .and_then(|v| v.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let code = error
            .get("code")
            .and_then(|c| c.as_u64().or_else(|| c.as_str()?.parse().ok()));
        StreamError::Server {
            message: if error.is_string() {
                error.as_str().unwrap_or_default().to_owned()
            } else {
                text("message")
            },
            kind: text("type"),
            code: code.and_then(|c| u16::try_from(c).ok()).unwrap_or(0),
            received: self.received(),
        }
    }

    pub(crate) fn malformed(&self, reason: &str, line: &[u8]) -> StreamError {
        StreamError::Malformed {
            reason: reason.to_owned(),
            line: excerpt(line),
            received: self.received(),
        }
    }

    pub(crate) fn cut_error(&self, error: SplitError) -> StreamError {
        let (reason, line) = match error {
            SplitError::NoField(line) => ("a line that no event stream has".to_owned(), line),
            SplitError::TooLong => (
                format!("an event of more than {MAX_EVENT_BYTES} bytes"),
                String::new(),
            ),
        };
        StreamError::Malformed {
            reason,
            line,
            received: self.received(),
        }
    }

    /// The completion, if the data received forms one.
    pub(crate) fn into_completion(
        mut self,
        policy: TokenPolicy,
        sent_at: Instant,
        finished_at: Instant,
    ) -> Result<Completion, StreamError> {
        let usage_tokens = self.usage.map(|u| u.completion_tokens);
        let without_ids =
            self.ids.is_empty() && (self.text_chunks > 0 || usage_tokens.is_some_and(|n| n > 0));
        // It is normal that some chunks have ids and some only text: a stop text held back is flushed at the
        // end.
        let token_source = match (without_ids, policy, usage_tokens) {
            (false, _, _) => TokenSource::Ids,
            (true, TokenPolicy::AllowCountOnly, Some(_)) => TokenSource::UsageOnly,
            (true, _, _) => {
                return Err(StreamError::NoTokenIds {
                    text_chunks: self.text_chunks,
                    usage_tokens,
                });
            }
        };
        if let (TokenSource::Ids, Some(usage)) = (token_source, usage_tokens)
            && usage != self.ids.len() as u64
        {
            let ids = self.ids.len() as u64;
            self.remarks.push(Remark::UsageDisagrees { ids, usage });
        }
        Ok(Completion {
            remarks: self.remarks,
            token_ids: self.ids,
            token_source,
            text: self.keep_text.then_some(self.text),
            finish_reason: self.finish,
            usage: self.usage,
            server_metrics: self.metrics,
            request_id: self.request_id,
            sent_at,
            first_token_at: self.first_at,
            finished_at,
            chunks: self.chunks,
            longest_gap: self.longest_gap,
        })
    }
}
