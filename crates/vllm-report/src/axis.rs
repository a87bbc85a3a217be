//! Axes: their range, the positions of their ticks, and how a value with a unit is written.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What an axis measures, in base units as stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Quantity {
    /// Things per second.
    PerSecond(String),
    /// A ratio 0 to 1, shown in percent.
    Ratio,
    /// Seconds, shown in a suitable fraction of a second.
    Seconds,
    /// Bytes, shown in KiB, MiB, GiB.
    Bytes,
    /// Hertz, shown in MHz.
    Hertz,
    /// Anything else, shown as stored with its unit (which may be empty).
    Other(String),
}

impl Quantity {
    /// From the `unit` column of a series.
    pub(crate) fn from_unit(unit: &str) -> Self {
        match unit {
            "ratio" => Self::Ratio,
            "seconds" => Self::Seconds,
            "bytes" => Self::Bytes,
            "hertz" => Self::Hertz,
            "watts" => Self::Other("W".into()),
            "joules" => Self::Other("J".into()),
            "celsius" => Self::Other("°C".into()),
            "" => Self::Other(String::new()),
            _ => match unit.strip_suffix("/second").or(unit.strip_suffix("_per_second")) {
                Some("bytes") => Self::Other("bytes/s".into()),
                Some(thing) => Self::PerSecond(thing.into()),
                None => Self::Other(unit.into()),
            },
        }
    }

    /// The factor from base unit to shown unit, and the shown unit, for values up to `max`.
    pub(crate) fn shown(&self, max: f64) -> (f64, String) {
        match self {
            Self::PerSecond(thing) if thing.is_empty() => (1.0, "per second".into()),
            Self::PerSecond(thing) => (1.0, format!("{thing}/s")),
            Self::Ratio => (100.0, "%".into()),
            Self::Seconds => match max {
                m if m < 1e-3 => (1e6, "µs".into()),
                m if m < 1.0 => (1e3, "ms".into()),
                m if m < 600.0 => (1.0, "s".into()),
                m if m < 36_000.0 => (1.0 / 60.0, "min".into()),
                _ => (1.0 / 3600.0, "h".into()),
            },
            Self::Bytes => {
                let mut factor = 1.0;
                let mut names = ["B", "KiB", "MiB", "GiB", "TiB"].iter().peekable();
                let mut name = "B";
                while let Some(next) = names.next() {
                    name = next;
                    if max * factor < 1024.0 || names.peek().is_none() {
                        break;
                    }
                    factor /= 1024.0;
                }
                (factor, name.into())
            }
            Self::Hertz => (1e-6, "MHz".into()),
            Self::Other(unit) => (1.0, unit.clone()),
        }
    }
}

/// Ticks of a value axis, in shown units.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ValueAxis {
    /// Lowest value.
    pub(crate) min: f64,
    /// Highest value.
    pub(crate) max: f64,
    /// Positions of the ticks.
    pub(crate) ticks: Vec<f64>,
    /// Distance of ticks.
    pub(crate) step: f64,
    /// Labels of the ticks 1, 2, …, if they differ from their values.
    pub(crate) names: Vec<String>,
}

/// An axis from `min` to a little above `max` with about `count` ticks at round values.
///
/// It ends at the next round value if that is near, and otherwise just above the data, so that a line does
/// not use only a third of its panel.
pub(crate) fn value_axis(min: f64, max: f64, count: usize) -> ValueAxis {
    let (min, mut max) = if min.is_finite() && max.is_finite() {
        (min, max)
    } else {
        (0.0, 1.0)
    };
    if max <= min {
        max = min + if min == 0.0 { 1.0 } else { min.abs() * 0.1 };
    }
    let step = round_step((max - min) / count.max(1) as f64);
    let low = (min / step).floor() * step;
    let round = (max / step - 1e-9).ceil() * step;
    let high = round.min(max + (max - low) * 0.08);
    let steps = ((high - low) / step + 1e-9).floor() as usize;
    let ticks = (0..=steps).map(|i| low + step * i as f64).collect();
    ValueAxis {
        min: low,
        max: high,
        ticks,
        step,
        names: Vec::new(),
    }
}

/// The next of 1, 2, 2.5, 5 times a power of ten.
fn round_step(raw: f64) -> f64 {
    let power = 10f64.powf(raw.log10().floor());
    let factor = raw / power;
    let round = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .find(|r| factor <= r * 1.000_001)
        .unwrap_or(10.0);
    round * power
}

