//! The parser: one pass over the page, line by line.

use crate::block::Scanner;
use crate::event::{Event, LineError, Reason, Sample};
use crate::family::Families;
use crate::fast;
use crate::kind::Format;
use crate::line::{self, Line};
use crate::metadata::{self, Comment, Metadata};
use crate::name::Name;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Iterator over the events of a page, in the order of its lines.
///
/// Blank lines and comments other than `# TYPE`, `# HELP`, `# UNIT` and `# EOF` yield nothing. A last line without
/// a line feed is parsed like any other. `\r\n` is accepted as a line end.
#[derive(Debug)]
pub struct Parser<'a> {
    page: &'a [u8],
    /// At `at` between two events.
    scanner: Scanner<'a>,
    at: usize,
    line: u64,
    format: Format,
    families: Families<'a>,
    /// The text after `# EOF` (OpenMetrics only), once it was read or found to be missing; `page` ends there
    /// then.
    behind_eof: Option<&'a [u8]>,
}

impl<'a> Parser<'a> {
    /// Starts at the first line of `page`.
    ///
    /// The format determines the unit of timestamps and whether `# EOF` must end the page; all other syntax
    /// of either format is accepted in both.
    pub fn new(page: &'a [u8], format: Format) -> Self {
        let at = if page.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            0
        };
        let mut scanner = Scanner::new(page);
        scanner.start(at);
        Self {
            page,
            scanner,
            at,
            line: 0,
            format,
            families: Families::default(),
            behind_eof: None,
        }
    }

    /// The next event, whatever the line begins with.
    #[inline(never)]
    fn next_of_any_form(&mut self) -> Option<Event<'a>> {
        loop {
            let Some(&first) = self.page.get(self.at) else {
                return self.end();
            };
            self.line += 1;
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

    /// Takes the rest of the current line, without its end, and moves past it.
    fn take_line(&mut self) -> &'a [u8] {
        let rest = &self.page[self.at..];
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        self.at = (self.at + end + 1).min(self.page.len());
        self.scanner.start(self.at);
        let text = &rest[..end];
        // Any number of them; otherwise a help text could end with one, which no writer can write.
        let visible = text.iter().rposition(|&b| b != b'\r').map_or(0, |last| last + 1);
        &text[..visible]
    }

    fn bad(&self, text: &'a [u8], reason: Reason) -> Event<'a> {
        Event::Bad(LineError {
            line: self.line,
            reason,
            text,
        })
    }

    #[inline]
    fn sample(&mut self) -> Event<'a> {
        let line = match fast::parse(self.page, &mut self.scanner, self.at) {
            Some((line, next)) => {
                self.at = next;
                line
            }
            None => match self.unusual_line() {
                Ok(line) => line,
                Err(event) => return event,
            },
        };
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

    #[cold]
    fn unusual_line(&mut self) -> Result<Line<'a>, Event<'a>> {
        let text = self.take_line();
        line::parse(text, self.format).map_err(|reason| self.bad(text, reason))
    }

    /// A line that begins with `#`; `None` for a comment.
    #[inline]
    fn comment(&mut self) -> Option<Event<'a>> {
        match fast::parse_metadata(self.page, &mut self.scanner, self.at) {
            Some((metadata, next)) => {
                self.at = next;
                Some(self.metadata_event(metadata))
            }
            None => self.unusual_comment(),
        }
    }

    #[inline]
    fn metadata_event(&mut self, metadata: Metadata<'a>) -> Event<'a> {
        match metadata {
            Metadata::Type { family, kind } => {
                self.families.declare(family, kind);
                Event::Type {
                    family: Name::new(family),
                    kind,
                }
            }
            Metadata::Help { family, escaped } => Event::Help {
                family: Name::new(family),
                escaped,
            },
            Metadata::Unit { family, unit } => Event::Unit {
                family: Name::new(family),
                unit,
            },
        }
    }

    #[cold]
    fn unusual_comment(&mut self) -> Option<Event<'a>> {
        let text = self.take_line();
        match metadata::parse(text) {
            Ok(Some(Comment::Metadata(metadata))) => Some(self.metadata_event(metadata)),
            Ok(Some(Comment::Eof)) if self.format == Format::OpenMetrics => {
                self.behind_eof = Some(&self.page[self.at..]);
                self.page = &self.page[..self.at];
                Some(Event::Eof)
            }
            Ok(_) => None,
            Err(reason) => Some(self.bad(text, reason)),
        }
    }

    /// The event, if any, at the end of the page, or of the part before `# EOF`.
    fn end(&mut self) -> Option<Event<'a>> {
        if self.format == Format::Text {
            return None;
        }
        let Some(rest) = self.behind_eof else {
            self.behind_eof = Some(b"");
            self.line += 1;
            return Some(self.bad(b"", Reason::MissingEof));
        };
        let mut rest = rest;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let text = rest[..end].trim_ascii();
            rest = rest.get(end + 1..).unwrap_or_default();
            self.behind_eof = Some(rest);
            self.line += 1;
            if !text.is_empty() {
                return Some(self.bad(text, Reason::AfterEof));
            }
        }
        None
    }
}

impl<'a> Iterator for Parser<'a> {
    type Item = Event<'a>;

    #[inline]
    fn next(&mut self) -> Option<Event<'a>> {
        // Nothing else that begins a line is above `#`.
        if let Some(b'$'..) = self.page.get(self.at) {
            self.line += 1;
            return Some(self.sample());
        }
        self.next_of_any_form()
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
