//! Splits a byte stream into server-sent events, without a copy if an event is contained in one piece.
//!
//! Follows the event-stream format of the HTML standard: LF, CRLF or CR line ends, comments, several `data`
//! lines joined by LF, a byte order mark, unknown fields ignored. Two differences: a line that does not begin
//! with a word is an error, since it shows that this is not an event stream; and a line `error: …` counts as
//! an event of that name, because some servers write it.

/// Longest line or event that is buffered, in bytes. The longest valid one contains a prompt's token ids.
pub(crate) const MAX_EVENT_BYTES: usize = 32 << 20;

/// Why bytes are not an event stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SplitError {
    /// A line that cannot occur in an event stream; contains its beginning.
    NoField(String),
    /// An event of more than [`MAX_EVENT_BYTES`].
    TooLong,
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    pub(crate) data: &'a [u8],
    /// The event's name is `error`.
    pub(crate) is_error: bool,
}

/// Splits pieces of bytes into events, in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct EventSplitter {
    /// Beginning of a line whose end has not arrived.
    partial: Vec<u8>,
    /// Data of an event whose blank line has not arrived, if it could not stay borrowed.
    data: Vec<u8>,
    has_data: bool,
    /// Whether the current event is named `error`.
    is_error: bool,
    /// The last piece ended in CR: an LF at the start of the next one belongs to it.
    skip_lf: bool,
    started: bool,
}

impl EventSplitter {
    /// Splits `piece` and calls `on_event` with the data of each complete event.
    pub(crate) fn feed<E: From<SplitError>>(
        &mut self,
        piece: &[u8],
        mut on_event: impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = piece;
        if self.skip_lf && !rest.is_empty() {
            self.skip_lf = false;
            if rest[0] == b'\n' {
                rest = &rest[1..];
            }
        }
        // The one data line of the current event, while it can be borrowed from this piece.
        let mut borrowed: Option<&[u8]> = None;
        while let Some(end) = memchr::memchr2(b'\n', b'\r', rest) {
            let head = &rest[..end];
            let was_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            if was_cr {
                match rest.first() {
                    Some(b'\n') => rest = &rest[1..],
                    Some(_) => {}
                    None => self.skip_lf = true,
                }
            }
            let owned = if self.partial.is_empty() {
                None
            } else {
                self.partial.extend_from_slice(head);
                Some(std::mem::take(&mut self.partial))
            };
            let mut line = owned.as_deref().unwrap_or(head);
            if !self.started {
                self.started = true;
                line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
            }
            let field = if line.is_empty() { Field::End } else { field(line)? };
            if let Field::End = field {
                let is_error = std::mem::take(&mut self.is_error);
                if let Some(data) = borrowed.take() {
                    on_event(Event { data, is_error })?;
                } else if self.has_data {
                    let data = &self.data;
                    on_event(Event { data, is_error })?;
                    self.has_data = false;
                    self.data.clear();
                }
            } else if let Field::Name(name) = field {
                self.is_error = name == b"error";
            } else if let Field::Data(value) | Field::Error(value) = field {
                self.is_error |= matches!(field, Field::Error(_));
                if borrowed.is_none() && !self.has_data && owned.is_none() {
                    // `line` is `head` or its end, so it lives as long as the piece.
                    borrowed = Some(&head[head.len() - value.len()..]);
                } else {
                    if let Some(first) = borrowed.take() {
                        self.keep(first)?;
                    }
                    self.keep(value)?;
                }
            }
            if let Some(mut buffer) = owned {
                buffer.clear();
                self.partial = buffer;
            }
        }
        if self.partial.len() + rest.len() > MAX_EVENT_BYTES {
            return Err(SplitError::TooLong.into());
        }
        self.partial.extend_from_slice(rest);
        if let Some(first) = borrowed {
            self.keep(first)?;
        }
        Ok(())
    }

    fn keep(&mut self, value: &[u8]) -> Result<(), SplitError> {
        if self.data.len() + value.len() > MAX_EVENT_BYTES {
            return Err(SplitError::TooLong);
        }
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(value);
        Ok(())
    }

    /// The data of an event whose blank line has not arrived; empty when there is none.
    pub(crate) fn pending(&self) -> &[u8] {
        match field(&self.partial) {
            Ok(Field::Data(value)) if !self.has_data => value,
            _ if self.has_data => &self.data,
            _ => &[],
        }
    }
}

