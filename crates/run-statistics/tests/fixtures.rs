//! Every function against figures of other libraries; `scripts/make_statistics_fixtures.py` says which.

use run_statistics as rs;
use serde_json::Value;

fn fixture(text: &str) -> Value {
    serde_json::from_str(text).expect("a fixture is JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(number).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn rows(value: &Value) -> impl Iterator<Item = Vec<f64>> {
    list(value).iter().map(numbers)
}

/// Within a relative tolerance, with the same as an absolute one around 0.
#[track_caller]
fn close(found: f64, expected: f64, tolerance: f64, what: &str) {
    let allowed = tolerance * expected.abs().max(1.0);
    assert!(
        (found - expected).abs() <= allowed,
        "{what}: {found} instead of {expected}"
    );
}

#[track_caller]
fn relatively_close(found: f64, expected: f64, tolerance: f64, what: &str) {
    let allowed = tolerance * expected.abs();
    assert!(
        (found - expected).abs() <= allowed,
        "{what}: {found} instead of {expected}"
    );
}

#[test]
fn distributions() {
    let data = fixture(include_str!("data/distributions.json"));
    for row in rows(&data["t_quantile"]) {
        let what = format!("t quantile, {} degrees, p {}", row[0], row[1]);
        relatively_close(rs::student::quantile(row[1], row[0]), row[2], 1e-9, &what);
    }
    for row in rows(&data["t_cdf"]) {
        relatively_close(
            rs::student::cdf(row[1], row[0]),
            row[2],
            1e-9,
            &format!("t cdf {row:?}"),
        );
    }
    for row in rows(&data["normal_cdf"]) {
        relatively_close(rs::normal::cdf(row[0]), row[1], 1e-12, "normal cdf");
    }
    for row in rows(&data["normal_ln_cdf"]) {
        relatively_close(rs::normal::ln_cdf(row[0]), row[1], 1e-9, "normal ln cdf");
    }
    for row in rows(&data["normal_quantile"]) {
        close(rs::normal::quantile(row[0]), row[1], 1e-12, "normal quantile");
    }
}

#[test]
fn long_series() {
    for case in list(&fixture(include_str!("data/series.json"))) {
        let values = numbers(&case["values"]);
        close(rs::mean(&values).unwrap(), number(&case["mean"]), 1e-12, "mean");
        close(
            rs::variance(&values).unwrap(),
            number(&case["variance"]),
            1e-12,
            "variance",
        );
        for (lag, expected) in numbers(&case["autocorrelation"]).into_iter().enumerate() {
            close(
                rs::autocorrelation(&values, lag).unwrap(),
                expected,
                1e-12,
                "autocorrelation",
            );
        }
        let tau = rs::correlation_time(&values).unwrap();
        close(tau, number(&case["correlation_time"]), 1e-10, "correlation time");
        close(
            rs::von_neumann_ratio(&values).unwrap(),
            number(&case["von_neumann"]),
            1e-12,
            "von Neumann",
        );

        let batches = &case["batch_means"];
        let found = rs::batch_means(&values).unwrap();
        assert_eq!(found.batches as f64, number(&batches["batches"]));
        close(
            found.estimate.value,
            number(&batches["mean"]),
            1e-12,
            "batch mean",
        );
        close(
            found.estimate.standard_error,
            number(&batches["standard_error"]),
            1e-12,
            "error",
        );
        close(
            found.batch_correlation,
            number(&batches["batch_correlation"]),
            1e-12,
            "correlation",
        );
        close(
            found.effective_size,
            number(&batches["effective_size"]),
            1e-10,
            "effective size",
        );

        for (q, expected) in case["sectioned"].as_object().unwrap() {
            let expected = numbers(expected);
            let found = rs::sectioned_quantile(&values, q.parse().unwrap()).unwrap();
            close(found.value, expected[0], 1e-12, "sectioned quantile");
            close(
                found.standard_error,
                expected[1],
                1e-10,
                "error of a sectioned quantile",
            );
        }
        let sorted = rs::percentile::sorted(&values);
        for row in rows(&case["linear"]) {
            close(
                rs::percentile::linear(&sorted, row[0]).unwrap(),
                row[1],
                1e-12,
                "linear percentile",
            );
        }
        for row in rows(&case["loadgen"]) {
            close(
                rs::percentile::loadgen(&sorted, row[0]).unwrap(),
                row[1],
                0.0,
                "LoadGen's percentile",
            );
        }
        assert_eq!(rs::mser5(&values).unwrap() as f64, number(&case["mser5"]));
    }
}

#[test]
fn shifts_and_trends() {
    for case in list(&fixture(include_str!("data/short_series.json"))) {
        let values = numbers(&case["values"]);
        let expected = numbers(&case["pettitt"]);
        let shift = rs::pettitt(&values).unwrap();
        assert_eq!((shift.at as f64, shift.statistic), (expected[0], expected[1]));
        close(shift.p_value, expected[2], 1e-12, "Pettitt's p");

        let trend = rs::mann_kendall(&values).unwrap();
        assert_eq!(trend.s, number(&case["s"]));
        let plain = trend.variance / trend.correction;
        close(plain, number(&case["plain_variance"]), 1e-12, "variance of S");
        close(
            rs::sen_slope(&values).unwrap(),
            number(&case["sen_slope"]),
            1e-12,
            "Sen's slope",
        );
        // The other implementation uses a correction that is not positive as it is, and then has no z.
        if number(&case["variance"]) > 0.0 {
            close(
                trend.variance,
                number(&case["variance"]),
                1e-10,
                "corrected variance",
            );
            close(trend.z, number(&case["z"]), 1e-10, "z");
            close(trend.p_value, number(&case["p"]), 1e-10, "p");
        } else {
            assert_eq!(trend.correction, 1.0);
        }
    }
}

#[test]
fn two_samples() {
    let data = fixture(include_str!("data/two_samples.json"));
    for case in list(&data["cases"]) {
        let (a, b) = (numbers(&case["a"]), numbers(&case["b"]));
        let apart = rs::kolmogorov_smirnov(&a, &b).unwrap();
        close(apart.distance, number(&case["distance"]), 1e-12, "distance");
        close(apart.p_value, number(&case["exact_p"]), 0.03, "p of the distance");

        let mean = |values: &[f64]| rs::Estimate::of_independent(values).unwrap();
        let difference = mean(&b).minus(mean(&a));
        close(
            difference.degrees_of_freedom,
            number(&case["welch_df"]),
            1e-10,
            "degrees of freedom",
        );
        close(
            difference.p_value(0.0),
            number(&case["welch_p"]),
            1e-10,
            "Welch's p",
        );
        let interval = numbers(&case["welch_interval"]);
        close(difference.interval(0.95).0, interval[0], 1e-9, "lower end");
        close(difference.interval(0.95).1, interval[1], 1e-9, "upper end");
    }
    let paired = &data["paired"];
    let ratio = rs::paired_log_ratio(&numbers(&paired["a"]), &numbers(&paired["b"])).unwrap();
    close(ratio.value, number(&paired["mean"]), 1e-12, "mean log ratio");
    relatively_close(ratio.p_value(0.0), number(&paired["p"]), 1e-9, "p of the pairs");
    close(
        ratio.interval(0.95).0,
        numbers(&paired["interval"])[0],
        1e-9,
        "lower end",
    );
}

#[test]
fn families() {
    for case in list(&fixture(include_str!("data/families.json"))) {
        let p_values = numbers(&case["p"]);
        for (found, expected) in rs::holm(&p_values).into_iter().zip(numbers(&case["holm"])) {
            close(found, expected, 1e-12, "Holm");
        }
        for (found, expected) in rs::benjamini_hochberg(&p_values)
            .into_iter()
            .zip(numbers(&case["bh"]))
        {
            close(found, expected, 1e-12, "Benjamini and Hochberg");
        }
    }
}

#[test]
fn least_squares_at_once_and_recursively() {
    for case in list(&fixture(include_str!("data/fits.json"))) {
        let (x, y) = (numbers(&case["x"]), numbers(&case["y"]));
        let columns = number(&case["columns"]) as usize;
        let fit = rs::least_squares(&x, columns, &y).unwrap();
        for (found, expected) in fit.coefficients.iter().zip(numbers(&case["coefficients"])) {
            relatively_close(*found, expected, 1e-9, "coefficient");
        }
        for (found, expected) in fit.covariance.iter().zip(numbers(&case["covariance"])) {
            relatively_close(*found, expected, 1e-7, "covariance");
        }
        close(
            fit.residual_variance,
            number(&case["residual_variance"]),
            1e-9,
            "residual variance",
        );
        close(fit.r_squared, number(&case["r_squared"]), 1e-9, "R²");

        let (forgetting, prior) = (number(&case["forgetting"]), number(&case["prior"]));
        let mut model = rs::RecursiveLeastSquares::new(columns, forgetting, prior);
        for (row, y) in x.chunks_exact(columns).zip(&y) {
            model.update(row, *y).unwrap();
        }
        for (found, expected) in model.coefficients().iter().zip(numbers(&case["recursive"])) {
            relatively_close(*found, expected, 1e-5, "recursive coefficient");
        }
    }
}

#[test]
fn first_passage_is_inverse_gaussian() {
    for row in rows(&fixture(include_str!("data/first_passage.json"))) {
        let level = rs::FirstPassage {
            distance: row[0],
            drift_per_sec: row[1],
            variance_per_sec: row[2],
        };
        close(level.probability_within(row[3]), row[4], 1e-9, "probability");
        relatively_close(level.time_quantile_secs(row[4]).unwrap(), row[3], 1e-7, "time");
    }
}

#[test]
fn probabilities() {
    let data = fixture(include_str!("data/probabilities.json"));
    let forecasts = numbers(&data["forecasts"]);
    let outcomes: Vec<bool> = data["outcomes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_bool().unwrap())
        .collect();
    let brier = rs::brier(&forecasts, &outcomes, 10).unwrap();
    close(brier.score, number(&data["brier"]), 1e-12, "Brier score");
    let error = rs::expected_calibration_error(&forecasts, &outcomes, 10).unwrap();
    close(
        error,
        number(&data["calibration_error"]),
        1e-12,
        "calibration error",
    );
    let as_numbers: Vec<f64> = outcomes
        .iter()
        .map(|outcome| f64::from(u8::from(*outcome)))
        .collect();
    let curve = rs::Isotonic::fit(&forecasts, &as_numbers).unwrap();
    for row in rows(&data["isotonic"]) {
        close(curve.at(row[0]), row[1], 1e-9, "isotonic curve");
    }
}

#[test]
fn histories() {
    for case in list(&fixture(include_str!("data/histories.json"))) {
        let changes = rs::change_points(&numbers(&case["values"]), 0.001, 0.02).unwrap();
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert_eq!(changes[0].at as f64, number(&case["at"]));
        close(changes[0].p_value, number(&case["p"]), 1e-9, "p of the change");
    }
}
