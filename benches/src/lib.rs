//! Measurements: figures, criterion benches, and the layering test.
