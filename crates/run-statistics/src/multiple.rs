//! Several tests at once: Holm, and Benjamini and Hochberg.
//!
//! Both return adjusted p-values in the order given: compare each with the level wanted for the whole family.

/// Holm's adjusted p-values (Scandinavian Journal of Statistics 6, 1979): a test with an adjusted value of at most 5 %
/// is one of a family in which *any* false alarm has a chance of at most 5 %, whatever depends on whatever.
///
/// ```
/// assert_eq!(run_statistics::holm(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
/// ```
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let order = ascending(p_values);
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, i) in order.iter().enumerate() {
        largest = largest
            .max((p_values.len() - rank) as f64 * p_values[*i])
            .min(1.0);
        adjusted[*i] = largest;
    }
    adjusted
}

/// Benjamini and Hochberg's adjusted p-values (Journal of the Royal Statistical Society B 57, 1995): of the tests with
/// an adjusted value of at most 5 %, about 5 % are expected to be false alarms. Weaker than Holm: for reading.
///
/// ```
/// assert_eq!(run_statistics::benjamini_hochberg(&[0.01, 0.04, 0.03]), [0.03, 0.04, 0.04]);
/// ```
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let order = ascending(p_values);
    let mut adjusted = vec![0.0; p_values.len()];
    let mut smallest = 1.0_f64;
    for (rank, i) in order.iter().enumerate().rev() {
        smallest = smallest.min(p_values.len() as f64 / (rank + 1) as f64 * p_values[*i]);
        adjusted[*i] = smallest;
    }
    adjusted
}

fn ascending(p_values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    order
}
