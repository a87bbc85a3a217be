//! Names as written in a page, and the escapes of quoted texts.

use std::borrow::Cow;

/// A metric or label name as written in the page.
///
/// Classic names are ASCII and have no escapes. The newer quoted form allows any UTF-8 text and may contain
/// escapes; [`Name::text`] resolves them. Names compare by their raw bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Name<'a> {
    raw: &'a [u8],
}

impl<'a> Name<'a> {
    pub(crate) fn new(raw: &'a [u8]) -> Self {
        Self { raw }
    }

    /// The bytes as written, without the quotes.
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// The name itself; borrowed unless a quoted name holds escapes.
    pub fn text(self) -> Cow<'a, str> {
        unescape(self.raw)
    }
}

impl std::fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.text(), f)
    }
}

/// Resolves `\\`, `\"` and `\n`; any other backslash is literal, as in OpenMetrics.
pub(crate) fn unescape(raw: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(raw);
    if !text.contains('\\') {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some(escaped @ ('\\' | '"')) => out.push(escaped),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    Cow::Owned(out)
}
