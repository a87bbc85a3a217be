//! Observations for tests of single predictors.
