//! Bodies of `/v1/completions` and `/v1/chat/completions`: parsed, validated, and converted to prompts of
//! token ids.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::api_error::ApiError;
use crate::config::SimConfig;
use crate::tokens::{EOS_TOKEN, Tokenizer};

/// Largest number of prompts in one request, which bounds the size of an answer.
pub(crate) const MAX_PROMPTS: usize = 4096;
/// vLLM's default for completions; chat defaults to the rest of the sequence.
const DEFAULT_COMPLETION_TOKENS: u32 = 16;
/// Ids that a chat template would add around a message.
const MESSAGE_START: u32 = 1;

/// Which of the two routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `/v1/completions`
    Completion,
    /// `/v1/chat/completions`
    Chat,
}

/// A checked request.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) prompts: Vec<Arc<[u32]>>,
    /// `None` for the rest of the sequence.
    pub(crate) max_tokens: Option<u32>,
    pub(crate) min_tokens: u32,
    pub(crate) ignore_eos: bool,
    pub(crate) seed: u64,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) continuous_usage: bool,
    pub(crate) return_token_ids: bool,
}

#[derive(Debug, Deserialize)]
struct Body {
    model: Option<String>,
    prompt: Option<Prompt>,
    messages: Option<Vec<Message>>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    min_tokens: Option<i64>,
    #[serde(default)]
    ignore_eos: Option<bool>,
    n: Option<i64>,
    seed: Option<i64>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    return_token_ids: Option<bool>,
    echo: Option<bool>,
    logprobs: Option<de::IgnoredAny>,
    prompt_logprobs: Option<de::IgnoredAny>,
    suffix: Option<de::IgnoredAny>,
    tools: Option<de::IgnoredAny>,
    use_beam_search: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
    continuous_usage_stats: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    r#type: String,
    text: Option<String>,
}

/// The forms of a prompt. Parsed without an intermediate generic value, since prompts of thousands of ids are
/// common.
#[derive(Debug, PartialEq)]
enum Prompt {
    Text(String),
    Ids(Vec<u32>),
    Texts(Vec<String>),
    Batches(Vec<Vec<u32>>),
}

impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PromptVisitor;
        impl<'de> Visitor<'de> for PromptVisitor {
            type Value = Prompt;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a list of token ids, or a list of either")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Prompt, E> {
                Ok(Prompt::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Prompt, A::Error> {
                let Some(first) = seq.next_element::<Item>()? else {
                    return Ok(Prompt::Ids(Vec::new()));
                };
                match first {
                    Item::Id(id) => rest(id, seq).map(Prompt::Ids),
                    Item::Text(text) => rest(text, seq).map(Prompt::Texts),
                    Item::Ids(ids) => rest(ids, seq).map(Prompt::Batches),
                }
            }
        }
        deserializer.deserialize_any(PromptVisitor)
    }
}

fn rest<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(first: T, mut seq: A) -> Result<Vec<T>, A::Error> {
    let mut all = vec![first];
    while let Some(next) = seq.next_element()? {
        all.push(next);
    }
    Ok(all)
}

/// The first element of a prompt's list, which determines the type of the others.
enum Item {
    Id(u32),
    Text(String),
    Ids(Vec<u32>),
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemVisitor;
        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = Item;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a token id, a string or a list of token ids")
            }
            fn visit_u64<E: de::Error>(self, id: u64) -> Result<Item, E> {
                u32::try_from(id)
                    .map(Item::Id)
                    .map_err(|_| E::custom(format!("token id {id} is out of range")))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Item, E> {
                Ok(Item::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Item, A::Error> {
                let mut ids = Vec::new();
                while let Some(id) = seq.next_element()? {
                    ids.push(id);
                }
                Ok(Item::Ids(ids))
            }
        }
        deserializer.deserialize_any(ItemVisitor)
    }
}

