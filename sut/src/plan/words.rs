//! Parses and formats durations, sizes and command lines.

use std::time::Duration;

use duration_text::Shown;
use jiff::SignedDuration;
use vllm_metrics::ShownUrl;

use crate::cli::TimeText;

/// `30s`, `10m`, `1.5h`, `500ms`, `1h 30m`, or a bare number of seconds.
///
/// # Errors
/// A description of the problem with the text.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let duration = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| "must be above 0".to_owned())?,
        Err(_) => {
            let parsed: SignedDuration = text
                .parse()
                .map_err(|_| "must be like 500ms, 30s, 10m or 90 (seconds)".to_owned())?;
            Duration::try_from(parsed).map_err(|_| "must be above 0".to_owned())?
        }
    };
    if duration.is_zero() {
        return Err("must be above 0".into());
    }
    Ok(duration)
}

/// The duration of an optional flag.
pub(crate) fn duration(flag: &str, given: Option<&TimeText>, wrong: &mut Vec<String>) -> Option<Duration> {
    let TimeText(text) = given?;
    parse_duration(text)
        .map_err(|why| wrong.push(format!("{flag} {text}: {why}")))
        .ok()
}

/// The time between two samples.
pub(crate) fn interval(
    flag: &str,
    given: Option<&TimeText>,
    default: Duration,
    wrong: &mut Vec<String>,
) -> Duration {
    let Some(interval) = duration(flag, given, wrong) else {
        return default;
    };
    if !(Duration::from_millis(10)..=Duration::from_secs(86_400)).contains(&interval) {
        wrong.push(format!("{flag} {}: must be from 10ms to 24h", Shown(interval)));
    }
    interval
}

/// A count with its noun: `1 GPU`, `2 GPUs`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// `64MB`, `1GiB`, or a bare number of bytes.
///
/// # Errors
/// A description of the problem with the text.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale: u64 = match unit {
        "" | "B" => 1,
        "k" | "kB" | "KB" => 1_000,
        "M" | "MB" => 1_000_000,
        "G" | "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("unknown unit {other:?}; use kB, MB, GB, KiB, MiB or GiB")),
    };
    match number.trim().parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok((number * scale as f64).max(1.0) as u64),
        _ => Err("must be like 64MB or 1GiB".into()),
    }
}

/// `text` with `user:password@` removed from every URL in it.
pub(crate) fn without_credentials(text: &str) -> String {
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

/// Splits a command line into words by a shell's rules for quotes and backslashes, without expansions.
///
/// # Errors
/// For an unclosed quote.
pub(super) fn split_words(text: &str) -> Result<Vec<String>, String> {
    shlex::split(text).ok_or_else(|| "a quote is not closed".to_owned())
}

/// What is wrong with the URL of a receiver.
pub(super) fn url_problem(flag: &str, url: &str) -> Option<String> {
    let shown = ShownUrl::from_text(url);
    if !(url.starts_with("http://") || url.starts_with("https://")) || url.len() <= "https://".len() {
        Some(format!("{flag} {shown:?}: must begin with http:// or https://"))
    } else if url.starts_with("https://") && !cfg!(feature = "tls") {
        Some(format!(
            "{flag} {shown}: this build has no TLS; build with `cargo build --release -p sut --features tls`, or use http://"
        ))
    } else {
        None
    }
}