/// A tick's label: as many digits as the step needs, thousands as k, M, G.
pub(crate) fn tick_label(value: f64, step: f64, max: f64) -> String {
    let (divisor, ending) = thousands(max);
    let digits = decimals(step / divisor);
    let text = format!("{:.*}{ending}", digits, value / divisor);
    // No minus sign before zero, and no unit after it.
    if value.abs() < step * 1e-6 {
        "0".into()
    } else {
        text.replace('-', "−")
    }
}

fn thousands(max: f64) -> (f64, &'static str) {
    match max.abs() {
        m if m >= 1e12 => (1e12, "T"),
        m if m >= 1e9 => (1e9, "G"),
        m if m >= 1e6 => (1e6, "M"),
        m if m >= 1e4 => (1e3, "k"),
        _ => (1.0, ""),
    }
}

fn decimals(step: f64) -> usize {
    (0..6)
        .find(|d| {
            let scaled = step * 10f64.powi(*d as i32);
            (scaled - scaled.round()).abs() < 1e-6 * scaled.abs().max(1e-12)
        })
        .unwrap_or(6)
}

/// A value for a legend: three significant digits, thousands as k, M, G.
pub(crate) fn short(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let (divisor, ending) = thousands(value);
    let v = value / divisor;
    let digits = match v.abs() {
        0.0 => 0,
        a if a >= 99.95 => 0,
        a if a >= 9.995 => 1,
        a if a >= 0.995 => 2,
        _ => 3,
    };
    let mut text = format!("{v:.digits$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{}{ending}", text.replace('-', "−"))
}

/// What a time axis counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Clock {
    /// Time since the start of the run.
    #[default]
    Elapsed,
    /// The time of day (UTC).
    Utc,
}

/// Ticks of time, in nanoseconds from the start, and their label format.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TimeAxis {
    /// Nanoseconds from the start.
    pub(crate) ticks: Vec<i64>,
    /// Distance of ticks in nanoseconds.
    pub(crate) step_ns: i64,
    /// Format of the labels: `seconds`, `min s`, `h min`, `days`; `UTC` for a time of day.
    pub(crate) unit: &'static str,
    /// Start of the axis since the epoch, for times of day.
    utc_start_ns: Option<i64>,
}

const MS: i64 = 1_000_000;
const S: i64 = 1000 * MS;
const MIN: i64 = 60 * S;
const H: i64 = 60 * MIN;
const D: i64 = 24 * H;
const TIME_STEPS: &[i64] = &[
    MS,
    2 * MS,
    5 * MS,
    10 * MS,
    20 * MS,
    50 * MS,
    100 * MS,
    200 * MS,
    500 * MS,
    S,
    2 * S,
    5 * S,
    10 * S,
    15 * S,
    30 * S,
    MIN,
    2 * MIN,
    5 * MIN,
    10 * MIN,
    15 * MIN,
    30 * MIN,
    H,
    2 * H,
    3 * H,
    6 * H,
    12 * H,
    D,
    2 * D,
    7 * D,
];

/// Ticks for `duration_ns` from `start_ns` with at most about `count` of them.
pub(crate) fn time_axis(clock: Clock, start_ns: i64, duration_ns: i64, count: usize) -> TimeAxis {
    let duration = duration_ns.max(1);
    let wanted = duration / i64::try_from(count.max(1)).unwrap_or(1);
    let step_ns = TIME_STEPS
        .iter()
        .copied()
        .find(|s| *s >= wanted)
        .unwrap_or_else(|| {
            // Beyond the longest listed step: whole weeks.
            (wanted / (7 * D) + 1) * 7 * D
        });
    let unit = match duration {
        d if d < MIN => "seconds",
        d if d < 2 * H => "min:s",
        d if d < 3 * D => "h:min",
        _ => "days",
    };
    // Times of day are rounded on the clock, not from the start of the run.
    let (first, utc_start_ns, unit) = match clock {
        Clock::Elapsed => (0, None, unit),
        Clock::Utc => ((-start_ns).rem_euclid(step_ns), Some(start_ns), "UTC"),
    };
    let ticks = (0..=duration / step_ns).map(|i| first + i * step_ns);
    TimeAxis {
        ticks: ticks.filter(|tick| *tick <= duration).collect(),
        step_ns,
        unit,
        utc_start_ns,
    }
}

impl TimeAxis {
    /// The label of a tick.
    pub(crate) fn label(&self, tick_ns: i64) -> String {
        if let Some(start_ns) = self.utc_start_ns {
            return time_of_day(start_ns + tick_ns, self.step_ns);
        }
        match self.unit {
            "seconds" => {
                let digits = decimals(self.step_ns as f64 / S as f64);
                format!("{:.*}", digits, tick_ns as f64 / S as f64)
            }
            "min:s" => format!("{}:{:02}", tick_ns / MIN, tick_ns % MIN / S),
            "h:min" => format!("{}:{:02}", tick_ns / H, tick_ns % H / MIN),
            _ => format!(
                "{:.*}",
                decimals(self.step_ns as f64 / D as f64).min(2),
                tick_ns as f64 / D as f64
            ),
        }
    }
}

