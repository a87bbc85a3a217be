//! One unfinished answer: collects tokens as they arrive and renders them, chunk by chunk or all at the end.

use std::sync::Arc;
use std::task::Waker;

use bytes::BytesMut;

use super::api_error::quote;
use super::openai::Kind;
use crate::engine::{FinishReason, Output, Timing};
use crate::tokens::Tokenizer;

/// The client's options, and values common to all chunks.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    /// The model's name as a JSON string.
    pub(crate) model_json: Arc<str>,
    /// Unix seconds.
    pub(crate) created: u64,
    pub(crate) streaming: bool,
    pub(crate) include_usage: bool,
    pub(crate) continuous_usage: bool,
    pub(crate) return_token_ids: bool,
    pub(crate) per_request_metrics: bool,
    /// Tokens per chunk after the first.
    pub(crate) interval: u32,
    pub(crate) tokenizer: Tokenizer,
}

/// One prompt's answer.
#[derive(Debug)]
struct Choice {
    prompt: Arc<[u32]>,
    /// Not yet rendered; all of them when the answer is not streamed.
    pending: Vec<u32>,
    generated: u32,
    finish: Option<FinishReason>,
    timing: Timing,
}

/// The answer.
#[derive(Debug)]
pub(crate) struct Answer {
    spec: Spec,
    /// `data: {"id":…,"model":…,` — every chunk starts with it.
    head: Vec<u8>,
    choices: Vec<Choice>,
    open: usize,
    /// Tokens after which the stream stops until [`Answer::release`].
    hold_at: Option<u64>,
    held_back: Vec<(usize, Output)>,
    pub(crate) buffer: BytesMut,
    pub(crate) waker: Option<Waker>,
}

impl Answer {
    pub(crate) fn new(spec: Spec, prompts: Vec<Arc<[u32]>>) -> Self {
        let object = match (spec.kind, spec.streaming) {
            (Kind::Completion, _) => "text_completion",
            (Kind::Chat, true) => "chat.completion.chunk",
            (Kind::Chat, false) => "chat.completion",
        };
        let lead = if spec.streaming { "data: " } else { "" };
        let head = format!(
            "{lead}{{\"id\":{},\"object\":\"{object}\",\"created\":{},\"model\":{},",
            quote(&spec.id),
            spec.created,
            spec.model_json
        );
        let choices: Vec<Choice> = prompts
            .into_iter()
            .map(|prompt| Choice {
                prompt,
                pending: Vec::new(),
                generated: 0,
                finish: None,
                timing: Timing::default(),
            })
            .collect();
        Self {
            spec,
            head: head.into_bytes(),
            open: choices.len(),
            choices,
            hold_at: None,
            held_back: Vec::new(),
            buffer: BytesMut::new(),
            waker: None,
        }
    }

    /// The client-visible id.
    pub(crate) fn id(&self) -> &str {
        &self.spec.id
    }

    /// Allows the stream to advance to `tokens` tokens and no further.
    pub(crate) fn hold(&mut self, tokens: u64) {
        self.hold_at = Some(tokens);
    }

    /// True if the stream has reached its limit.
    pub(crate) fn held(&self) -> bool {
        self.hold_at.is_some_and(|at| self.generated() >= at)
    }

    /// Lets the stream continue, with the tokens that arrived in the meantime.
    pub(crate) fn release(&mut self) {
        self.hold_at = None;
        for (index, output) in std::mem::take(&mut self.held_back) {
            self.push(index, &output);
        }
    }

    /// True when every choice has ended and everything is rendered.
    pub(crate) fn ended(&self) -> bool {
        self.open == 0
    }

    /// Tokens generated so far, all choices.
    pub(crate) fn generated(&self) -> u64 {
        self.choices.iter().map(|c| u64::from(c.generated)).sum()
    }

