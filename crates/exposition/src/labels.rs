//! The labels of a sample: raw text that was validated with the line, and is split during iteration.

use std::borrow::Cow;

use crate::name::{Name, unescape};

/// The text between the braces of a sample, already validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Labels<'a> {
    raw: &'a [u8],
}

impl<'a> Labels<'a> {
    pub(crate) fn new(raw: &'a [u8]) -> Self {
        Self { raw }
    }

    /// The text between the braces exactly as written.
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// True if there is no label.
    pub fn is_empty(self) -> bool {
        self.iter().next().is_none()
    }

    /// The labels in the order they are written in.
    pub fn iter(self) -> Iter<'a> {
        Iter { rest: self.raw }
    }

    /// The value of the first label of this name.
    pub fn get(self, name: &str) -> Option<Cow<'a, str>> {
        self.iter()
            .find(|label| label.name.text() == name)
            .map(Label::value)
    }

    /// The first label name that occurs twice. Prometheus rejects such a line. The parser does not check
    /// this, because a reader that recognises series by their bytes needs the check only once per series.
    ///
    /// ```
    /// use exposition::{Event, Format, Parser};
    ///
    /// let mut parser = Parser::new(b"f{a=\"1\",a=\"2\"} 4\n", Format::Text);
    /// let Some(Event::Sample(sample)) = parser.next() else { panic!("a sample") };
    /// assert_eq!(sample.labels.duplicate().unwrap().text(), "a");
    /// ```
    pub fn duplicate(self) -> Option<Name<'a>> {
        let is_before =
            |at: usize, name: Name<'_>| self.iter().take(at).any(|l| l.name.text() == name.text());
        self.iter()
            .enumerate()
            .find(|(at, label)| is_before(*at, label.name))
            .map(|(_, label)| label.name)
    }
}

impl<'a> IntoIterator for Labels<'a> {
    type Item = Label<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// One label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label<'a> {
    /// Its name.
    pub name: Name<'a>,
    /// Its value, still escaped; [`Label::value`] unescapes it.
    pub escaped: &'a [u8],
}

impl<'a> Label<'a> {
    /// Its value; borrowed unless it holds escapes.
    pub fn value(self) -> Cow<'a, str> {
        unescape(self.escaped)
    }
}

/// Iterator over the labels of one sample.
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Label<'a>;

    fn next(&mut self) -> Option<Label<'a>> {
        loop {
            let separators = |b: &u8| matches!(b, b' ' | b'\t' | b',');
            let start = self.rest.iter().position(|b| !separators(b))?;
            let rest = &self.rest[start..];
            let (name, rest) = if rest[0] == b'"' {
                take_quoted(&rest[1..])?
            } else {
                let end = rest.iter().position(|b| matches!(b, b'=' | b' ' | b'\t'))?;
                rest.split_at(end)
            };
            let rest = rest.trim_ascii_start();
            let Some(rest) = rest.strip_prefix(b"=") else {
                // A quoted text without a value is the metric's name in the newer form.
                self.rest = rest;
                continue;
            };
            let (escaped, rest) = take_quoted(rest.trim_ascii_start().strip_prefix(b"\"")?)?;
            self.rest = rest;
            return Some(Label {
                name: Name::new(name),
                escaped,
            });
        }
    }
}

/// Splits the text after an opening quote into the quoted text and the rest after the closing quote.
pub(crate) fn take_quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', &text[from..])?;
        if text[at] == b'"' {
            return Some((&text[..at], &text[at + 1..]));
        }
        from = at + 2;
        if from > text.len() {
            return None;
        }
    }
}
