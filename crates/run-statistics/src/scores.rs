//! How good stated probabilities are: Brier score with its decomposition, and calibration error.

/// The Brier score and its parts, each between 0 and 1 except `within_bins`.
///
/// score = reliability − resolution + uncertainty + within_bins (Murphy, Journal of Applied Meteorology 12, 1973;
/// the last part is there because forecasts of one bin are not all the same).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Brier {
    /// Mean squared difference between forecast and outcome; lower is better.
    pub score: f64,
    /// How far the forecasts of a bin are from how often the event came; lower is better.
    pub reliability: f64,
    /// How far bins differ from the base rate; higher is better.
    pub resolution: f64,
    /// Base rate × (1 − base rate): the score of always forecasting the base rate.
    pub uncertainty: f64,
    /// What is left over from different forecasts in one bin.
    pub within_bins: f64,
}

impl Brier {
    /// 1 − score / uncertainty: 1 for perfect, 0 for no better than the base rate. `None` if every outcome was the
    /// same.
    pub fn skill(&self) -> Option<f64> {
        (self.uncertainty > 0.0).then(|| 1.0 - self.score / self.uncertainty)
    }
}

/// One bin of a reliability diagram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationBin {
    /// Forecasts in the bin, above 0.
    pub count: usize,
    /// Mean forecast.
    pub forecast: f64,
    /// How often the event came.
    pub frequency: f64,
}

/// The bins of equal width that hold forecasts, ascending. `None` for no forecasts, no bins, different lengths, or a
/// forecast outside 0 to 1.
pub fn calibration_bins(forecasts: &[f64], outcomes: &[bool], bins: usize) -> Option<Vec<CalibrationBin>> {
    if forecasts.is_empty() || forecasts.len() != outcomes.len() || bins == 0 {
        return None;
    }
    let mut sums = vec![(0_usize, 0.0, 0_usize); bins];
    for (forecast, outcome) in forecasts.iter().zip(outcomes) {
        if !(0.0..=1.0).contains(forecast) {
            return None;
        }
        let bin = &mut sums[((forecast * bins as f64) as usize).min(bins - 1)];
        bin.0 += 1;
        bin.1 += forecast;
        bin.2 += usize::from(*outcome);
    }
    Some(
        sums.into_iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, forecasts, events)| CalibrationBin {
                count,
                forecast: forecasts / count as f64,
                frequency: events as f64 / count as f64,
            })
            .collect(),
    )
}

/// The Brier score of probability forecasts, decomposed over bins of equal width. `None` as in [`calibration_bins`].
///
/// ```
/// let brier = run_statistics::brier(&[0.1, 0.1, 0.9, 0.9], &[false, false, true, false], 10).unwrap();
/// assert!((brier.score - 0.21).abs() < 1e-12);
/// let parts = brier.reliability - brier.resolution + brier.uncertainty + brier.within_bins;
/// assert!((parts - brier.score).abs() < 1e-12);
/// ```
pub fn brier(forecasts: &[f64], outcomes: &[bool], bins: usize) -> Option<Brier> {
    let bins = calibration_bins(forecasts, outcomes, bins)?;
    let n = forecasts.len() as f64;
    let base = outcomes.iter().filter(|outcome| **outcome).count() as f64 / n;
    let score = forecasts
        .iter()
        .zip(outcomes)
        .map(|(forecast, outcome)| (forecast - f64::from(u8::from(*outcome))).powi(2))
        .sum::<f64>()
        / n;
    let over_bins = |part: fn(&CalibrationBin, f64) -> f64| {
        bins.iter()
            .map(|bin| bin.count as f64 * part(bin, base))
            .sum::<f64>()
            / n
    };
    let reliability = over_bins(|bin, _| (bin.forecast - bin.frequency).powi(2));
    let resolution = over_bins(|bin, base| (bin.frequency - base).powi(2));
    let uncertainty = base * (1.0 - base);
    Some(Brier {
        score,
        reliability,
        resolution,
        uncertainty,
        within_bins: score - (reliability - resolution + uncertainty),
    })
}

/// Expected calibration error: the mean distance between forecast and frequency over bins, weighted by their counts.
/// `None` as in [`calibration_bins`].
///
/// ```
/// let error = run_statistics::expected_calibration_error(&[0.2, 0.2, 0.8, 0.8], &[false, true, true, true], 10);
/// assert!((error.unwrap() - 0.25).abs() < 1e-12);
/// ```
pub fn expected_calibration_error(forecasts: &[f64], outcomes: &[bool], bins: usize) -> Option<f64> {
    let bins = calibration_bins(forecasts, outcomes, bins)?;
    let distance: f64 = bins
        .iter()
        .map(|bin| bin.count as f64 * (bin.forecast - bin.frequency).abs())
        .sum();
    Some(distance / forecasts.len() as f64)
}
