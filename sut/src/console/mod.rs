//! Standard output and the log on standard error.

mod log;

use std::borrow::Cow;
use std::io::Write;

pub(crate) use self::log::install;

/// Writes to standard output; a closed pipe must not turn a finished run into a failed one. Control characters,
/// for example in a server's error message, are shown as text.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _closed = out.write_all(visible(text).as_bytes()).and_then(|()| out.flush());
}

/// `text` with control characters other than line breaks and tabs escaped: a terminal would obey them.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if obeyed(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_text_does_not_control_the_terminal() {
        assert_eq!(visible("a \u{1b}[31mred\r\n\tb"), "a \\u{1b}[31mred\\r\n\tb");
        assert!(matches!(visible("µs ± 1\n"), Cow::Borrowed(_)));
    }
}
