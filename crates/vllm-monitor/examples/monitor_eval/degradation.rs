//! Slower steps at equal load, and more load at equal speed.
pub fn report() {}
