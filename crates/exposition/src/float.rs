//! Numbers as text: values and timestamps in, values out.
//!
//! Values are read exactly as the standard library would read them, only sooner: up to 19 digits are gathered in an
//! integer, and scaled by a power of ten either exactly in a double or by a 128-bit product whose error is known to
//! be too small to change the rounding (Lemire, "Number Parsing at a Gigabyte per Second", 2021; that no second
//! check of the product is needed: Mushtak and Lemire, "Fast Number Parsing Without Fallback", 2023).

use std::fmt::Write as _;

/// Largest distance of the decimal point that the quick way handles; metrics hardly ever leave it.
const MAX_SCALE: i32 = 27;

/// 10^0 to 10^22, all exact in a double.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// 5^q for q from -27 to 27, scaled to 128 bits with the highest bit set: exact for q ≥ 0, rounded up below.
static POWERS_OF_FIVE: [(u64, u64); 2 * MAX_SCALE as usize + 1] = powers_of_five();

const fn powers_of_five() -> [(u64, u64); 2 * MAX_SCALE as usize + 1] {
    let mut table = [(0, 0); 2 * MAX_SCALE as usize + 1];
    let mut power: u128 = 1;
    let mut n = 0;
    while n <= MAX_SCALE as usize {
        let scaled = power << power.leading_zeros();
        table[MAX_SCALE as usize + n] = ((scaled >> 64) as u64, scaled as u64);
        if n > 0 {
            // floor(2^(bits + 127) / 5^n) + 1 by long division, since the dividend exceeds 128 bits.
            let bits = 128 - power.leading_zeros();
            let mut quotient: u128 = 0;
            let mut remainder: u128 = 1;
            let mut step = 0;
            while step < bits + 127 {
                remainder <<= 1;
                quotient <<= 1;
                if remainder >= power {
                    remainder -= power;
                    quotient |= 1;
                }
                step += 1;
            }
            quotient += 1;
            table[MAX_SCALE as usize - n] = ((quotient >> 64) as u64, quotient as u64);
        }
        power *= 5;
        n += 1;
    }
    table
}

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

/// Reads the number that `text` begins with, and tells its length. `None` says only that the quick way does not
/// apply: then take the whole token and use [`parse`].
#[inline]
pub(crate) fn parse_prefix(text: &[u8]) -> Option<(f64, usize)> {
    let mut at = 0;
    let negative = text.first() == Some(&b'-');
    if negative || text.first() == Some(&b'+') {
        at = 1;
    }

    let mut digits: u64 = 0;
    let whole_start = at;
    at = gather(text, at, &mut digits);
    let mut n_digits = at - whole_start;
    // Most numbers on a page are counts, and most exporters write those with a `.0`.
    if (1..=15).contains(&n_digits) && text.get(at..at + 3) == Some(b".0\n") {
        let magnitude = digits as f64;
        return Some((if negative { -magnitude } else { magnitude }, at + 2));
    }
    let mut scale: i32 = 0;
    if text.get(at) == Some(&b'.') {
        let fraction_start = at + 1;
        at = gather(text, fraction_start, &mut digits);
        let n_fraction = at - fraction_start;
        n_digits += n_fraction;
        scale = -i32::try_from(n_fraction).ok()?;
    }
    if n_digits == 0 {
        return None;
    }
    if n_digits > 19 && significant_digits(&text[whole_start..at]) > 19 {
        return None;
    }

    if let Some(b'e' | b'E') = text.get(at) {
        at += 1;
        let exponent_negative = text.get(at) == Some(&b'-');
        if exponent_negative || text.get(at) == Some(&b'+') {
            at += 1;
        }
        let exponent_start = at;
        let mut exponent: u64 = 0;
        at = gather(text, at, &mut exponent);
        if at == exponent_start || at - exponent_start > 4 {
            return None;
        }
        let exponent = i32::try_from(exponent).ok()?;
        scale += if exponent_negative { -exponent } else { exponent };
    }

    let magnitude = scaled(digits, scale)?;
    Some((if negative { -magnitude } else { magnitude }, at))
}

