//! A small counter-based generator, so that a seed gives the same run with every version of the dependencies.
//!
//! Every draw is a pure function of its inputs. No generator state passes through the engine, so the tokens
//! of one request do not depend on other running requests.

/// SplitMix64's finaliser: a bijection of `u64` whose outputs for successive inputs look independent.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Two values folded into one, order-sensitive.
pub(crate) fn mix2(a: u64, b: u64) -> u64 {
    mix(mix(a) ^ b)
}

/// Uniform in `[0, 1)`.
pub(crate) fn unit(value: u64) -> f64 {
    // 53 bits fill a double's mantissa exactly.
    (mix(value) >> 11) as f64 / (1u64 << 53) as f64
}

/// Standard normal, by Box and Muller's transform.
pub(crate) fn normal(value: u64) -> f64 {
    let u = 1.0 - unit(value);
    let v = unit(mix2(value, 1));
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// A hash of a token sequence; equal sequences, equal hashes, on every platform and in every version.
pub(crate) fn hash_tokens(seed: u64, tokens: &[u32]) -> u64 {
    tokens
        .iter()
        .fold(mix(seed ^ tokens.len() as u64), |hash, &token| {
            mix2(hash, u64::from(token))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_is_uniform_enough_and_below_one() {
        let n = 20_000u64;
        let values: Vec<f64> = (0..n).map(unit).collect();
        assert!(values.iter().all(|v| (0.0..1.0).contains(v)));
        let mean = values.iter().sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 0.01, "mean {mean}");
    }

    #[test]
    fn normal_has_zero_mean_and_unit_deviation() {
        let n = 20_000u64;
        let values: Vec<f64> = (0..n).map(normal).collect();
        let mean = values.iter().sum::<f64>() / n as f64;
        let var = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
        assert!(
            mean.abs() < 0.03 && (var - 1.0).abs() < 0.05,
            "mean {mean} var {var}"
        );
    }

    #[test]
    fn order_and_length_change_the_hash() {
        assert_ne!(hash_tokens(0, &[1, 2]), hash_tokens(0, &[2, 1]));
        assert_ne!(hash_tokens(0, &[0]), hash_tokens(0, &[0, 0]));
        assert_eq!(hash_tokens(7, &[1, 2, 3]), hash_tokens(7, &[1, 2, 3]));
    }
}
