//! A completion request as the bytes to post, prepared before the test so that the timed path does no JSON work.

use bytes::Bytes;
use serde_json::{Map, Value};

/// Builds the body of one `/v1/completions` request.
///
/// Only fields that are set are sent; the server's defaults apply to the rest. Streaming, token ids and usage
/// are requested unless [`RequestBody::streaming`] disables them.
#[derive(Debug, Clone)]
pub struct RequestBody {
    model: String,
    prompt: Prompt,
    streaming: bool,
    fields: Map<String, Value>,
}

#[derive(Debug, Clone)]
enum Prompt {
    Ids(Vec<i32>),
    Batch(Vec<Vec<i32>>),
    Text(String),
}

impl RequestBody {
    /// A prompt of token ids, passed to the model unchanged: no tokenizer runs on either side.
    pub fn from_token_ids(model: impl Into<String>, ids: &[i32]) -> Self {
        Self::new(model.into(), Prompt::Ids(ids.to_vec()))
    }

    /// Several prompts of token ids in one request, answered in one response; see
    /// [`Client::complete_batch`](crate::Client::complete_batch).
    pub fn from_batch(model: impl Into<String>, prompts: &[&[i32]]) -> Self {
        let prompts = prompts.iter().map(|ids| ids.to_vec()).collect();
        Self::new(model.into(), Prompt::Batch(prompts)).streaming(false)
    }

    /// A prompt of text; the server tokenizes it, special tokens added as its tokenizer does.
    pub fn from_text(model: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(model.into(), Prompt::Text(text.into()))
    }

    fn new(model: String, prompt: Prompt) -> Self {
        Self {
            model,
            prompt,
            streaming: true,
            fields: Map::new(),
        }
    }

    /// Whether the answer is streamed (the default) or sent in one response.
    pub fn streaming(mut self, on: bool) -> Self {
        self.streaming = on;
        self
    }

    /// Most tokens to generate.
    pub fn max_tokens(self, n: u32) -> Self {
        self.field("max_tokens", n)
    }

    /// Fewest tokens to generate before the end-of-sequence token is allowed.
    pub fn min_tokens(self, n: u32) -> Self {
        self.field("min_tokens", n)
    }

    /// 0 is greedy.
    pub fn temperature(self, t: f64) -> Self {
        self.field("temperature", t)
    }

    /// Nucleus sampling, in (0, 1].
    pub fn top_p(self, p: f64) -> Self {
        self.field("top_p", p)
    }

    /// Sample among the k most probable tokens; −1 (vLLM also takes 0) is all.
    pub fn top_k(self, k: i32) -> Self {
        self.field("top_k", k)
    }

    /// Seed of this request's sampling.
    pub fn seed(self, seed: i64) -> Self {
        self.field("seed", seed)
    }

    /// Generate until `max_tokens` even past the end-of-sequence token.
    pub fn ignore_eos(self, on: bool) -> Self {
        self.field("ignore_eos", on)
    }

    /// Texts that end the answer.
    pub fn stop(self, stop: &[String]) -> Self {
        self.field("stop", stop.to_vec())
    }

    /// Token ids that end the answer.
    pub fn stop_token_ids(self, ids: &[i32]) -> Self {
        self.field("stop_token_ids", ids.to_vec())
    }

    /// Any other field of the server's completion API. The last value set for a name wins; the fields this type
    /// itself writes (`model`, `prompt`, `stream`, `stream_options`, `return_token_ids`) may be replaced too.
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// The finished body. Cloning it is cheap.
    pub fn build(self) -> Bytes {
        let mut body = Map::new();
        body.insert("model".to_owned(), Value::String(self.model));
        let prompt = match self.prompt {
            Prompt::Ids(ids) => Value::from(ids),
            Prompt::Batch(prompts) => Value::from(prompts),
            Prompt::Text(text) => Value::String(text),
        };
        body.insert("prompt".to_owned(), prompt);
        body.insert("return_token_ids".to_owned(), Value::Bool(true));
        body.insert("stream".to_owned(), Value::Bool(self.streaming));
        if self.streaming {
            body.insert(
                "stream_options".to_owned(),
                serde_json::json!({ "include_usage": true }),
            );
        }
        body.extend(self.fields);
        Value::Object(body).to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_prompt_asks_for_stream_ids_and_usage() {
        let body = RequestBody::from_token_ids("m", &[1, 2])
            .max_tokens(8)
            .temperature(0.0)
            .build();
        let value: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "model": "m", "prompt": [1, 2], "max_tokens": 8, "temperature": 0.0, "stream": true,
                "return_token_ids": true, "stream_options": {"include_usage": true}
            })
        );
    }

    #[test]
    fn unstreamed_text_prompt() {
        let body = RequestBody::from_text("m", "a \"b\"\n")
            .streaming(false)
            .field("top_k", 3)
            .build();
        let value: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "model": "m", "prompt": "a \"b\"\n", "stream": false, "return_token_ids": true, "top_k": 3
            })
        );
    }
}