/// Appends the digits from `at` on to `number` (wrapping) and returns where they end.
///
/// Eight bytes at a time without a branch on how many of them are digits: numbers on a page differ in length, and
/// a loop over digits would be guessed wrong at each of them.
#[inline]
fn gather(text: &[u8], mut at: usize, number: &mut u64) -> usize {
    const POWERS: [u64; 9] = [
        1,
        10,
        100,
        1_000,
        10_000,
        100_000,
        1_000_000,
        10_000_000,
        100_000_000,
    ];
    while let Some(eight) = text.get(at..at + 8) {
        let eight = u64::from_le_bytes(eight.try_into().expect("a slice of eight bytes"));
        // Digits become 0 to 9. Adding 0x76 carries into the highest bit from 10 on.
        let ones = eight ^ 0x3030_3030_3030_3030;
        let others =
            (((ones & 0x7f7f_7f7f_7f7f_7f7f) + 0x7676_7676_7676_7676) | ones) & 0x8080_8080_8080_8080;
        let n_digits = (others.trailing_zeros() / 8) as usize;
        // The digits move to the end and zeros come before them; one cannot shift by 64.
        let padded = if n_digits == 0 {
            0
        } else {
            ones << (64 - 8 * n_digits)
        };
        *number = number
            .wrapping_mul(POWERS[n_digits])
            .wrapping_add(value_of_eight(padded));
        at += n_digits;
        if n_digits < 8 {
            return at;
        }
    }
    while let Some(digit) = text.get(at).map(|b| b.wrapping_sub(b'0'))
        && digit < 10
    {
        *number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    at
}

/// The number that eight digits (as numbers, the first in the lowest byte) spell: pairs, then fours, then all.
#[inline]
fn value_of_eight(ones: u64) -> u64 {
    let pairs = (ones.wrapping_mul(10) + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100) + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff
}

#[cold]
fn significant_digits(text: &[u8]) -> usize {
    text.iter()
        .filter(|&&b| b != b'.')
        .skip_while(|&&b| b == b'0')
        .count()
}

/// `digits` × 10^`scale`, correctly rounded; `None` outside the quick way's range.
#[inline]
fn scaled(digits: u64, scale: i32) -> Option<f64> {
    const EXACT: u64 = 1 << 53;
    if digits <= EXACT && (-22..=22).contains(&scale) {
        // Both operands are exact, so the one rounding of the operation is the right one.
        let power = POWERS_OF_TEN[scale.unsigned_abs() as usize];
        return Some(if scale < 0 {
            digits as f64 / power
        } else {
            digits as f64 * power
        });
    }
    if !(-MAX_SCALE..=MAX_SCALE).contains(&scale) {
        return None;
    }
    if digits == 0 {
        return Some(0.0);
    }
    Some(scaled_wide(digits, scale))
}

/// The same by a 128-bit product, for any `digits` > 0 and |`scale`| ≤ 27. Never subnormal, never infinite there.
fn scaled_wide(digits: u64, scale: i32) -> f64 {
    let zeros = digits.leading_zeros();
    let normal = digits << zeros;
    let (five_high, five_low) = POWERS_OF_FIVE[(scale + MAX_SCALE) as usize];

    let product = u128::from(normal) * u128::from(five_high);
    let (mut high, mut low) = ((product >> 64) as u64, product as u64);
    // 55 bits decide. Only if all bits below them are ones can what was cut off carry into them.
    if high & 0x1ff == 0x1ff {
        let carry = ((u128::from(normal) * u128::from(five_low)) >> 64) as u64;
        let (sum, overflow) = low.overflowing_add(carry);
        low = sum;
        high += u64::from(overflow);
    }

    let top = (high >> 63) as u32;
    let shift = top + 64 - 52 - 3;
    let mut mantissa = high >> shift;
    // floor(scale × log2(10)) by a fixed-point constant, then the exponent's bias.
    let mut exponent = ((scale * 217_706) >> 16) + 63 + top as i32 - zeros as i32 + 1023;
    // Exactly between two doubles (possible only for small scales): round to even.
    if low <= 1 && (-4..=23).contains(&scale) && mantissa & 3 == 1 && mantissa << shift == high {
        mantissa &= !1;
    }
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    if mantissa >= 1 << 53 {
        mantissa = 1 << 52;
        exponent += 1;
    }
    f64::from_bits((mantissa & !(1 << 52)) | ((exponent as u64) << 52))
}

/// A timestamp of the text format: whole milliseconds.
pub(crate) fn millis_to_ns(token: &[u8]) -> Option<i64> {
    std::str::from_utf8(token)
        .ok()?
        .parse::<i64>()
        .ok()?
        .checked_mul(1_000_000)
}

/// A timestamp of OpenMetrics: decimal seconds. Plain decimals are exact, what is beyond nanoseconds is cut off;
/// with an exponent it is as exact as a double.
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
        // Gathered below zero, where one more number fits.
        ns = ns.checked_mul(10)?.checked_sub(digit)?;
    }
    if negative { Some(ns) } else { ns.checked_neg() }
}

/// Seconds with nine digits or as many as are needed, the exact inverse of [`seconds_to_ns`].
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

/// The shortest text that reads back as the same value, as the formats spell it: `20.0`, `0.3`, `1e16`, `+Inf`,
/// `-Inf`, `NaN`. Right for sample values as well as for the labels `le` and `quantile`.
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
