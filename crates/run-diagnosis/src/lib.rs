//! What a run's numbers say.

pub mod bound;
pub mod input;
pub mod window;
mod words;
