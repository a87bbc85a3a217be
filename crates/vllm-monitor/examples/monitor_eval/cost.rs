//! What one step costs, and whether memory stays flat.
pub fn report() {}