/// Parses and validates a body.
///
/// # Errors
/// 400 with the invalid field, 404 for another model's name.
pub(crate) fn read(
    kind: Kind,
    bytes: &[u8],
    config: &SimConfig,
    tokenizer: Tokenizer,
) -> Result<Generation, ApiError> {
    let body: Body = serde_json::from_slice(bytes)
        .map_err(|error| ApiError::bad_request(format!("the body does not parse: {error}")))?;
    if let Some(model) = body.model.as_deref().filter(|model| *model != config.model) {
        return Err(ApiError::not_found(format!(
            "this server has no model `{model}`; it serves `{}`",
            config.model
        )));
    }
    refuse_unsimulated(&body)?;
    let prompts = match kind {
        Kind::Completion => completion_prompts(body.prompt, tokenizer)?,
        Kind::Chat => vec![chat_prompt(body.messages, tokenizer)?],
    };
    let max_tokens = match (kind, body.max_completion_tokens.or(body.max_tokens)) {
        (Kind::Completion, None) => Some(DEFAULT_COMPLETION_TOKENS),
        (Kind::Chat, None) => None,
        (_, Some(n)) => Some(count("max_tokens", n, 1)?),
    };
    let min_tokens = count("min_tokens", body.min_tokens.unwrap_or(0), 0)?;
    if max_tokens.is_some_and(|most| min_tokens > most) {
        return Err(ApiError::bad_request(format!(
            "min_tokens {min_tokens} is above max_tokens"
        )));
    }
    for prompt in &prompts {
        check_prompt(prompt, max_tokens.unwrap_or(1), config)?;
    }
    let stream = body.stream.unwrap_or(false);
    if body.stream_options.is_some() && !stream {
        return Err(ApiError::bad_request(
            "stream_options is only allowed with \"stream\": true",
        ));
    }
    let options = body.stream_options.unwrap_or_default();
    let include_usage = options.include_usage.unwrap_or(false);
    Ok(Generation {
        prompts,
        max_tokens,
        min_tokens,
        ignore_eos: body.ignore_eos.unwrap_or(false),
        seed: body.seed.unwrap_or(0) as u64,
        stream,
        include_usage,
        // vLLM ignores it without include_usage.
        continuous_usage: include_usage && options.continuous_usage_stats.unwrap_or(false),
        return_token_ids: body.return_token_ids.unwrap_or(false),
    })
}

fn refuse_unsimulated(body: &Body) -> Result<(), ApiError> {
    let unsimulated = [
        ("n above 1", body.n.is_some_and(|n| n != 1)),
        ("echo", body.echo == Some(true)),
        ("logprobs", body.logprobs.is_some()),
        ("prompt_logprobs", body.prompt_logprobs.is_some()),
        ("suffix", body.suffix.is_some()),
        ("tools", body.tools.is_some()),
        ("use_beam_search", body.use_beam_search == Some(true)),
    ];
    match unsimulated.iter().find(|(_, asked)| *asked) {
        Some((what, _)) => Err(ApiError::bad_request(format!(
            "{what} is not simulated: leave it out"
        ))),
        None => Ok(()),
    }
}

fn count(name: &str, value: i64, least: u32) -> Result<u32, ApiError> {
    u32::try_from(value)
        .ok()
        .filter(|n| *n >= least)
        .ok_or_else(|| ApiError::bad_request(format!("{name} is {value}: it must be at least {least}")))
}

fn completion_prompts(prompt: Option<Prompt>, tokenizer: Tokenizer) -> Result<Vec<Arc<[u32]>>, ApiError> {
    let encode = |text: &str| {
        let mut ids = Vec::new();
        tokenizer.encode_into(text, &mut ids);
        Arc::from(ids)
    };
    let prompts: Vec<Arc<[u32]>> = match prompt {
        None => return Err(ApiError::bad_request("prompt is missing")),
        Some(Prompt::Text(text)) => vec![encode(&text)],
        Some(Prompt::Ids(ids)) => vec![Arc::from(ids)],
        Some(Prompt::Texts(texts)) => texts.iter().map(|text| encode(text)).collect(),
        Some(Prompt::Batches(batches)) => batches.into_iter().map(Arc::from).collect(),
    };
    if prompts.len() > MAX_PROMPTS {
        return Err(ApiError::bad_request(format!(
            "{} prompts in one request: at most {MAX_PROMPTS} are served",
            prompts.len()
        )));
    }
    Ok(prompts)
}

