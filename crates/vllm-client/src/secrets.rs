//! Redacts command lines for display and storage: replaces the values of keys, tokens and passwords.

/// Placeholder for a secret.
const HIDDEN: &str = "(redacted)";

/// Whether a flag, variable or field of this name contains a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let ends = [
        "token",
        "key",
        "secret",
        "password",
        "passwd",
        "passphrase",
        "credential",
    ];
    let words = [
        "auth",
        "authorization",
        "authorisation",
        "bearer",
        "cookie",
        "credentials",
        "pass",
        "pat",
        "pwd",
    ];
    // Compared by parts, so that `--max-num-batched-tokens` and `--ssl-keyfile` stay readable.
    name.split(['-', '_', '.', '"', '\''])
        .any(|part| words.contains(&part) || ends.iter().any(|end| part.ends_with(end)))
}

/// Replaces the values of flags (`--api-key x`, `--api-key=x`), assignments (`HF_TOKEN=x`), headers
/// (`Authorization: Bearer x`) and JSON fields (`{"api_key": "x"}`, at any depth) that hold secrets, and user and
/// password of URLs. A word that is itself a command line, as of `--server-args "--hf-token x"`, is read as one.
pub fn redact_args(words: &[String]) -> Vec<String> {
    let mut after = After::Other;
    words.iter().map(|word| after.word(word)).collect()
}

/// Redacts a URL: user, password, query and fragment. Text that is not a URL is treated as one.
pub fn redact_url(url: &str) -> String {
    let shown = without_users(url);
    match shown.find(['?', '#']) {
        Some(at) if at + 1 < shown.len() => format!("{}{HIDDEN}", &shown[..=at]),
        _ => shown,
    }
}

/// JSON with the values of secret names replaced, at any depth; `None` if it is not a JSON object or list.
fn redact_json(word: &str) -> Option<String> {
    fn redact(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(map) => {
                for (name, value) in map {
                    if is_secret(name) {
                        *value = HIDDEN.into();
                    } else {
                        redact(value);
                    }
                }
            }
            serde_json::Value::Array(list) => list.iter_mut().for_each(redact),
            serde_json::Value::String(text) => *text = without_secrets(text),
            _ => {}
        }
    }
    let is_json = word.trim_start().starts_with(['{', '[']);
    let mut value: serde_json::Value = is_json.then(|| serde_json::from_str(word).ok()).flatten()?;
    let before = value.clone();
    redact(&mut value);
    // Unchanged if there is nothing to hide.
    Some(if value == before {
        word.to_owned()
    } else {
        value.to_string()
    })
}

/// A header line with its value replaced if the header is secret: `Authorization: Bearer x`.
fn redact_header(word: &str) -> Option<String> {
    let (name, value) = word.split_once(':')?;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (is_name && !value.starts_with("//") && is_secret(name)).then(|| format!("{name}: {HIDDEN}"))
}

/// What the previous words imply for the next one.
#[derive(Clone, Copy, PartialEq)]
enum After {
    /// Nothing.
    Other,
    /// It is the value of a secret flag.
    Flag,
    /// It may be one more value of a secret flag: `--api-key a b`.
    Value,
}

impl After {
    fn word(&mut self, word: &str) -> String {
        let is_value = match *self {
            Self::Other => false,
            // A key may begin with a dash.
            Self::Flag => !word.starts_with("--"),
            Self::Value => !word.starts_with('-'),
        };
        if is_value {
            *self = Self::Value;
            return HIDDEN.to_owned();
        }
        *self = Self::Other;
        if let Some(shown) = redact_json(word).or_else(|| redact_header(word)) {
            return shown;
        }
        let pieces = pieces(word);
        if pieces.len() > 1 {
            let mut inner = Self::Other;
            return pieces
                .iter()
                .map(|piece| {
                    let text = piece.trim_end();
                    inner.word(text) + &piece[text.len()..]
                })
                .collect();
        }
        if let Some((quote, inside)) = quoted(word) {
            return format!("{quote}{}{quote}", self.word(inside));
        }
        self.assignment(&without_secrets(word))
    }