/// A time of day with the precision needed for ticks `step_ns` apart.
fn time_of_day(nanos: i64, step_ns: i64) -> String {
    let format = match step_ns {
        step if step < S => "%H:%M:%S%.3f",
        step if step < MIN => "%H:%M:%S",
        step if step < D => "%H:%M",
        _ => "%m-%d",
    };
    match Timestamp::from_nanosecond(i128::from(nanos)) {
        Ok(time) => time.to_zoned(TimeZone::UTC).strftime(format).to_string(),
        Err(_) => nanos.to_string(),
    }
}

/// A length of time in words: `9 min 58 s`, `2 h 05 min`, `840 ms`.
pub(crate) fn duration(nanos: i64) -> String {
    match nanos {
        n if n < 995 * MS => format!("{} ms", n / MS),
        n if n < 10 * S => format!("{} s", short((n as f64 / S as f64 * 10.0).round() / 10.0)),
        n if n < MIN => format!("{} s", (n + S / 2) / S),
        n if n < H => format!("{} min {:02} s", n / MIN, n % MIN / S),
        n if n < 3 * D => format!("{} h {:02} min", n / H, n % H / MIN),
        n => format!("{:.1} days", n as f64 / D as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_ticks_are_round_and_hold_the_range() {
        let axis = value_axis(0.0, 1037.0, 4);
        assert_eq!(axis.ticks, [0.0, 500.0, 1000.0]);
        assert!(axis.max > 1037.0 && axis.max < 1150.0);
        let axis = value_axis(0.0, 0.0, 4);
        assert_eq!((axis.min, axis.max), (0.0, 1.0));
        let flat = value_axis(f64::NAN, f64::NAN, 4);
        assert_eq!((flat.min, flat.max), (0.0, 1.0));
        assert_eq!(value_axis(0.0, 100.0, 4).max, 100.0);
    }

    #[test]
    fn labels_have_the_digits_they_need() {
        assert_eq!(tick_label(2.5, 2.5, 10.0), "2.5");
        assert_eq!(tick_label(10_000.0, 5_000.0, 20_000.0), "10k");
        assert_eq!(tick_label(0.0, 5_000.0, 20_000.0), "0");
        assert_eq!(tick_label(-2.0, 1.0, 4.0), "−2");
        assert_eq!(short(12_345.6), "12.3k");
        assert_eq!(short(0.25), "0.25");
        assert_eq!(short(100.0), "100");
        assert_eq!(short(f64::NAN), "–");
    }

    #[test]
    fn time_ticks_are_times_people_use() {
        let axis = time_axis(Clock::Elapsed, 0, 600 * S, 8);
        assert_eq!(axis.step_ns, 2 * MIN);
        assert_eq!(
            axis.ticks.iter().map(|t| axis.label(*t)).collect::<Vec<_>>(),
            ["0:00", "2:00", "4:00", "6:00", "8:00", "10:00"]
        );
        assert_eq!(time_axis(Clock::Elapsed, 0, 3 * S, 6).label(500 * MS), "0.5");
        assert_eq!(time_axis(Clock::Elapsed, 0, 5 * H, 6).label(H), "1:00");
        assert_eq!(duration(598 * S), "9 min 58 s");
        assert_eq!(
            (duration(999 * MS), duration(2500 * MS)),
            ("1 s".into(), "2.5 s".into())
        );
    }

    #[test]
    fn times_of_day_are_round_where_the_clock_is() {
        let start = 1_795_262_400 * S + 43 * S;
        let axis = time_axis(Clock::Utc, start, 600 * S, 8);
        let labels: Vec<String> = axis.ticks.iter().map(|t| axis.label(*t)).collect();
        assert_eq!(labels, ["12:02", "12:04", "12:06", "12:08", "12:10"]);
        assert_eq!(time_axis(Clock::Utc, start, 20 * S, 8).label(2 * S), "12:00:45");
    }

    #[test]
    fn units_fit_the_values() {
        assert_eq!(Quantity::Seconds.shown(0.02), (1e3, "ms".into()));
        assert_eq!(Quantity::Ratio.shown(0.5), (100.0, "%".into()));
        assert_eq!(Quantity::Bytes.shown(80.0 * 1024f64.powi(3)).1, "GiB");
        assert_eq!(
            Quantity::from_unit("tokens/second"),
            Quantity::PerSecond("tokens".into())
        );
    }
}
