//! Evidence for or against a state, an alert or a forecast.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Where evidence comes from, in order of trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The operating system: the process exists, ended, uses memory.
    Process,
    /// Requests that we sent ourselves.
    OwnRequests,
    /// The monitor's canary.
    Canary,
    /// Probes over HTTP.
    Http,
    /// The server's log.
    Log,
    /// The server's metrics.
    Metrics,
    /// A GPU's driver.
    Gpu,
    /// The machine.
    Host,
    /// Other targets, or other members of this one.
    Peers,
    /// What a predictor has learned.
    Model,
}

/// One fact that supports or contradicts a conclusion.
///
/// ```
/// use vllm_monitor::{Evidence, Source};
///
/// let fact = Evidence::number(Source::Metrics, "kv_usage_ratio", 0.93, "ratio");
/// assert_eq!(fact.to_string(), "kv_usage_ratio 0.93 ratio");
/// assert_eq!(Evidence::text(Source::Log, "engine core died").to_string(), "engine core died");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Where it comes from.
    pub source: Source,
    /// What was measured, or the whole statement.
    pub what: Cow<'static, str>,
    /// The number, if there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<f64>,
    /// Unit of the number; empty without one.
    #[serde(skip_serializing_if = "str::is_empty", default)]
    pub unit: Cow<'static, str>,
}

impl Evidence {
    /// A measured number.
    pub fn number(source: Source, what: &'static str, value: f64, unit: &'static str) -> Self {
        Self {
            source,
            what: Cow::Borrowed(what),
            value: Some(value),
            unit: Cow::Borrowed(unit),
        }
    }

    /// A fact in words.
    pub fn text(source: Source, what: impl Into<Cow<'static, str>>) -> Self {
        Self {
            source,
            what: what.into(),
            value: None,
            unit: Cow::Borrowed(""),
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(value) = self.value {
            // Four significant digits are enough to read.
            let digits = if value == 0.0 {
                0
            } else {
                (3 - value.abs().log10().floor() as i32).clamp(0, 9)
            };
            let text = format!("{value:.*}", digits as usize);
            let text = if text.contains('.') {
                text.trim_end_matches('0').trim_end_matches('.')
            } else {
                &text
            };
            write!(f, " {text}")?;
            if !self.unit.is_empty() {
                write!(f, " {}", self.unit)?;
            }
        }
        Ok(())
    }
}
