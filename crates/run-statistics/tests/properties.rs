//! What must hold for any values.

use proptest::collection::vec;
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use run_statistics as rs;

fn values(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<f64>> {
    vec(-1e6..1e6_f64, length)
}

fn near(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1.0)
}

proptest! {
    #[test]
    fn t_quantile_inverts_the_distribution(p in 0.0001..0.9999_f64, degrees in 0.7..1e5_f64) {
        let t = rs::student::quantile(p, degrees);
        prop_assert!(near(rs::student::cdf(t, degrees), p, 1e-11), "{t}");
    }

    #[test]
    fn normal_quantile_inverts_the_distribution(p in 1e-12..0.999_999_f64) {
        let found = rs::normal::cdf(rs::normal::quantile(p));
        prop_assert!((found - p).abs() <= 1e-12 * p.max(1e-3), "{found}");
    }

    #[test]
    fn percentiles_rise_and_stay_inside(x in values(1..60), p in 0.0..1.0_f64, q in 0.0..1.0_f64) {
        let x = rs::percentile::sorted(&x);
        let (low, high) = (p.min(q), p.max(q));
        for rule in [rs::percentile::linear, rs::percentile::loadgen] {
            prop_assert!(rule(&x, low) <= rule(&x, high));
            let value = rule(&x, p).unwrap();
            prop_assert!(x[0] <= value && value <= x[x.len() - 1]);
        }
        prop_assert!(x.contains(&rs::percentile::loadgen(&x, p).unwrap()));
    }

    #[test]
    fn an_evenly_sampled_gauge_has_the_mean_of_its_samples(x in values(1..50)) {
        let samples: Vec<(i64, f64)> = x.iter().enumerate().map(|(i, v)| (10 * i as i64, *v)).collect();
        let gauge = rs::GaugeOverTime::of(&samples, 0, 10 * x.len() as i64, 10).unwrap();
        prop_assert!(near(gauge.mean(), rs::mean(&x).unwrap(), 1e-9));
        let sorted = rs::percentile::sorted(&x);
        prop_assert_eq!(gauge.percentile(1.0), sorted[sorted.len() - 1]);
        prop_assert_eq!(gauge.percentile(0.0), sorted[0]);
    }

    #[test]
    fn intervals_move_and_scale_with_the_values(x in values(40..200), shift in -1e3..1e3_f64, scale in 0.1..10.0_f64) {
        let moved: Vec<f64> = x.iter().map(|value| value * scale + shift).collect();
        let (a, b) = (rs::batch_means(&x).unwrap(), rs::batch_means(&moved).unwrap());
        prop_assert!(near(a.estimate.value * scale + shift, b.estimate.value, 1e-9));
        prop_assert!(near(a.estimate.standard_error * scale, b.estimate.standard_error, 1e-6));
        prop_assert_eq!(a.batches, b.batches);
    }

    #[test]
    fn a_difference_and_its_reverse_agree(x in values(3..30), y in values(3..30)) {
        let (a, b) = (rs::Estimate::of_independent(&x).unwrap(), rs::Estimate::of_independent(&y).unwrap());
        prop_assert!(near(a.minus(b).value, -b.minus(a).value, 1e-12));
        prop_assert!(near(a.minus(b).p_value(0.0), b.minus(a).p_value(0.0), 1e-9));
        let degrees = a.minus(b).degrees_of_freedom;
        prop_assert!(degrees <= (x.len() + y.len() - 2) as f64 + 1e-6);
        prop_assert!(degrees >= (x.len().min(y.len()) - 1) as f64 - 1e-6);
    }

    #[test]
    fn the_distance_of_samples_is_symmetric(x in values(1..40), y in values(1..40)) {
        let (a, b) = (rs::kolmogorov_smirnov(&x, &y).unwrap(), rs::kolmogorov_smirnov(&y, &x).unwrap());
        prop_assert!(near(a.distance, b.distance, 1e-12) && (0.0..=1.0).contains(&a.distance));
        prop_assert!((0.0..=1.0 + 1e-12).contains(&a.p_value));
        prop_assert_eq!(rs::kolmogorov_smirnov(&x, &x).unwrap().distance, 0.0);
    }

    #[test]
    fn tests_for_change_reverse_with_time(x in values(6..40)) {
        let mut reversed = x.clone();
        reversed.reverse();
        let (a, b) = (rs::pettitt(&x).unwrap(), rs::pettitt(&reversed).unwrap());
        prop_assert_eq!(a.statistic, b.statistic);
        let (a, b) = (rs::mann_kendall(&x).unwrap(), rs::mann_kendall(&reversed).unwrap());
        prop_assert_eq!(a.s, -b.s);
        prop_assert!(near(rs::sen_slope(&x).unwrap(), -rs::sen_slope(&reversed).unwrap(), 1e-12));
    }

    #[test]
    fn a_cut_is_a_multiple_of_five_and_at_most_half(x in values(20..300)) {
        let cut = rs::mser5(&x).unwrap();
        prop_assert!(cut.is_multiple_of(rs::MSER_BATCH) && 2 * cut <= x.len());
    }

    #[test]
    fn adjusted_p_values_keep_order_and_bounds(p in vec(0.0..1.0_f64, 1..12)) {
        let (holm, bh) = (rs::holm(&p), rs::benjamini_hochberg(&p));
        for i in 0..p.len() {
            prop_assert!(p[i] <= bh[i] && bh[i] <= holm[i] && holm[i] <= 1.0);
            for j in 0..p.len() {
                prop_assert!(p[i] > p[j] || (holm[i] <= holm[j] && bh[i] <= bh[j]));
            }
        }
    }

    #[test]
    fn cholesky_solves(root in vec(-3.0..3.0_f64, 9), x in vec(-10.0..10.0_f64, 3)) {
        // R Rᵀ + I is positive definite.
        let mut a = vec![0.0; 9];
        for i in 0..3 {
            for j in 0..3 {
                a[3 * i + j] = (0..3).map(|k| root[3 * i + k] * root[3 * j + k]).sum::<f64>() + f64::from(u8::from(i == j));
            }
        }
        let b: Vec<f64> = (0..3).map(|i| (0..3).map(|j| a[3 * i + j] * x[j]).sum()).collect();
        let factor = rs::Cholesky::of(&a).unwrap();
        for (found, expected) in factor.solve(&b).unwrap().iter().zip(&x) {
            prop_assert!((found - expected).abs() < 1e-8);
        }
        let inverse = factor.inverse();
        for (i, row) in inverse.chunks_exact(3).enumerate() {
            let product: f64 = row.iter().zip((0..3).map(|k| a[3 * k + i])).map(|(x, y)| x * y).sum();
            prop_assert!((product - 1.0).abs() < 1e-8);
        }
    }

    #[test]
    fn residuals_are_orthogonal_to_the_columns(x in vec(1.0..5.0_f64, 30), y in values(30..31)) {
        let rows: Vec<f64> = x.iter().flat_map(|x| [1.0, *x]).collect();
        if let Ok(fit) = rs::least_squares(&rows, 2, &y) {
            let residuals: Vec<f64> = rows.chunks_exact(2).zip(&y).map(|(row, y)| y - fit.predict(row)).collect();
            prop_assert!(residuals.iter().sum::<f64>().abs() < 1e-3);
            prop_assert!(residuals.iter().zip(&x).map(|(r, x)| r * x).sum::<f64>().abs() < 1e-2);
            prop_assert!((-1e-9..=1.0).contains(&fit.r_squared));
        }
    }

    #[test]
    fn an_earlier_passage_is_less_probable(
        distance in 0.01..100.0_f64, drift in -5.0..5.0_f64, variance in 1e-6..10.0_f64,
        early in 0.0..1e4_f64, longer in 0.0..1e4_f64, p in 0.001..0.999_f64,
    ) {
        let level = rs::FirstPassage { distance, drift_per_sec: drift, variance_per_sec: variance };
        let (soon, later) = (level.probability_within(early), level.probability_within(early + longer));
        prop_assert!((0.0..=1.0).contains(&soon) && soon <= later + 1e-12);
        prop_assert!(later <= level.probability_ever() + 1e-9);
        if let Some(time) = level.time_quantile_secs(p) {
            prop_assert!(near(level.probability_within(time), p, 1e-9));
        }
    }

    #[test]
    fn an_isotonic_curve_rises_and_keeps_the_mean(points in vec((0.0..1.0_f64, 0.0..1.0_f64), 1..60)) {
        let (x, y): (Vec<f64>, Vec<f64>) = points.into_iter().unzip();
        let curve = rs::Isotonic::fit(&x, &y).unwrap();
        prop_assert!(curve.knots().windows(2).all(|pair| pair[0].1 <= pair[1].1));
        let fitted: Vec<f64> = x.iter().map(|x| curve.at(*x)).collect();
        prop_assert!(near(rs::mean(&fitted).unwrap(), rs::mean(&y).unwrap(), 1e-9));
        prop_assert_eq!(rs::Isotonic::from_knots(curve.knots().to_vec()), Some(curve));
    }

    #[test]
    fn the_brier_score_is_the_sum_of_its_parts(points in vec((0.0..=1.0_f64, any::<bool>()), 1..80), bins in 1..20_usize) {
        let (forecasts, outcomes): (Vec<f64>, Vec<bool>) = points.into_iter().unzip();
        let brier = rs::brier(&forecasts, &outcomes, bins).unwrap();
        prop_assert!((0.0..=1.0).contains(&brier.score));
        prop_assert!((0.0..=1.0).contains(&rs::expected_calibration_error(&forecasts, &outcomes, bins).unwrap()));
        let parts = brier.reliability - brier.resolution + brier.uncertainty + brier.within_bins;
        prop_assert!(near(parts, brier.score, 1e-12));
    }

    #[test]
    fn a_detector_ignores_what_is_below_its_slack(x in vec(-0.5..0.5_f64, 1..300)) {
        let mut cusum = rs::Cusum::new(0.0, 0.5, 1.0);
        prop_assert!(x.iter().all(|value| cusum.update(*value).is_none()));
    }

    #[test]
    fn what_is_not_finite_gives_no_figure(x in values(20..60), at in 0..20_usize) {
        let mut broken = x.clone();
        broken[at] = f64::NAN;
        prop_assert_eq!(rs::mean(&broken), None);
        prop_assert_eq!(rs::variance(&broken), None);
        prop_assert_eq!(rs::batch_means(&broken), None);
        prop_assert_eq!(rs::correlation_time(&broken), None);
        prop_assert_eq!(rs::mser5(&broken), None);
        prop_assert_eq!(rs::pettitt(&broken), None);
        prop_assert_eq!(rs::mann_kendall(&broken), None);
        prop_assert_eq!(rs::kolmogorov_smirnov(&x, &broken), None);
        prop_assert_eq!(rs::change_points(&broken, 0.001, 0.02), None);
        prop_assert_eq!(rs::paired_log_ratio(&x, &broken), None);
    }
}

