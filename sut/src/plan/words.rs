//! Durations and command lines as people write them.

use std::time::Duration;

pub(super) fn seconds(flag: &str, given: Option<f64>, default: f64, wrong: &mut Vec<String>) -> Duration {
    let value = given.unwrap_or(default);
    match Duration::try_from_secs_f64(value) {
        Ok(duration) if !duration.is_zero() => duration,
        _ => {
            wrong.push(format!("{flag} {value}: must be a number of seconds above 0"));
            Duration::from_secs_f64(default)
        }
    }
}

/// A time between two samples, in seconds.
pub(crate) fn interval(
    flag: &str,
    given: Option<f64>,
    default: Duration,
    wrong: &mut Vec<String>,
) -> Duration {
    match given {
        None => default,
        Some(secs) if (0.01..=86_400.0).contains(&secs) => Duration::from_secs_f64(secs),
        Some(secs) => {
            wrong.push(format!("{flag} {secs}: must be from 0.01 to 86400 seconds"));
            default
        }
    }
}

/// A duration of a flag that may be left out.
pub(crate) fn duration(flag: &str, text: Option<&str>, wrong: &mut Vec<String>) -> Option<Duration> {
    parse_duration(text?)
        .map_err(|why| wrong.push(format!("{flag} {}: {why}", text.unwrap_or_default())))
        .ok()
}

/// `30s`, `10m`, `1.5h`, `500ms`, or a bare number of seconds.
///
/// # Errors
/// What is wrong with the text.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let scale = match suffix {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        other => return Err(format!("unknown unit {other:?}; use ms, s, m or h")),
    };
    let number: f64 = number
        .trim()
        .parse()
        .map_err(|_| "must be like 30s, 10m or 90".to_owned())?;
    match Duration::try_from_secs_f64(number * scale) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be above 0".into()),
    }
}

/// `text` with `user:password@` taken out of every URL in it.
pub(super) fn without_credentials(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + "://".len());
        out.push_str(before);
        let authority = after
            .find(|c: char| c == '/' || c == '"' || c == '?' || c.is_whitespace())
            .unwrap_or(after.len());
        rest = match after[..authority].rfind('@') {
            Some(user) => &after[user + 1..],
            None => after,
        };
    }
    out + rest
}

/// Splits a command line into words; single and double quotes keep spaces. Nothing is expanded.
pub(super) fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