/// One line that is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field<'a> {
    /// The blank line.
    End,
    Data(&'a [u8]),
    /// The event's name.
    Name(&'a [u8]),
    /// `error: …`, which is not in the standard.
    Error(&'a [u8]),
    /// A comment or an irrelevant field.
    Other,
}

fn field(line: &[u8]) -> Result<Field<'_>, SplitError> {
    let colon = memchr::memchr(b':', line);
    let name = &line[..colon.unwrap_or(line.len())];
    let value = colon.map_or(&line[line.len()..], |at| &line[at + 1..]);
    let value = value.strip_prefix(b" ").unwrap_or(value);
    match name {
        b"data" => Ok(Field::Data(value)),
        b"event" => Ok(Field::Name(value)),
        b"error" => Ok(Field::Error(value)),
        b"" => Ok(Field::Other),
        word if word
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b)) =>
        {
            Ok(Field::Other)
        }
        _ => Err(SplitError::NoField(crate::error::excerpt(line))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl From<SplitError> for String {
        fn from(error: SplitError) -> Self {
            format!("{error:?}")
        }
    }

    fn cut(pieces: &[&[u8]]) -> Result<Vec<String>, String> {
        let mut splitter = EventSplitter::default();
        let mut events = Vec::new();
        for piece in pieces {
            splitter.feed(piece, |event| {
                let text = String::from_utf8(event.data.to_vec()).unwrap();
                events.push(if event.is_error {
                    format!("error {text}")
                } else {
                    text
                });
                Ok::<(), String>(())
            })?;
        }
        Ok(events)
    }

    #[test]
    fn one_piece_many_events() {
        assert_eq!(
            cut(&[b"data: a\n\ndata: b\n\ndata:c\n\n"]).unwrap(),
            ["a", "b", "c"]
        );
    }

    #[test]
    fn line_ends_comments_other_fields_and_mark() {
        let text = b"\xef\xbb\xbf: ping\r\n\r\nevent: x\r\nid: 7\rretry\ndata: a\r\n\r\ndata: b\r\rdata\n\ndata:  c\n\n";
        assert_eq!(cut(&[text]).unwrap(), ["a", "b", "", " c"]);
    }

    #[test]
    fn several_data_lines_are_joined() {
        assert_eq!(
            cut(&[b"data: a\ndata: b\n: c\ndata: d\n\n"]).unwrap(),
            ["a\nb\nd"]
        );
    }

    #[test]
    fn an_unended_event_is_not_dispatched() {
        let mut splitter = EventSplitter::default();
        splitter
            .feed(b"data: a\n", |_| -> Result<(), String> { panic!("not complete") })
            .unwrap();
        assert_eq!(splitter.pending(), b"a");
    }

    #[test]
    fn unknown_fields_are_ignored_and_errors_are_named() {
        for text in [
            "x-trace: 7\nevent: error\ndata: a\n\ndata: b\n\n",
            "data: a\nevent: error\n\nid\ndata: b\n\n",
            "error: a\n\nevent: error\n\ndata: b\n\n",
        ] {
            assert_eq!(cut(&[text.as_bytes()]).unwrap(), ["error a", "b"], "{text}");
            // One byte at a time.
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(cut(&bytes).unwrap(), ["error a", "b"], "{text}");
        }
    }

    #[test]
    fn data_without_its_blank_line_is_pending() {
        for text in ["data: [DONE]", "data: [DONE]\n", "data:[DONE]\r\n: c\n"] {
            let mut splitter = EventSplitter::default();
            splitter
                .feed(text.as_bytes(), |_| -> Result<(), String> {
                    panic!("not complete")
                })
                .unwrap();
            assert_eq!(splitter.pending(), b"[DONE]", "{text}");
        }
    }

    #[test]
    fn garbage_is_named() {
        assert!(cut(&[b"<html>no</html>\n"]).unwrap_err().contains("<html>"));
    }

    proptest! {
        /// The events do not depend on how the bytes are split.
        #[test]
        fn splits_do_not_matter(
            events in prop::collection::vec("[ -~]{0,12}(\n[a-z]{0,3}){0,2}", 1..6),
            ends in prop::collection::vec(0usize..3, 64),
            splits in prop::collection::vec(0usize..200, 0..12),
        ) {
            let mut text = Vec::new();
            let mut end = ends.iter().map(|&i| ["\n", "\r\n", "\r"][i]).cycle();
            for event in &events {
                for line in event.split('\n') {
                    text.extend_from_slice(b"data: ");
                    text.extend_from_slice(line.as_bytes());
                    text.extend_from_slice(end.next().unwrap().as_bytes());
                }
                // A lone CR and the LF of the next line end would read as one CRLF.
                text.extend_from_slice(if text.ends_with(b"\r") { b"\r" } else { b"\n" });
            }
            let mut at: Vec<usize> = splits.iter().map(|s| s % (text.len() + 1)).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            prop_assert_eq!(cut(&pieces).unwrap(), events);
        }
    }
}
