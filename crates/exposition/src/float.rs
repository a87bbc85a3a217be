//! Numbers as text: parses values and timestamps, writes values.

use std::fmt::Write as _;

/// Reads a whole token as a value: decimal, with or without exponent, `Inf`, `NaN`, in any case.
pub(crate) fn parse(token: &[u8]) -> Option<f64> {
    match parse_prefix(token) {
        Some((value, len)) if len == token.len() => Some(value),
        _ => parse_slowly(token),
    }
}

#[cold]
fn parse_slowly(token: &[u8]) -> Option<f64> {
    std::str::from_utf8(token).ok()?.parse().ok()
}

/// Parses the number at the start of `text` and returns it with its length. `None` means only that there is
/// no number of the common form: then take the whole token and use [`parse`].
#[inline]
pub(crate) fn parse_prefix(text: &[u8]) -> Option<(f64, usize)> {
    // Most numbers on a page are counts, and most exporters write those with a `.0`.
    let digits = text.iter().take(15).take_while(|b| b.is_ascii_digit()).count();
    if digits > 0 && text.get(digits..digits + 3) == Some(b".0\n") {
        let count = text[..digits].iter().fold(0, |n, b| n * 10 + u64::from(b - b'0'));
        return Some((count as f64, digits + 2));
    }
    fast_float2::parse_partial(text).ok()
}

/// A timestamp of the text format: whole milliseconds.
pub(crate) fn millis_to_ns(token: &[u8]) -> Option<i64> {
    std::str::from_utf8(token)
        .ok()?
        .parse::<i64>()
        .ok()?
        .checked_mul(1_000_000)
}

/// A timestamp of OpenMetrics: decimal seconds. Plain decimals are exact, truncated to nanoseconds; with an
/// exponent it is as precise as a double.
pub(crate) fn seconds_to_ns(token: &[u8]) -> Option<i64> {
    let (negative, unsigned) = match token.first()? {
        b'-' => (true, &token[1..]),
        b'+' => (false, &token[1..]),
        _ => (false, token),
    };
    let (whole, fraction) = match memchr::memchr(b'.', unsigned) {
        Some(dot) => (&unsigned[..dot], &unsigned[dot + 1..]),
        None => (unsigned, &unsigned[..0]),
    };
    if whole.len() + fraction.len() == 0 {
        return None;
    }
    if !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        let ns = parse(token)? * 1e9;
        // The bound itself is 2^63, one more than fits.
        return (ns.abs() < i64::MAX as f64).then_some(ns as i64);
    }
    let mut ns: i64 = 0;
    let nine_fraction_digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    for digit in whole.iter().chain(nine_fraction_digits) {
        let digit = i64::from(digit - b'0');
        // Accumulated below zero, where one more number fits.
        ns = ns.checked_mul(10)?.checked_sub(digit)?;
    }
    if negative { Some(ns) } else { ns.checked_neg() }
}

/// Seconds with nine decimals or as many as are needed, the exact inverse of [`seconds_to_ns`].
pub(crate) fn write_seconds(out: &mut String, ns: i64) {
    let sign = if ns < 0 { "-" } else { "" };
    let (secs, rest) = (
        ns.unsigned_abs() / 1_000_000_000,
        ns.unsigned_abs() % 1_000_000_000,
    );
    let start = out.len();
    write!(out, "{sign}{secs}.{rest:09}").expect("writing to a string");
    let kept = out[start..].trim_end_matches('0').len();
    out.truncate(start + kept);
    if out.ends_with('.') {
        out.push('0');
    }
}

/// The shortest text that reads back as the same value, in the spelling of the formats: `20.0`, `0.3`,
/// `1e16`, `+Inf`, `-Inf`, `NaN`. For sample values and for the labels `le` and `quantile`.
pub fn format_float(value: f64) -> String {
    let mut out = String::new();
    write_float(&mut out, value);
    out
}

pub(crate) fn write_float(out: &mut String, value: f64) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        write!(out, "{value:?}").expect("writing to a string");
    }
}
