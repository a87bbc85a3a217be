//! Tests of the hang predictor.
