//! The parser: one walk over the page, line by line.

use crate::event::{Event, LineError, Name, Reason, Sample};
use crate::family::Families;
use crate::kind::{Format, Kind};
use crate::labels::take_quoted;
use crate::line::{self, is_utf8, take_metric_name, take_token, trim_start};

/// Iterator over the events of a page, in the order of its lines.
///
/// Blank lines and comments other than `# TYPE`, `# HELP`, `# UNIT` and `# EOF` yield nothing. A last line without
/// a line feed is read like any other. `\r\n` is accepted as a line end.
#[derive(Debug)]
pub struct Parser<'a> {
    page: &'a [u8],
    at: usize,
    line: u64,
    format: Format,
    families: Families<'a>,
    /// `# EOF` was read (OpenMetrics only).
    ended: bool,
    /// Everything that can be said about the end of the page was said.
    done: bool,
}

impl<'a> Parser<'a> {
    /// Starts at the first line of `page`.
    ///
    /// The format decides the unit of timestamps and whether `# EOF` must end the page; everything else of either
    /// format is understood in both.
    pub fn new(page: &'a [u8], format: Format) -> Self {
        Self {
            page,
            at: 0,
            line: 0,
            format,
            families: Families::default(),
            ended: false,
            done: false,
        }
    }

    /// Takes the rest of the current line, without its end, and moves behind it.
    fn take_line(&mut self) -> &'a [u8] {
        let rest = &self.page[self.at..];
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        self.at = (self.at + end + 1).min(self.page.len());
        let text = &rest[..end];
        text.strip_suffix(b"\r").unwrap_or(text)
    }

    fn bad(&self, text: &'a [u8], reason: Reason) -> Event<'a> {
        Event::Bad(LineError {
            line: self.line,
            reason,
            text,
        })
    }

    fn sample(&mut self) -> Event<'a> {
        let text = self.take_line();
        match line::parse(text, self.format) {
            Ok(line) => {
                let member = self.families.resolve(line.name.raw());
                Event::Sample(Sample {
                    series: line.series,
                    name: line.name,
                    labels: line.labels,
                    value: line.value,
                    timestamp_ns: line.timestamp_ns,
                    exemplar: line.exemplar,
                    family: Name::new(member.family),
                    kind: member.kind,
                    role: member.role,
                })
            }
            Err(reason) => self.bad(text, reason),
        }
    }

    /// A line that begins with `#`; `None` for a comment that says nothing to us.
    fn comment(&mut self) -> Option<Event<'a>> {
        let text = self.take_line();
        let body = trim_start(&trim_start(text)[1..]);
        let (keyword, rest) = take_token(body);
        match keyword {
            b"TYPE" | b"HELP" | b"UNIT" => {}
            b"EOF" if self.format == Format::OpenMetrics && rest.is_empty() => {
                self.ended = true;
                return Some(Event::Eof);
            }
            _ => return None,
        }
        if !is_utf8(text) {
            return Some(self.bad(text, Reason::Encoding));
        }
        let Some((family, rest)) = take_family_name(trim_start(rest)) else {
            return Some(self.bad(text, Reason::MetadataName));
        };
        Some(match keyword {
            b"TYPE" => {
                let (word, after) = take_token(trim_start(rest));
                match Kind::from_word(word) {
                    Some(kind) if trim_start(after).is_empty() => {
                        self.families.declare(family, kind);
                        Event::Type {
                            family: Name::new(family),
                            kind,
                        }
                    }
                    _ => self.bad(text, Reason::Type),
                }
            }
            // One separator belongs to the syntax, the rest to the text.
            b"HELP" => Event::Help {
                family: Name::new(family),
                escaped: rest.get(1..).unwrap_or_default(),
            },
            _ => Event::Unit {
                family: Name::new(family),
                unit: trim_start(rest).trim_ascii_end(),
            },
        })
    }

    /// What is to be said when the page is over.
    fn end(&mut self) -> Option<Event<'a>> {
        if self.done {
            return None;
        }
        self.done = true;
        if self.format == Format::OpenMetrics && !self.ended {
            self.line += 1;
            return Some(self.bad(b"", Reason::MissingEof));
        }
        None
    }
}

impl<'a> Iterator for Parser<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        loop {
            let Some(&first) = self.page.get(self.at) else {
                return self.end();
            };
            self.line += 1;
            if self.ended {
                let text = self.take_line();
                if text.trim_ascii().is_empty() {
                    continue;
                }
                return Some(self.bad(text, Reason::AfterEof));
            }
            let first = match first {
                b' ' | b'\t' | b'\r' => self.first_visible(),
                other => other,
            };
            match first {
                b'\n' => {
                    self.take_line();
                }
                b'#' => {
                    if let Some(event) = self.comment() {
                        return Some(event);
                    }
                }
                _ => return Some(self.sample()),
            }
        }
    }
}

impl Parser<'_> {
    /// The first byte of the current line that is not white space; a line feed if there is none.
    #[cold]
    fn first_visible(&self) -> u8 {
        let visible = |b: &&u8| !matches!(**b, b' ' | b'\t' | b'\r');
        self.page[self.at..]
            .iter()
            .find(visible)
            .copied()
            .unwrap_or(b'\n')
    }
}

/// The family name of a metadata line, and what follows it.
fn take_family_name(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = match text.strip_prefix(b"\"") {
        Some(quoted) => take_quoted(quoted)?,
        None => take_metric_name(text),
    };
    let ends_well = matches!(rest.first(), None | Some(b' ' | b'\t'));
    (!name.is_empty() && ends_well).then_some((name, rest))
}