#[test]
fn the_bootstrap_is_the_same_for_a_seed_and_covers_the_spread_between_groups() {
    let runs: Vec<Vec<f64>> = (0..12).map(|run| vec![f64::from(run); 3]).collect();
    let figure = |runs: &[&Vec<f64>]| rs::mean(&runs.iter().map(|run| run[0]).collect::<Vec<_>>());
    let first = rs::group_bootstrap(&runs, figure, 2000, 0.95, 1).unwrap();
    assert_eq!(first, rs::group_bootstrap(&runs, figure, 2000, 0.95, 1).unwrap());
    assert_ne!(first, rs::group_bootstrap(&runs, figure, 2000, 0.95, 2).unwrap());
    // The mean of 12 whole numbers has a standard error of 3.6 / √12 = 1.04; the interval is about ± 1.96 of it.
    assert!(
        (first.high - first.low - 2.0 * 1.96 * 1.0).abs() < 0.4,
        "{first:?}"
    );
}

#[test]
fn page_hinkley_finds_both_directions_and_not_noise() {
    for (change, expected) in [(1.0, rs::Direction::Up), (-1.0, rs::Direction::Down)] {
        let mut detector = rs::PageHinkley::new(0.2, 4.0, 20);
        // A fixed scatter of ± 0.3 around 5.
        let noise = |i: i32| 0.3 * f64::from((i * 7) % 5 - 2) / 2.0;
        for i in 0..500 {
            assert_eq!(detector.update(5.0 + noise(i)), None, "at {i}");
        }
        let found = (0..20).find_map(|i| detector.update(5.0 + change + noise(i)));
        assert_eq!(found, Some(expected));
    }
}

#[test]
fn cusum_has_the_run_lengths_of_its_documentation() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut mean_run_length = |level: f64| {
        let lengths: Vec<f64> = (0..400)
            .map(|_| {
                let mut cusum = rs::Cusum::new(0.0, 0.5, 5.0);
                let values = StandardNormal
                    .sample_iter(&mut random)
                    .map(|noise: f64| level + noise);
                let alarm = values
                    .map(|value| cusum.update(value))
                    .position(|alarm| alarm.is_some());
                (alarm.expect("the stream does not end") + 1) as f64
            })
            .collect();
        rs::mean(&lengths).unwrap()
    };
    // The standard error of the mean of 400 nearly exponential run lengths is 5 %.
    let (without_change, with_change) = (mean_run_length(0.0), mean_run_length(1.0));
    assert!((400.0..540.0).contains(&without_change), "{without_change}");
    assert!((9.0..12.0).contains(&with_change), "{with_change}");
}
