//! One column of numbers as bytes.
//!
//! ```text
//! column  = form, exponent, n, k, k × special, values
//! special = values before it, how many of it, which: 0 absent, 1 NaN, 2 +Inf, 3 -Inf
//! form    = 0 one value for all | 1 differences | 2 plain | 3 raw f64, little-endian
//! ```
//! `form`, `exponent` and `which` are single bytes, all else is a varint (7 bits a byte, least significant first).
//! Values are integers in zigzag order; the number is integer ÷ 10^exponent. Forms 0 to 3 hold no value for specials.

/// Greatest integer in a column. The zigzag of the difference of two of them is exact in a JavaScript number (2^53).
const MAX_INTEGER: f64 = (1_u64 << 51) as f64;
/// Decimals up to which a series is tried to be written without loss.
const MAX_EXACT_EXPONENT: u8 = 9;
/// Powers of ten are exact in an f64 up to here.
const MAX_EXPONENT: u8 = 22;
/// Significant digits, relative to the largest value, of what is not a short decimal.
const DIGITS: i32 = 7;

const SAME: u8 = 0;
const DIFFERENCES: u8 = 1;
const PLAIN: u8 = 2;
const RAW: u8 = 3;

/// Appends an unsigned integer.
pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Bytes that a varint takes.
fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Why a cell holds no integer.
fn special(cell: Option<f64>) -> Option<u8> {
    match cell {
        None => Some(0),
        Some(value) if value.is_nan() => Some(1),
        Some(f64::INFINITY) => Some(2),
        Some(f64::NEG_INFINITY) => Some(3),
        Some(_) => None,
    }
}

/// Appends a column of numbers; `None` is absent.
pub(super) fn floats(out: &mut Vec<u8>, cells: &[Option<f64>]) {
    let numbers: Vec<f64> = cells
        .iter()
        .flatten()
        .copied()
        .filter(|v| v.is_finite())
        .collect();
    let specials = specials(cells.iter().map(|&cell| special(cell)));
    match as_integers(&numbers) {
        Some((exponent, integers)) => write(out, exponent, cells.len(), &specials, &integers),
        None => {
            head(out, RAW, 0, cells.len(), &specials);
            out.extend(numbers.iter().flat_map(|v| v.to_le_bytes()));
        }
    }
}

/// Appends a column of integers, each meaning integer ÷ 10^exponent; `None` is absent.
pub(super) fn integers(out: &mut Vec<u8>, exponent: u8, cells: impl Iterator<Item = Option<i64>> + Clone) {
    let values: Vec<i64> = cells.clone().flatten().collect();
    if values.iter().any(|v| v.unsigned_abs() > MAX_INTEGER as u64) {
        // Beyond what a browser counts exactly; times and token counts do not get there.
        let scale = 10_f64.powi(i32::from(exponent));
        let cells: Vec<Option<f64>> = cells.map(|cell| cell.map(|v| v as f64 / scale)).collect();
        return floats(out, &cells);
    }
    let n = cells.clone().count();
    let specials = specials(cells.map(|cell| cell.is_none().then_some(0)));
    write(out, exponent, n, &specials, &values);
}

/// Runs of special cells: values before, length, which.
fn specials(cells: impl Iterator<Item = Option<u8>>) -> Vec<(u64, u64, u8)> {
    let mut runs: Vec<(u64, u64, u8)> = Vec::new();
    let mut before = 0;
    for cell in cells {
        match (cell, runs.last_mut()) {
            (None, _) => before += 1,
            (Some(which), Some(run)) if before == 0 && run.2 == which => run.1 += 1,
            (Some(which), _) => {
                runs.push((before, 1, which));
                before = 0;
            }
        }
    }
    runs
}

fn head(out: &mut Vec<u8>, form: u8, exponent: u8, n: usize, specials: &[(u64, u64, u8)]) {
    out.extend([form, exponent]);
    varint(out, n as u64);
    varint(out, specials.len() as u64);
    for &(before, length, which) in specials {
        varint(out, before);
        varint(out, length);
        out.push(which);
    }
}

