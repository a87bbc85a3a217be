//! Numbers as text.

/// Stands for an absent value.
pub(crate) const ABSENT: &str = "-";

fn or_absent(value: Option<f64>, text: impl Fn(f64) -> String) -> String {
    value
        .filter(|value| value.is_finite())
        .map_or_else(|| ABSENT.to_owned(), text)
}

/// Three significant digits below 100, whole numbers above.
pub(crate) fn number(value: Option<f64>) -> String {
    or_absent(value, |value| match value.abs() {
        n if n >= 99.95 || n == 0.0 => format!("{value:.0}"),
        n if n >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    })
}

/// A count.
pub(crate) fn whole(value: Option<f64>) -> String {
    or_absent(value, |value| format!("{value:.0}"))
}

/// A ratio as a percentage.
pub(crate) fn percent(ratio: Option<f64>) -> String {
    or_absent(ratio, |ratio| format!("{:.0} %", ratio * 100.0))
}

/// A time in seconds with a fitting unit.
pub(crate) fn time(seconds: Option<f64>) -> String {
    or_absent(seconds, |seconds| match seconds.abs() {
        s if s >= 9.995 => format!("{seconds:.1} s"),
        s if s >= 0.9995 => format!("{seconds:.2} s"),
        s if s >= 0.099_95 => format!("{:.0} ms", seconds * 1e3),
        s if s >= 0.000_999_5 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{:.0} us", seconds * 1e6),
    })
}

/// `1:02:03`, or `2:03` below an hour.
pub(crate) fn clock(seconds: f64) -> String {
    let total = seconds.max(0.0) as u64;
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// Bytes as GiB.
pub(crate) fn gib(bytes: Option<f64>) -> String {
    or_absent(bytes, |bytes| format!("{:.1}", bytes / (1u64 << 30) as f64))
}

/// Text without control characters, which could change the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits_and_absent_ones_are_no_zero() {
        for (value, text) in [
            (5496.94, "5497"),
            (52.12, "52.1"),
            (0.25, "0.25"),
            (0.0, "0"),
            (99.97, "100"),
        ] {
            assert_eq!(number(Some(value)), text);
        }
        for text in [
            number(None),
            number(Some(f64::NAN)),
            time(None),
            percent(None),
            gib(None),
        ] {
            assert_eq!(text, ABSENT);
        }
        for (value, text) in [
            (11.06, "11.1 s"),
            (1.5, "1.50 s"),
            (0.327, "327 ms"),
            (0.0868, "86.8 ms"),
            (2e-5, "20 us"),
        ] {
            assert_eq!(time(Some(value)), text);
        }
        assert_eq!(
            (clock(3723.9), clock(59.0)),
            ("1:02:03".to_owned(), "0:59".to_owned())
        );
        assert_eq!(printable("a\x1b[2Jb\n"), "a [2Jb ");
    }
}
