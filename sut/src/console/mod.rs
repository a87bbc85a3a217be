//! Standard output and the log on standard error.

mod held;
mod log;

use std::borrow::Cow;
use std::io::Write;

pub(crate) use self::held::{Held, held, hold};
pub(crate) use self::log::install;

/// How a plain line of progress begins.
pub(crate) const PROGRESS: &str = "progress: ";

/// Writes to standard output; a closed pipe must not turn a finished run into a failed one. Control characters,
/// for example in a server's error message, are shown as text.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _closed = out.write_all(visible(text).as_bytes()).and_then(|()| out.flush());
}

/// Narrowest terminal for which lines are wrapped.
const NARROWEST: usize = 40;

/// As [`print`], with long lines wrapped to the terminal and continued at column `indent`. Output that goes
/// elsewhere is not wrapped.
pub(crate) fn print_wrapped(text: &str, indent: usize) {
    let width = terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0));
    match width {
        Some(width) if width >= NARROWEST => print(&wrapped(text, width, indent)),
        _ => print(text),
    }
}

fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for line in text.split_inclusive('\n') {
        let mut column = 0;
        let mut words = 0;
        for word in line.split_inclusive(' ') {
            let length = word.trim_end().chars().count();
            if column + length > width && words > 0 && column > indent {
                while out.ends_with(' ') {
                    out.pop();
                }
                out.push('\n');
                out.push_str(&" ".repeat(indent));
                column = indent;
            }
            out.push_str(word);
            column += word.chars().count();
            words += usize::from(length > 0);
        }
    }
    out
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
    fn long_lines_are_continued_below_their_beginning() {
        let text = "  result      one two three four five\n  short\n";
        let wanted = "  result      one two\n              three four\n              five\n  short\n";
        assert_eq!(wrapped(text, 24, 14), wanted);
        assert_eq!(wrapped(text, 200, 14), text);
        // A word without a space, such as a path, stays whole.
        let path = "  file        /a/very/long/path/of/a/file\n";
        assert_eq!(wrapped(path, 24, 14), path);
    }

    #[test]
    fn a_servers_text_does_not_control_the_terminal() {
        assert_eq!(visible("a \u{1b}[31mred\r\n\tb"), "a \\u{1b}[31mred\\r\n\tb");
        assert!(matches!(visible("µs ± 1\n"), Cow::Borrowed(_)));
    }
}