fn write(out: &mut Vec<u8>, exponent: u8, n: usize, specials: &[(u64, u64, u8)], values: &[i64]) {
    let first = values.first().copied().unwrap_or(0);
    if values.iter().all(|&v| v == first) {
        head(out, SAME, exponent, n, specials);
        return varint(out, zigzag(first));
    }
    let differences =
        || std::iter::once(zigzag(first)).chain(values.windows(2).map(|pair| zigzag(pair[1] - pair[0])));
    let plain = || values.iter().map(|&v| zigzag(v));
    if plain().map(varint_len).sum::<usize>() < differences().map(varint_len).sum::<usize>() {
        head(out, PLAIN, exponent, n, specials);
        plain().for_each(|v| varint(out, v));
    } else {
        head(out, DIFFERENCES, exponent, n, specials);
        differences().for_each(|v| varint(out, v));
    }
}

/// Finite numbers as integers ÷ 10^exponent: exactly if up to nine decimals do, else in seven digits relative to the
/// largest. `None` if neither is possible.
fn as_integers(values: &[f64]) -> Option<(u8, Vec<i64>)> {
    let max = values.iter().fold(0.0_f64, |max, v| max.max(v.abs()));
    if max > MAX_INTEGER {
        return None;
    }
    let scaled = |value: f64, exponent: u8| (value * 10_f64.powi(i32::from(exponent))).round();
    let mut start = 0;
    for exponent in 0..=MAX_EXACT_EXPONENT {
        let scale = 10_f64.powi(i32::from(exponent));
        if max * scale > MAX_INTEGER {
            break;
        }
        // What failed with fewer decimals is looked at first: most series are refused after one look each.
        match (start..values.len())
            .chain(0..start)
            .find(|&i| scaled(values[i], exponent) / scale != values[i])
        {
            Some(failed) => start = failed,
            None => {
                return Some((
                    exponent,
                    values.iter().map(|&v| scaled(v, exponent) as i64).collect(),
                ));
            }
        }
    }
    let exponent = (DIGITS - 1 - max.log10().floor() as i32).max(0);
    let exponent = u8::try_from(exponent).ok().filter(|&e| e <= MAX_EXPONENT)?;
    Some((
        exponent,
        values.iter().map(|&v| scaled(v, exponent) as i64).collect(),
    ))
}

#[cfg(test)]
pub(super) mod decode {
    //! Reads columns; the same in Rust as `decode.js`.

    /// Takes one unsigned integer off the front.
    pub(in crate::encode) fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    fn signed(bytes: &mut &[u8]) -> i64 {
        let value = varint(bytes);
        ((value >> 1) as i64) ^ -((value & 1) as i64)
    }

    /// Takes one column off the front.
    pub(in crate::encode) fn column(bytes: &mut &[u8]) -> Vec<Option<f64>> {
        let (form, exponent) = (bytes[0], bytes[1]);
        *bytes = &bytes[2..];
        let n = varint(bytes) as usize;
        let mut specials = Vec::new();
        for _ in 0..varint(bytes) {
            let (before, length) = (varint(bytes), varint(bytes));
            specials.push((before, length, bytes[0]));
            *bytes = &bytes[1..];
        }
        let special: u64 = specials.iter().map(|run| run.1).sum();
        let scale = 10_f64.powi(i32::from(exponent));
        let mut last = 0;
        let mut numbers: Vec<f64> = Vec::new();
        let same = (form == super::SAME).then(|| signed(bytes) as f64 / scale);
        for _ in 0..n - special as usize {
            numbers.push(match form {
                super::SAME => same.expect("read above"),
                super::DIFFERENCES => {
                    last += signed(bytes);
                    last as f64 / scale
                }
                super::PLAIN => signed(bytes) as f64 / scale,
                _ => {
                    let (raw, rest) = bytes.split_first_chunk::<8>().expect("eight bytes");
                    *bytes = rest;
                    f64::from_le_bytes(*raw)
                }
            });
        }
        let mut numbers = numbers.into_iter();
        let mut cells = Vec::new();
        for (before, length, which) in specials {
            cells.extend(numbers.by_ref().take(before as usize).map(Some));
            let cell = [None, Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY)][which as usize];
            cells.extend(std::iter::repeat_n(cell, length as usize));
        }
        cells.extend(numbers.map(Some));
        cells
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(cells: &[Option<f64>]) -> Vec<Option<f64>> {
        let mut bytes = Vec::new();
        floats(&mut bytes, cells);
        let mut rest = &bytes[..];
        let back = decode::column(&mut rest);
        assert!(rest.is_empty(), "a column ends where it says");
        back
    }