    /// Adds one token; true when there is something to send.
    pub(crate) fn push(&mut self, index: usize, output: &Output) -> bool {
        if self.held() {
            self.held_back.push((index, *output));
            return false;
        }
        let Some(choice) = self.choices.get_mut(index) else {
            return false;
        };
        let first = choice.generated == 0;
        if let Some(token) = output.token {
            choice.pending.push(token);
            choice.generated += 1;
        }
        choice.timing = output.timing;
        if output.finish.is_some() {
            choice.finish = output.finish;
            self.open -= 1;
        }
        if !self.spec.streaming {
            return self.open == 0;
        }
        let due = first || output.finish.is_some() || choice.pending.len() >= self.spec.interval as usize;
        // Tokens before a fault are sent first, or "after N tokens" would not be true.
        if !due && !self.held() {
            return false;
        }
        self.chunk(index, first);
        if self.open == 0 {
            if self.spec.include_usage {
                self.usage_chunk();
            }
            self.buffer.extend_from_slice(b"data: [DONE]\n\n");
        }
        true
    }

    fn chunk(&mut self, index: usize, first: bool) {
        if first && self.spec.kind == Kind::Chat {
            self.role_chunk(index);
        }
        let Self {
            spec,
            head,
            choices,
            buffer,
            ..
        } = self;
        let choice = &mut choices[index];
        let mut out = ChunkBuffer(buffer);
        out.bytes(head);
        out.text("\"choices\":[{\"index\":");
        out.number(index as u64);
        match spec.kind {
            Kind::Completion => out.text(",\"text\":\""),
            Kind::Chat => out.text(",\"delta\":{\"content\":\""),
        }
        out.decoded(spec.tokenizer, &choice.pending);
        out.text(if spec.kind == Kind::Chat { "\"}" } else { "\"" });
        out.text(",\"logprobs\":null,\"finish_reason\":");
        out.reason(choice.finish);
        match spec.kind {
            Kind::Completion => {
                out.text(",\"stop_reason\":null,\"prompt_token_ids\":");
                if first && spec.return_token_ids {
                    out.ids(&choice.prompt);
                } else {
                    out.text("null");
                }
            }
            Kind::Chat if choice.finish.is_some() => out.text(",\"stop_reason\":null"),
            Kind::Chat => {}
        }
        out.text(",\"token_ids\":");
        if spec.return_token_ids {
            out.ids(&choice.pending);
        } else {
            out.text("null");
        }
        out.text("}]");
        if spec.continuous_usage {
            out.usage(choice.prompt.len() as u64, u64::from(choice.generated));
        }
        out.text("}\n\n");
        choice.pending.clear();
    }

