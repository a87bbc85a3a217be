//! Parses and prints rules.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Fault, FaultRule, When};

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fault `{rule}`: {problem}")]
pub struct FaultParseError {
    rule: String,
    problem: String,
}

const KINDS: &str = "refuse, reset, status, truncate, stall, garbage, error, slow, hang, engine-death, die, restart, metrics-slow, \
                     metrics-garbage, metrics-truncate, metrics-reset, metrics-status";

impl FromStr for FaultRule {
    type Err = FaultParseError;

    fn from_str(text: &str) -> Result<Self, FaultParseError> {
        parse(text).map_err(|problem| FaultParseError {
            rule: text.to_owned(),
            problem,
        })
    }
}

#[derive(Default)]
struct Keys {
    tokens: Option<u32>,
    code: Option<u16>,
    percent: Option<u32>,
    lasts: Option<Duration>,
    when: When,
}

fn parse(text: &str) -> Result<FaultRule, String> {
    let mut words = text.split_whitespace();
    let kind = words.next().ok_or("it is empty")?;
    let mut keys = Keys::default();
    for word in words {
        let (key, value) = word
            .split_once('=')
            .ok_or_else(|| format!("`{word}` is not key=value"))?;
        read_key(&mut keys, key, value)?;
    }
    let Keys {
        mut tokens,
        mut code,
        mut percent,
        mut lasts,
        when,
    } = keys;
    // Each kind removes the keys that it knows; remaining keys are errors.
    let fault = match kind {
        "refuse" => Fault::Refuse,
        "reset" => Fault::Reset {
            tokens: tokens.take().unwrap_or(0),
        },
        "status" => Fault::Status {
            code: code.take().unwrap_or(503),
        },
        "truncate" => Fault::Truncate {
            tokens: tokens.take().unwrap_or(0),
        },
        "stall" => Fault::Stall {
            tokens: tokens.take().unwrap_or(0),
            lasts: lasts.take(),
        },
        "garbage" => Fault::Garbage {
            tokens: tokens.take().unwrap_or(0),
        },
        "error" => Fault::Error {
            tokens: tokens.take().unwrap_or(0),
        },
        "slow" => Fault::Slow {
            percent: percent.take().unwrap_or(200),
        },
        "hang" => Fault::Hang { lasts: lasts.take() },
        "engine-death" => Fault::EngineDeath {
            lasts: lasts.take().unwrap_or(Duration::from_secs(7)),
        },
        "die" => Fault::Die,
        "restart" => Fault::Restart {
            away: lasts.take().unwrap_or(Duration::from_secs(1)),
        },
        "metrics-slow" => Fault::MetricsSlow {
            delay: lasts.take().unwrap_or(Duration::from_secs(5)),
        },
        "metrics-garbage" => Fault::MetricsGarbage,
        "metrics-truncate" => Fault::MetricsTruncate,
        "metrics-reset" => Fault::MetricsReset,
        "metrics-status" => Fault::MetricsStatus {
            code: code.take().unwrap_or(404),
        },
        _ => return Err(format!("there is no kind `{kind}`; there are {KINDS}")),
    };
    for (key, left) in [
        ("tokens", tokens.is_some()),
        ("code", code.is_some()),
        ("percent", percent.is_some()),
        ("for", lasts.is_some()),
    ] {
        if left {
            return Err(format!("`{kind}` takes no `{key}`"));
        }
    }
    let only_timed = matches!(fault, Fault::Refuse | Fault::Slow { .. });
    if only_timed && (when.is_about_requests() || when.times.is_some()) {
        return Err(format!("`{kind}` is about no single request: use from and until"));
    }
    Ok(FaultRule { fault, when })
}

