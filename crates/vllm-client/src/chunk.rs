//! Reads one chunk of a completion stream: a hand-written scan for the shape that vLLM sends thousands of
//! times a second, and a full JSON parse for anything else. The scan never guesses: if it does not recognise
//! the whole chunk, it falls back to the parser.

use std::sync::LazyLock;

use memchr::memmem::{Finder, FinderRev};
use serde::Deserialize;

use crate::answer::{FinishReason, MaybeUsage, ServerMetrics};

static CHOICES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"choices\":[{\"index\":0,"));
static TOKEN_IDS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"token_ids\":["));
static MODEL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"model\":\""));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));
static SECOND_CHOICE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"},{"));
static INNER_OBJECT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\":{"));
static FINISH: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new(b"\"finish_reason\":"));

/// Result of the scan; the ids are in the caller's vector.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scanned<'a> {
    /// The finish reason's text, where the chunk has one.
    pub(crate) finish: Option<&'a [u8]>,
}

/// Recognises `{…,"choices":[{"index":0,…,"finish_reason":…,…,"token_ids":[…]}]…}` with exactly one choice
/// and no object next to it, and appends the ids to `ids`. Returns `None`, with `ids` unchanged, if the chunk
/// must be parsed.
///
/// Searching for keys as raw bytes is sound: inside a JSON string a quote is escaped, so `"token_ids":` with a bare
/// closing quote followed by a colon can only be a key.
pub(crate) fn scan<'a>(data: &'a [u8], ids: &mut Vec<i32>) -> Option<Scanned<'a>> {
    let choices = CHOICES.find(data)?;
    let head = data[..choices].strip_prefix(b"{")?;
    // `"error"` as a key, or as the value of `object`.
    if memchr::memchr(b'{', head).is_some() || ERROR.find(head).is_some() {
        return None;
    }
    let choice = &data[choices..];
    let at = TOKEN_IDS.find(choice)?;
    let (before, after) = (&choice[..at], &choice[at + TOKEN_IDS.needle().len()..]);
    // A second choice, or an object inside this one.
    if SECOND_CHOICE.find(before).is_some() || INNER_OBJECT.find(before).is_some() {
        return None;
    }
    let finish_at = FINISH.rfind(before)? + FINISH.needle().len();
    let finish = match &before[finish_at..] {
        [b'"', text @ ..] => Some(&text[..memchr::memchr(b'"', text)?]),
        text if text.starts_with(b"null") => None,
        _ => return None,
    };
    let start = ids.len();
    match numbers(after, ids) {
        Some(rest)
            if rest == b"}]}"
                || (rest.starts_with(b"}]")
                    && rest.ends_with(b"}")
                    && memchr::memchr(b'{', rest).is_none()
                    && ERROR.find(rest).is_none()) =>
        {
            Some(Scanned { finish })
        }
        _ => {
            ids.truncate(start);
            None
        }
    }
}

/// Reads `1,2,3]` (or `]`) and returns what follows it.
fn numbers<'a>(text: &'a [u8], ids: &mut Vec<i32>) -> Option<&'a [u8]> {
    if let Some(rest) = text.strip_prefix(b"]") {
        return Some(rest);
    }
    let mut at = 0;
    loop {
        let first = at;
        let mut id: i32 = 0;
        while let Some(digit) = text.get(at).filter(|b| b.is_ascii_digit()) {
            id = id.checked_mul(10)?.checked_add(i32::from(digit - b'0'))?;
            at += 1;
        }
        if at == first {
            return None;
        }
        ids.push(id);
        match text.get(at)? {
            b',' => at += 1,
            b']' => return Some(&text[at + 1..]),
            _ => return None,
        }
    }
}

/// The model named by a chunk of [`scan`]'s shape, as JSON text without its quotes.
pub(crate) fn model_of(data: &[u8]) -> Option<&[u8]> {
    let rest = &data[MODEL.find(data)? + MODEL.needle().len()..];
    Some(&rest[..memchr::memchr(b'"', rest)?])
}