    /// `NAME=value`, `--name=value`, or a separate word.
    fn assignment(&mut self, word: &str) -> String {
        if let Some(host) = after_user(word) {
            return HIDDEN.to_owned() + host;
        }
        match word.split_once('=') {
            Some((name, _)) if is_secret(name) => format!("{name}={HIDDEN}"),
            Some((name, value)) => format!("{name}={}", self.word(value)),
            None => {
                if word.starts_with('-') && is_secret(word) {
                    *self = Self::Flag;
                }
                word.to_owned()
            }
        }
    }
}

/// Splits at white space outside of quotes; the white space stays at the end of the preceding piece.
fn pieces(word: &str) -> Vec<&str> {
    let mut quote = None;
    let mut cuts = vec![0];
    let mut in_space = false;
    for (at, c) in word.char_indices() {
        let space = c.is_whitespace() && quote.is_none();
        if in_space && !space {
            cuts.push(at);
        }
        in_space = space;
        match quote {
            Some(open) if open == c => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            _ => {}
        }
    }
    if quote.is_some() {
        // An apostrophe is not a quote, so every space counts.
        return word.split_inclusive(char::is_whitespace).collect();
    }
    cuts.push(word.len());
    cuts.windows(2).map(|cut| &word[cut[0]..cut[1]]).collect()
}

/// The text between quotes that enclose the whole word.
fn quoted(word: &str) -> Option<(char, &str)> {
    ['"', '\''].into_iter().find_map(|quote| {
        let inside = word.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inside.contains(quote)).then_some((quote, inside))
    })
}

/// The rest of a URL without scheme after user and password, which some flags take.
fn after_user(word: &str) -> Option<&str> {
    if word.starts_with('-') || word.contains("://") {
        return None;
    }
    let authority = word.split(['/', '?', '#']).next()?;
    let at = authority.rfind('@')?;
    authority[..at].contains(':').then_some(&word[at..])
}

/// Replaces user, password, query and fragment of every URL.
fn without_secrets(word: &str) -> String {
    // First, since a password may contain what ends a URL below.
    let word = without_users(word);
    let mut shown = String::with_capacity(word.len());
    let mut rest = word.as_str();
    while let Some(at) = rest.find("://") {
        // A URL in a text ends with a space, a quote or the comma before labels.
        let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '<' | '>' | '}');
        let end = rest[at..].find(is_end).map_or(rest.len(), |len| at + len);
        shown.push_str(&redact_url(&rest[..end]));
        rest = &rest[end..];
    }
    shown + rest
}