fn read_key(keys: &mut Keys, key: &str, value: &str) -> Result<(), String> {
    let number = || {
        value
            .parse::<u64>()
            .map_err(|_| format!("{key}={value} is not a whole number"))
    };
    match key {
        "tokens" => {
            keys.tokens = Some(u32::try_from(number()?).map_err(|_| format!("{key}={value} is too large"))?);
        }
        "code" => {
            let code = number()?;
            keys.code = Some(
                u16::try_from(code)
                    .ok()
                    .filter(|c| (400..600).contains(c))
                    .ok_or("code is 400 to 599")?,
            );
        }
        "percent" => {
            keys.percent = Some(u32::try_from(number()?).map_err(|_| format!("{key}={value} is too large"))?);
        }
        "for" => keys.lasts = Some(duration(value)?),
        "from" => keys.when.from = Some(duration(value)?),
        "until" => keys.when.until = Some(duration(value)?),
        "times" => keys.when.times = Some(number()?),
        "every" => keys.when.every = Some(number()?.checked_sub(1).ok_or("every is at least 1")? + 1),
        "probability" => {
            let p = value
                .parse()
                .ok()
                .filter(|p| (0.0..=1.0).contains(p))
                .ok_or("probability is 0 to 1")?;
            keys.when.probability = Some(p);
        }
        "requests" => {
            let bad = || format!("requests={value} is not N, A..B or A..");
            let parse = |text: &str| text.parse::<u64>().map_err(|_| bad());
            match value.split_once("..") {
                None => {
                    let number = parse(value)?;
                    (keys.when.first, keys.when.end) = (Some(number), Some(number + 1));
                }
                Some((first, end)) => {
                    keys.when.first = Some(parse(first)?);
                    keys.when.end = if end.is_empty() { None } else { Some(parse(end)?) };
                }
            }
        }
        _ => return Err(format!("there is no key `{key}`")),
    }
    Ok(())
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{text}` is no duration: write 500ms, 2s, 5m or 1h")),
    };
    let value: f64 = digits.parse().map_err(|_| format!("`{text}` is no duration"))?;
    Duration::try_from_secs_f64(value * factor).map_err(|_| format!("`{text}` is no duration"))
}

impl fmt::Display for FaultRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = |f: &mut fmt::Formatter<'_>, kind, tokens| write!(f, "{kind} tokens={tokens}");
        match &self.fault {
            Fault::Refuse => f.write_str("refuse")?,
            Fault::Reset { tokens: n } => tokens(f, "reset", n)?,
            Fault::Status { code } => write!(f, "status code={code}")?,
            Fault::Truncate { tokens: n } => tokens(f, "truncate", n)?,
            Fault::Stall { tokens: n, .. } => tokens(f, "stall", n)?,
            Fault::Garbage { tokens: n } => tokens(f, "garbage", n)?,
            Fault::Error { tokens: n } => tokens(f, "error", n)?,
            Fault::Slow { percent } => write!(f, "slow percent={percent}")?,
            Fault::Hang { .. } => f.write_str("hang")?,
            Fault::EngineDeath { .. } => f.write_str("engine-death")?,
            Fault::Die => f.write_str("die")?,
            Fault::Restart { .. } => f.write_str("restart")?,
            Fault::MetricsSlow { .. } => f.write_str("metrics-slow")?,
            Fault::MetricsGarbage => f.write_str("metrics-garbage")?,
            Fault::MetricsTruncate => f.write_str("metrics-truncate")?,
            Fault::MetricsReset => f.write_str("metrics-reset")?,
            Fault::MetricsStatus { code } => write!(f, "metrics-status code={code}")?,
        }
        let lasts = match &self.fault {
            Fault::Stall { lasts, .. } | Fault::Hang { lasts } => *lasts,
            Fault::EngineDeath { lasts }
            | Fault::Restart { away: lasts }
            | Fault::MetricsSlow { delay: lasts } => Some(*lasts),
            _ => None,
        };
        let when = &self.when;
        for (key, value) in [("for", lasts), ("from", when.from), ("until", when.until)] {
            if let Some(value) = value {
                write!(f, " {key}={}s", value.as_secs_f64())?;
            }
        }
        match (when.first, when.end) {
            (Some(first), Some(end)) => write!(f, " requests={first}..{end}")?,
            (Some(first), None) => write!(f, " requests={first}..")?,
            (None, Some(end)) => write!(f, " requests=0..{end}")?,
            (None, None) => {}
        }
        if let Some(every) = when.every {
            write!(f, " every={every}")?;
        }
        if let Some(p) = when.probability {
            write!(f, " probability={p}")?;
        }
        if let Some(times) = when.times {
            write!(f, " times={times}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in [
            "refuse from=1s until=2.5s",
            "reset tokens=1 requests=3..4",
            "status code=503 requests=10..20 probability=0.5 times=4",
            "truncate tokens=7 every=3",
            "stall tokens=2 for=0.5s",
            "garbage tokens=0",
            "hang for=2s from=1s",
            "error tokens=3 every=2",
            "slow percent=400 from=1s until=2s",
            "engine-death for=7s requests=5..6",
            "die requests=100..",
            "restart for=0.25s from=3s",
            "metrics-slow for=2s requests=0..5",
            "metrics-garbage",
            "metrics-truncate",
            "metrics-reset",
            "metrics-status code=404 until=10s",
        ] {
            let rule: FaultRule = text.parse().unwrap();
            assert_eq!(rule.to_string(), text);
        }
        let short: FaultRule = "stall for=500ms requests=9".parse().unwrap();
        assert_eq!(short.to_string(), "stall tokens=0 for=0.5s requests=9..10");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("", "empty"),
            ("explode", "metrics-slow"),
            ("reset tokens", "key=value"),
            ("reset colour=red", "no key `colour`"),
            ("reset code=503", "takes no `code`"),
            ("die for=2s", "takes no `for`"),
            ("die tokens=2", "takes no `tokens`"),
            ("status code=200", "400 to 599"),
            ("stall for=2", "duration"),
            ("reset probability=2", "0 to 1"),
            ("reset every=0", "at least 1"),
            ("reset requests=a..b", "requests=a..b"),
            ("refuse requests=3", "from and until"),
            ("slow every=3", "from and until"),
            ("die percent=3", "takes no `percent`"),
        ] {
            let error = text.parse::<FaultRule>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
