//! Numbers for people. `format.js` follows the same rules, so that both show a number in the same way.

/// Four significant digits; whole numbers and everything from a thousand up without decimals, with separators.
#[must_use]
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "NaN".into()
        } else if value > 0.0 {
            "∞".into()
        } else {
            "−∞".into()
        };
    }
    let size = value.abs();
    let text = if size == 0.0 {
        "0".to_owned()
    } else if !(0.001..1e15).contains(&size) {
        format!("{size:.2e}")
    } else if size >= 1e3 || size.fract() == 0.0 {
        separated(&decimals(size, 0))
    } else {
        let places = [100.0, 10.0, 1.0, 0.1, 0.01, 0.001]
            .iter()
            .position(|&bound| size >= bound);
        decimals(size, places.expect("at least a thousandth") + 1)
    };
    if value < 0.0 { format!("−{text}") } else { text }
}

/// A fixed number of decimals, halves upwards. Not `{:.n}`, which rounds halves to even and JavaScript does not.
fn decimals(size: f64, places: usize) -> String {
    let scaled = (size * 10_f64.powi(places as i32) + 0.5).floor() as u64;
    let digits = format!("{scaled:0>width$}", width = places + 1);
    let (whole, rest) = digits.split_at(digits.len() - places);
    if places == 0 {
        whole.to_owned()
    } else {
        format!("{whole}.{rest}")
    }
}

fn separated(digits: &str) -> String {
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Factor and name of the unit in which a value of a size is shown.
pub(crate) fn scale(size: f64, unit: &str) -> (f64, &str) {
    let size = size.abs();
    let steps: &[(f64, f64, &str)] = match unit {
        "seconds" => &[(1.0, 1.0, "s"), (1e-3, 1e3, "ms"), (0.0, 1e6, "µs")],
        "bytes" => &[
            (1_073_741_824.0, 1.0 / 1_073_741_824.0, "GiB"),
            (1_048_576.0, 1.0 / 1_048_576.0, "MiB"),
            (1024.0, 1.0 / 1024.0, "KiB"),
            (0.0, 1.0, "B"),
        ],
        "bytes/s" => &[
            (1e9, 1e-9, "GB/s"),
            (1e6, 1e-6, "MB/s"),
            (1e3, 1e-3, "kB/s"),
            (0.0, 1.0, "B/s"),
        ],
        "ratio" => &[(0.0, 100.0, "%")],
        "joules" => &[(1.0, 1.0, "J"), (0.0, 1e3, "mJ")],
        "watts" => &[(0.0, 1.0, "W")],
        "celsius" => &[(0.0, 1.0, "°C")],
        "1/s" => &[(0.0, 1.0, "/s")],
        "hertz" => &[(1e9, 1e-9, "GHz"), (1e6, 1e-6, "MHz"), (0.0, 1.0, "Hz")],
        _ => return (1.0, unit),
    };
    let (_, factor, name) = if size == 0.0 {
        // Zero is shown in the unit itself, not in its smallest part.
        steps.iter().rev().find(|s| s.1 == 1.0).or(steps.last())
    } else {
        steps.iter().find(|s| size >= s.0)
    }
    .expect("the last step is open");
    (*factor, name)
}

/// A value with its unit.
pub(crate) fn with_unit(value: f64, unit: &str) -> (String, String) {
    let (factor, unit) = scale(value, unit);
    (number(value * factor), unit.to_owned())
}

/// Signed percent with one decimal: +3.4 %.
pub(crate) fn change(ratio: f64) -> String {
    let sign = if ratio < 0.0 { "−" } else { "+" };
    format!("{sign}{} %", decimals(ratio.abs() * 100.0, 1))
}

/// A duration in words: 31.2 s, 10 min 3 s, 1 h 2 min.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = (seconds + 0.5).floor() as u64;
    match whole {
        0..=119 => format!("{} s", number(seconds)),
        120..=3599 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Time from the origin as the axes show it: 4.20 s as `0:04.2`, an hour as `1:00:00`.
pub(crate) fn clock(ms: f64) -> String {
    let tenths = (ms.abs() / 100.0 + 0.5).floor() as u64;
    let (seconds, tenth) = (tenths / 10, tenths % 10);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let sign = if ms < -50.0 { "−" } else { "" };
    let tenth = if tenth == 0 {
        String::new()
    } else {
        format!(".{tenth}")
    };
    if hours > 0 {
        format!("{sign}{hours}:{minutes:02}:{seconds:02}{tenth}")
    } else {
        format!("{sign}{minutes}:{seconds:02}{tenth}")
    }
}

/// UTC date and time to the second.
pub(crate) fn utc(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(ns.into()).map_or_else(
        |_| "a time out of range".to_owned(),
        |t| t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits() {
        let cases = [
            (0.0, "0"),
            (36.0, "36"),
            (1234.5, "1,235"),
            (1_234_567.0, "1,234,567"),
            (818.42, "818.4"),
            (23.697, "23.70"),
            (1.5, "1.500"),
            (0.123_456, "0.1235"),
            (0.001_234_5, "0.001235"),
            (0.000_012, "1.20e-5"),
            (2e17, "2.00e17"),
            (-2.5, "−2.500"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "−∞"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn units_are_scaled() {
        let cases = [
            (23.697, "seconds", "23.70 s"),
            (0.10893, "seconds", "108.9 ms"),
            (0.000_012_3, "seconds", "12.30 µs"),
            (0.0, "seconds", "0 s"),
            (0.0, "bytes", "0 B"),
            (68_719_476_736.0, "bytes", "64 GiB"),
            (0.8234, "ratio", "82.34 %"),
            (0.0963, "joules", "96.30 mJ"),
            (818.42, "tokens/s", "818.4 tokens/s"),
        ];
        for (value, unit, text) in cases {
            let (number, unit) = with_unit(value, unit);
            assert_eq!(format!("{number} {unit}"), text);
        }
        assert_eq!(change(-0.0341), "−3.4 %");
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(
            [duration(31.25), duration(603.0), duration(3725.0)],
            ["31.25 s", "10 min 3 s", "1 h 2 min"]
        );
        assert_eq!(
            [clock(4_200.0), clock(3_600_000.0), clock(-61_000.0)],
            ["0:04.2", "1:00:00", "−1:01"]
        );
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
    }
}