/// Replaces user and password of every URL.
fn without_users(word: &str) -> String {
    let mut shown = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find("://") {
        let (before, authority) = rest.split_at(at + 3);
        shown.push_str(before);
        let end = authority.find(['/', '?', '#', '\\']).unwrap_or(authority.len());
        // The last one, since a password may hold more.
        rest = match authority[..end].rfind('@') {
            Some(sign) => {
                shown.push_str(HIDDEN);
                &authority[sign..]
            }
            None => authority,
        };
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        redact_args(&words).join(" ")
    }

    #[test]
    fn secrets_are_found_wherever_they_stand() {
        for (words, told) in [
            (
                &["--api-key", "canary", "canary", "--port", "1"][..],
                "--api-key (redacted) (redacted) --port 1",
            ),
            (&["--api-key", "-canary"], "--api-key (redacted)"),
            (&["--api-key=canary", "x"], "--api-key=(redacted) x"),
            (
                &["--server-args", "--hf-token canary --max-num-seqs 4"],
                "--server-args --hf-token (redacted) --max-num-seqs 4",
            ),
            (
                &["--server-args=--hf-token canary  --max-num-seqs 4"],
                "--server-args=--hf-token (redacted)  --max-num-seqs 4",
            ),
            (
                &["--serve-command", "env HF_TOKEN=canary vllm serve"],
                "--serve-command env HF_TOKEN=(redacted) vllm serve",
            ),
            (
                &["bash -c 'env \"HF_TOKEN=canary\" vllm serve --api-key canary'"],
                "bash -c 'env \"HF_TOKEN=(redacted)\" vllm serve --api-key (redacted)'",
            ),
            (
                &["--note it's --api-key canary"],
                "--note it's --api-key (redacted)",
            ),
            (
                &["--a '--api-key \"canary canary\"'"],
                "--a '--api-key (redacted)'",
            ),
            (&["HF_TOKEN='canary canary' vllm"], "HF_TOKEN=(redacted) vllm"),
            (&["http://me:canary@canary@h:1/v1"], "http://(redacted)@h:1/v1"),
            (
                &["--url=http://a:1,http://me:can=canary@h"],
                "--url=http://a:1,http://(redacted)@h",
            ),
            (&["http://me:can,canary@h/"], "http://(redacted)@h/"),
            (
                &["--metrics-url", "me:can=canary@h:1/m"],
                "--metrics-url (redacted)@h:1/m",
            ),
            (
                &["--metrics-url=me:canary@h:1/m"],
                "--metrics-url=(redacted)@h:1/m",
            ),
            (&["http://h/m?a=1&token=canary"], "http://h/m?(redacted)"),
            (
                &["--override-x", "{\"api_key\":\"canary\",\"n\":1}"],
                "--override-x {\"api_key\":\"(redacted)\",\"n\":1}",
            ),
            (
                &[
                    "--server-args",
                    "--x '{\"extra\": {\"password\": \"canary\"}}' --y 1",
                ],
                "--server-args --x '{\"extra\":{\"password\":\"(redacted)\"}}' --y 1",
            ),
            (
                &["--x={\"auth\":[\"canary\",{\"token\":\"canary\"}]}"],
                "--x={\"auth\":\"(redacted)\"}",
            ),
            (
                &["--x", "{\"url\":\"redis://me:canary@h\"}"],
                "--x {\"url\":\"redis://(redacted)@h\"}",
            ),
            (
                &["--header", "Authorization: Bearer canary"],
                "--header Authorization: (redacted)",
            ),
            (
                &["--server-args", "--header \"Authorization: Bearer canary\" --y 1"],
                "--server-args --header \"Authorization: (redacted)\" --y 1",
            ),
            (
                &["--auth", "canary", "--bearer=canary"],
                "--auth (redacted) --bearer=(redacted)",
            ),
            (
                &["--pat", "canary", "--pwd", "canary"],
                "--pat (redacted) --pwd (redacted)",
            ),
            (
                &["--url", "http://h:1/#canary", "--to=http://h/m?x=canary,node=a"],
                "--url http://h:1/#(redacted) --to=http://h/m?(redacted),node=a",
            ),
            (
                &["--passphrase=canary", "--pass", "canary"],
                "--passphrase=(redacted) --pass (redacted)",
            ),
        ] {
            let words = shown(words);
            assert_eq!(words, told);
            assert!(!words.contains("canary"), "{words}");
        }
    }

    #[test]
    fn a_url_shows_no_user_and_no_query() {
        for (url, told) in [
            ("http://h:1/v1", "http://h:1/v1"),
            (
                "http://me:canary@h/?token=canary#canary",
                "http://(redacted)@h/?(redacted)",
            ),
            ("http://h/m#canary", "http://h/m#(redacted)"),
            ("http://me:canary@[bad", "http://(redacted)@[bad"),
            ("http://h/?", "http://h/?"),
        ] {
            assert_eq!(redact_url(url), told);
        }
    }

    #[test]
    fn all_else_stays_as_it_is() {
        for word in [
            "--max-num-batched-tokens 8192 --ssl-keyfile a.pem",
            "{\"level\": 3, \"sizes\": [1, 2]}",
            "busy=sum(vllm:num_requests_running) / 256",
            "http://gpu7:9400/metrics,owner=me@site",
            " a  b ",
            "",
            "'",
        ] {
            assert_eq!(shown(&[word]), word);
        }
    }
}
