//! URLs without secrets, for errors, events, logs, tables and files.

use std::fmt;

use url::Url;

/// A URL without potential secrets: user name, password, query (which may contain tokens) and fragment.
///
/// Every URL that this library displays or stores goes through this type. A query is shown as `?…`, so that
/// its presence remains visible.
///
/// ```
/// use run_model::ShownUrl;
///
/// let shown = ShownUrl::from_text("http://me:secret@host:8086/api/v1/prom/write?u=me&p=secret");
/// assert_eq!(shown.as_str(), "http://host:8086/api/v1/prom/write?…");
/// // Text that is no URL is cut by the same rules.
/// assert_eq!(ShownUrl::from_text("htp:/me:secret@host?p=secret").as_str(), "htp:/host?…");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ShownUrl(String);

impl ShownUrl {
    /// Removes secrets from `url`.
    pub fn new(url: &Url) -> Self {
        Self::cut(url.as_str())
    }

    /// Removes secrets from `text`, which need not be a valid URL.
    pub fn from_text(text: &str) -> Self {
        match Url::parse(text) {
            Ok(url) if url.has_host() => Self::new(&url),
            _ => Self::cut(text),
        }
    }

    fn cut(text: &str) -> Self {
        let (text, has_query) = match text.split_once(['?', '#']) {
            Some((before, _)) => (before, text[before.len()..].starts_with('?')),
            None => (text, false),
        };
        let scheme = text
            .split_once(':')
            .filter(|(scheme, rest)| !scheme.contains('@') && rest.starts_with('/'))
            .map_or(0, |(scheme, rest)| {
                text.len() - rest.trim_start_matches('/').len() - usize::from(scheme.is_empty())
            });
        let (start, rest) = text.split_at(scheme);
        // This also cuts at an unescaped @ in a path: showing too little is safer than showing a password.
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        Self(format!("{start}{host}{}", if has_query { "?…" } else { "" }))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShownUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ShownUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<ShownUrl> for String {
    fn from(url: ShownUrl) -> Self {
        url.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_left_whatever_the_text() {
        let check = |text: &str, expected: &str| {
            let shown = ShownUrl::from_text(text);
            assert_eq!(shown.as_str(), expected, "{text}");
            assert!(!format!("{shown} {shown:?}").contains("canary"), "{text}");
        };
        check("http://h/metrics", "http://h/metrics");
        check("http://user:canary@h/metrics?token=canary", "http://h/metrics?…");
        check("http://canary@h:9091/a#canary", "http://h:9091/a");
        check("https://[::1]:1/?canary", "https://[::1]:1/?…");
        check("user:canary@h:8000/metrics", "h:8000/metrics");
        check("http//user:canary@h", "h");
        check("http://user:can@ry@canary@h/x", "http://h/x");
        check("s3://bucket/prefix", "s3://bucket/prefix");
        check("", "");
    }
}