/// A chunk, or a whole unstreamed answer, in its JSON form. Unused fields are omitted.
#[derive(Debug, Deserialize)]
pub(crate) struct Chunk {
    pub(crate) id: Option<String>,
    #[serde(default)]
    pub(crate) model: Option<String>,
    #[serde(default)]
    pub(crate) choices: Option<Vec<Choice>>,
    #[serde(default)]
    pub(crate) usage: Option<MaybeUsage>,
    #[serde(default)]
    pub(crate) metrics: Option<ServerMetrics>,
    #[serde(default)]
    pub(crate) error: Option<serde_json::Value>,
    /// `"error"` in the older form, with the error's fields at the top level.
    #[serde(default)]
    pub(crate) object: Option<String>,
}

impl Chunk {
    /// A chunk with exactly one answer.
    pub(crate) fn of(choice: Choice) -> Self {
        Self {
            id: None,
            model: None,
            choices: Some(vec![choice]),
            usage: None,
            metrics: None,
            error: None,
            object: None,
        }
    }
}

/// One answer of a chunk.
#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    #[serde(default)]
    pub(crate) index: u32,
    #[serde(default)]
    pub(crate) text: Option<String>,
    #[serde(default)]
    pub(crate) finish_reason: Option<FinishReason>,
    #[serde(default)]
    pub(crate) token_ids: Option<Vec<i32>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(data: &str) -> (Option<Option<String>>, Vec<i32>) {
        let mut ids = vec![9];
        let found =
            scan(data.as_bytes(), &mut ids).map(|s| s.finish.map(|f| String::from_utf8(f.to_vec()).unwrap()));
        (found, ids)
    }

    fn chunk(choice: &str, tail: &str) -> String {
        format!(
            r#"{{"id":"cmpl-1","object":"text_completion","created":1,"model":"m","choices":[{{"index":0,{choice}}}]{tail}}}"#
        )
    }

    #[test]
    fn the_usual_shapes() {
        let first = r#""text":" a","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":[1,2],"token_ids":[15]"#;
        assert_eq!(ids(&chunk(first, "")), (Some(None), vec![9, 15]));
        let last = r#""text":"","finish_reason":"length","stop_reason":null,"token_ids":[7,2147483647]"#;
        assert_eq!(
            ids(&chunk(last, r#","usage":null"#)),
            (Some(Some("length".to_owned())), vec![9, 7, i32::MAX])
        );
        assert_eq!(
            ids(&chunk(r#""finish_reason":null,"token_ids":[]"#, "")),
            (Some(None), vec![9])
        );
    }

    #[test]
    fn text_that_looks_like_keys_changes_nothing() {
        let text =
            r#""text":"\"token_ids\":[1,2] \"finish_reason\":\"x\" ","finish_reason":null,"token_ids":[5]"#;
        assert_eq!(ids(&chunk(text, "")), (Some(None), vec![9, 5]));
    }

    #[test]
    fn anything_else_is_left_to_the_parser() {
        let ok = r#""finish_reason":null,"token_ids":[5]"#;
        for odd in [
            chunk(r#""finish_reason":null,"token_ids":null"#, ""),
            chunk(r#""finish_reason":null,"token_ids":[1.5]"#, ""),
            chunk(r#""finish_reason":null,"token_ids":[-1]"#, ""),
            chunk(r#""finish_reason":null,"token_ids":[2147483648]"#, ""),
            chunk(r#""finish_reason":null,"token_ids":[1, 2]"#, ""),
            chunk(r#""finish_reason":null,"token_ids":[1,]"#, ""),
            chunk(r#""finish_reason":null,"token_ids":[1"#, ""),
            chunk(r#""token_ids":[1],"finish_reason":null"#, ""),
            chunk(r#""finish_reason":null,"logprobs":{"a":1},"token_ids":[1]"#, ""),
            chunk(
                r#""finish_reason":null,"text":""},{"index":1,"finish_reason":null,"token_ids":[1]"#,
                "",
            ),
            chunk(ok, r#","usage":{"completion_tokens":1}"#),
            chunk(ok, "").replace("\"index\":0", "\"index\":1"),
            chunk(ok, "").replace("{\"id\"", "{\"error\":{},\"id\""),
            r#"{"error":{"message":"m"}}"#.to_owned(),
            "[DONE]".to_owned(),
            String::new(),
        ] {
            assert_eq!(ids(&odd), (None, vec![9]), "{odd}");
        }
    }
}