fn chat_prompt(messages: Option<Vec<Message>>, tokenizer: Tokenizer) -> Result<Arc<[u32]>, ApiError> {
    let messages = messages
        .filter(|m| !m.is_empty())
        .ok_or_else(|| ApiError::bad_request("messages is missing or empty"))?;
    let mut ids = Vec::new();
    for message in &messages {
        ids.push(MESSAGE_START);
        tokenizer.encode_into(&message.role, &mut ids);
        match &message.content {
            None => {}
            Some(Content::Text(text)) => tokenizer.encode_into(text, &mut ids),
            Some(Content::Parts(parts)) => {
                for part in parts {
                    match (&part.text, part.r#type.as_str()) {
                        (Some(text), "text") => tokenizer.encode_into(text, &mut ids),
                        (_, other) => {
                            return Err(ApiError::bad_request(format!(
                                "message part of type `{other}` is not simulated: send text"
                            )));
                        }
                    }
                }
            }
        }
        ids.push(EOS_TOKEN);
    }
    ids.push(MESSAGE_START);
    tokenizer.encode_into("assistant", &mut ids);
    Ok(Arc::from(ids))
}

fn check_prompt(prompt: &[u32], output: u32, config: &SimConfig) -> Result<(), ApiError> {
    if prompt.is_empty() {
        return Err(ApiError::bad_request("the prompt has no token"));
    }
    let most = config.engine.max_model_len as usize;
    if prompt.len() + output as usize > most {
        return Err(ApiError::bad_request(format!(
            "{} prompt tokens and {output} of output do not fit this model's context of {most} tokens: shorten the \
             prompt or lower max_tokens",
            prompt.len()
        )));
    }
    if let Some(id) = prompt.iter().find(|id| **id >= config.engine.vocab_size) {
        return Err(ApiError::bad_request(format!(
            "token id {id} is out of the vocabulary of {} ids",
            config.engine.vocab_size
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: Kind, body: &str) -> Result<Generation, ApiError> {
        let config = SimConfig {
            model: "m".to_owned(),
            ..SimConfig::default()
        };
        read(
            kind,
            body.as_bytes(),
            &config,
            Tokenizer::new(config.engine.vocab_size),
        )
    }

    #[test]
    fn prompts_of_every_form_become_token_ids() {
        let of = |prompt: &str| {
            let body = format!(r#"{{"model":"m","prompt":{prompt}}}"#);
            parse(Kind::Completion, &body).unwrap().prompts
        };
        assert_eq!(of("[5,6,7]"), [Arc::from([5u32, 6, 7])]);
        assert_eq!(
            of("[[5],[6,7]]"),
            [Arc::from([5u32].as_slice()), Arc::from([6u32, 7].as_slice())]
        );
        assert_eq!(of(r#""a b""#).len(), 1);
        assert_eq!(of(r#"["a","b","c"]"#).len(), 3);
    }

    #[test]
    fn defaults_are_those_of_the_real_server() {
        let completion = parse(Kind::Completion, r#"{"prompt":[5]}"#).unwrap();
        assert_eq!(completion.max_tokens, Some(16));
        let chat = parse(
            Kind::Chat,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}"#,
        )
        .unwrap();
        assert_eq!(chat.max_tokens, None);
        assert!(!chat.stream && !chat.include_usage);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let text = |kind, body| format!("{:?}", parse(kind, body).unwrap_err());
        assert!(text(Kind::Completion, "{").contains("400"));
        assert!(text(Kind::Completion, r#"{"model":"x","prompt":[5]}"#).contains("404"));
        assert!(text(Kind::Completion, r#"{"prompt":[]}"#).contains("no token"));
        assert!(text(Kind::Completion, r#"{"prompt":[5],"max_tokens":131072}"#).contains("context"));
        assert!(text(Kind::Completion, r#"{"prompt":[999999]}"#).contains("vocabulary"));
        assert!(text(Kind::Completion, r#"{"prompt":[5],"max_tokens":0}"#).contains("max_tokens"));
        assert!(
            text(
                Kind::Completion,
                r#"{"prompt":[5],"max_tokens":2,"min_tokens":3}"#
            )
            .contains("min_tokens")
        );
        assert!(text(Kind::Completion, r#"{"prompt":[5],"n":2}"#).contains("not simulated"));
        assert!(text(Kind::Completion, r#"{"prompt":[5],"stream_options":{}}"#).contains("stream_options"));
        assert!(text(Kind::Chat, r#"{"messages":[]}"#).contains("messages"));
    }
}