    fn role_chunk(&mut self, index: usize) {
        let Self {
            spec,
            head,
            choices,
            buffer,
            ..
        } = self;
        let prompt = &choices[index].prompt;
        let mut out = ChunkBuffer(buffer);
        out.bytes(head);
        out.text("\"choices\":[{\"index\":");
        out.number(index as u64);
        out.text(
            ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]",
        );
        if spec.continuous_usage {
            out.usage(prompt.len() as u64, 0);
        }
        out.text(",\"prompt_token_ids\":");
        if spec.return_token_ids {
            out.ids(prompt);
        } else {
            out.text("null");
        }
        out.text("}\n\n");
    }

    fn usage_chunk(&mut self) {
        let (prompt, generated) = (self.prompt_tokens(), self.generated());
        let metrics = self.metrics_json();
        let mut out = ChunkBuffer(&mut self.buffer);
        out.bytes(&self.head);
        out.text("\"choices\":[]");
        out.usage(prompt, generated);
        out.text(&metrics);
        out.text("}\n\n");
    }

    fn prompt_tokens(&self) -> u64 {
        self.choices.iter().map(|c| c.prompt.len() as u64).sum()
    }

    /// `,"metrics":{…}`, or nothing: only if enabled, and only for a single prompt, as in the real server.
    fn metrics_json(&self) -> String {
        let [choice] = self.choices.as_slice() else {
            return String::new();
        };
        if !self.spec.per_request_metrics {
            return String::new();
        }
        let t = choice.timing;
        let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
        let decode = ms(t.first_token, t.last_token);
        let inference = ms(t.scheduled, t.last_token);
        let mut text = format!(
            ",\"metrics\":{{\"time_to_first_token_ms\":{:?},\"generation_time_ms\":{decode:?},\"queue_time_ms\":{:?}",
            ms(t.scheduled, t.first_token),
            ms(t.queued, t.scheduled)
        );
        if choice.generated > 1 {
            text += &format!(",\"mean_itl_ms\":{:?}", decode / f64::from(choice.generated - 1));
        }
        if inference > 0.0 {
            text += &format!(
                ",\"tokens_per_second\":{:?}",
                f64::from(choice.generated) / inference * 1e3
            );
        }
        text + "}"
    }

    /// The complete answer as one JSON text; used after the end of an answer that is not streamed.
    pub(crate) fn whole(&self) -> BytesMut {
        let mut buffer = BytesMut::new();
        let mut out = ChunkBuffer(&mut buffer);
        out.bytes(&self.head);
        out.text("\"choices\":[");
        for (index, choice) in self.choices.iter().enumerate() {
            out.text(if index == 0 { "{\"index\":" } else { ",{\"index\":" });
            out.number(index as u64);
            match self.spec.kind {
                Kind::Completion => out.text(",\"text\":\""),
                Kind::Chat => out.text(",\"message\":{\"role\":\"assistant\",\"content\":\""),
            }
            out.decoded(self.spec.tokenizer, &choice.pending);
            out.text(match self.spec.kind {
                Kind::Completion => "\"",
                Kind::Chat => "\",\"refusal\":null,\"annotations\":null,\"audio\":null,\"function_call\":null,\"reasoning\":null}",
            });
            out.text(",\"logprobs\":null,\"finish_reason\":");
            out.reason(choice.finish);
            out.text(",\"stop_reason\":null,\"token_ids\":");
            if self.spec.return_token_ids {
                out.ids(&choice.pending);
                if self.spec.kind == Kind::Completion {
                    out.text(",\"prompt_token_ids\":");
                    out.ids(&choice.prompt);
                }
            } else {
                out.text("null");
            }
            out.text("}");
        }
        out.text("]");
        out.usage(self.prompt_tokens(), self.generated());
        if self.spec.kind == Kind::Chat && self.spec.return_token_ids {
            out.text(",\"prompt_token_ids\":");
            out.ids(&self.choices[0].prompt);
        }
        out.text(&self.metrics_json());
        out.text("}");
        buffer
    }
}

/// Appends pieces of JSON. Numbers bypass the formatting machinery, since this runs per token.
struct ChunkBuffer<'a>(&'a mut BytesMut);

impl ChunkBuffer<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn number(&mut self, value: u64) {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut rest = value;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.bytes(&digits[at..]);
    }

    fn ids(&mut self, ids: &[u32]) {
        self.0.reserve(ids.len() * 7 + 2);
        self.text("[");
        for (index, &id) in ids.iter().enumerate() {
            if index > 0 {
                self.text(",");
            }
            self.number(u64::from(id));
        }
        self.text("]");
    }

    fn decoded(&mut self, tokenizer: Tokenizer, ids: &[u32]) {
        for &id in ids {
            tokenizer.decode_into(id, self.0);
        }
    }

    fn reason(&mut self, reason: Option<FinishReason>) {
        match reason {
            Some(reason) => {
                self.text("\"");
                self.text(reason.as_str());
                self.text("\"");
            }
            None => self.text("null"),
        }
    }

    fn usage(&mut self, prompt: u64, generated: u64) {
        self.text(",\"usage\":{\"prompt_tokens\":");
        self.number(prompt);
        self.text(",\"total_tokens\":");
        self.number(prompt + generated);
        self.text(",\"completion_tokens\":");
        self.number(generated);
        self.text("}");
    }
}
