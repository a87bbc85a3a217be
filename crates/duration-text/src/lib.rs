//! A duration as every program of this workspace writes it, in the spelling that its flags accept.

use std::fmt;
use std::time::Duration;

/// Writes a duration in the largest unit that gives a whole number, from hours down to milliseconds; otherwise in
/// seconds, milliseconds, microseconds or nanoseconds with up to three decimals.
///
/// ```
/// use std::time::Duration;
/// use duration_text::Shown;
///
/// assert_eq!(Shown(Duration::from_secs(600)).to_string(), "10m");
/// assert_eq!(Shown(Duration::from_millis(1500)).to_string(), "1.5s");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown(pub Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HOUR: u128 = 3_600_000_000_000;
        const MINUTE: u128 = 60_000_000_000;
        let nanos = self.0.as_nanos();
        match nanos {
            0 => f.write_str("0s"),
            _ if nanos.is_multiple_of(HOUR) => write!(f, "{}h", nanos / HOUR),
            _ if nanos.is_multiple_of(MINUTE) => write!(f, "{}m", nanos / MINUTE),
            1_000_000_000.. => decimal(f, nanos / 1_000_000, "s"),
            1_000_000.. => decimal(f, nanos / 1_000, "ms"),
            1_000.. => decimal(f, nanos, "µs"),
            _ => write!(f, "{nanos}ns"),
        }
    }
}

/// A number of thousandths without trailing zeros.
fn decimal(f: &mut fmt::Formatter<'_>, thousandths: u128, unit: &str) -> fmt::Result {
    let (whole, rest) = (thousandths / 1000, thousandths % 1000);
    match rest {
        0 => write!(f, "{whole}{unit}"),
        _ if rest.is_multiple_of(100) => write!(f, "{whole}.{}{unit}", rest / 100),
        _ if rest.is_multiple_of(10) => write!(f, "{whole}.{:02}{unit}", rest / 10),
        _ => write!(f, "{whole}.{rest:03}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_its_unit() {
        for (nanos, text) in [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5µs"),
            (875_000_000, "875ms"),
            (20_250_000, "20.25ms"),
            (999_999_999, "999.999ms"),
            (90_000_000_000, "90s"),
            (233_333_333_333, "233.333s"),
            (1_050_000_000, "1.05s"),
            (1_005_000_000, "1.005s"),
            (600_000_000_000, "10m"),
            (7_200_000_000_000, "2h"),
        ] {
            assert_eq!(Shown(Duration::from_nanos(nanos)).to_string(), text);
        }
        assert_eq!(Shown(Duration::MAX).to_string(), "18446744073709551615.999s");
    }
}