    fn same(a: Option<f64>, b: Option<f64>) -> bool {
        a == b || matches!((a, b), (Some(a), Some(b)) if a.is_nan() && b.is_nan())
    }

    fn cell() -> impl Strategy<Value = Option<f64>> {
        prop_oneof![
            8 => (-(1_i64 << 51)..=1_i64 << 51).prop_map(|v| Some(v as f64)),
            4 => (0_i64..5000).prop_map(|v| Some(v as f64)),
            1 => Just(None),
            1 => Just(Some(f64::NAN)),
            1 => Just(Some(f64::INFINITY)),
            1 => Just(Some(f64::NEG_INFINITY)),
        ]
    }

    proptest! {
        #[test]
        fn whole_numbers_come_back_exactly(cells in prop::collection::vec(cell(), 0..200)) {
            let back = round_trip(&cells);
            prop_assert_eq!(cells.len(), back.len());
            prop_assert!(cells.iter().zip(&back).all(|(&a, &b)| same(a, b)));
        }

        #[test]
        fn decimals_come_back_exactly(
            values in prop::collection::vec(-1_000_000_000_i64..1_000_000_000, 0..100), exponent in 0_u8..=9,
        ) {
            let cells: Vec<_> = values.iter().map(|&v| Some(v as f64 / 10_f64.powi(exponent.into()))).collect();
            prop_assert_eq!(round_trip(&cells), cells);
        }

        #[test]
        fn other_numbers_keep_seven_digits_of_the_largest(
            values in prop::collection::vec(-1e12_f64..1e12, 1..100), power in -18_i32..=2,
        ) {
            let cells: Vec<_> = values.iter().map(|&v| Some(v * 10_f64.powi(power))).collect();
            let max = cells.iter().flatten().fold(0.0_f64, |max, v| max.max(v.abs()));
            for (a, b) in cells.iter().flatten().zip(round_trip(&cells).iter().flatten()) {
                prop_assert!((a - b).abs() <= max * 5.1e-7, "{} became {}", a, b);
            }
        }

        #[test]
        fn any_double_is_finite_where_it_was(values in prop::collection::vec(any::<f64>(), 0..50)) {
            let cells: Vec<_> = values.iter().copied().map(Some).collect();
            let back = round_trip(&cells);
            for (a, b) in cells.iter().flatten().zip(back.iter().flatten()) {
                prop_assert!(same(Some(*a), Some(*b)) || (a.is_finite() && b.is_finite()));
            }
        }

        #[test]
        fn optional_integers_come_back(
            cells in prop::collection::vec(prop::option::of(-(1_i64 << 51)..=1_i64 << 51), 0..200),
        ) {
            let mut bytes = Vec::new();
            integers(&mut bytes, 3, cells.iter().copied());
            let expected: Vec<_> = cells.iter().map(|c| c.map(|v| v as f64 / 1000.0)).collect();
            prop_assert_eq!(decode::column(&mut &bytes[..]), expected);
        }
    }

    #[test]
    fn a_constant_takes_one_value() {
        let mut bytes = Vec::new();
        floats(&mut bytes, &vec![Some(0.9); 3600]);
        assert_eq!(
            bytes.len(),
            6,
            "form, exponent, two bytes of length, no specials, one value"
        );
    }

    #[test]
    fn integers_a_browser_cannot_count_stay_doubles() {
        let big = (1_i64 << 60) as f64;
        assert_eq!(round_trip(&[Some(big), Some(1.0)]), [Some(big), Some(1.0)]);
    }
}
