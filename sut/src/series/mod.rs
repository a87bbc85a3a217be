//! Series of several runs, each in its own process, since LoadGen runs one test per process.

pub(crate) mod both;
mod child;
pub(crate) mod overhead;
pub(crate) mod peak;
pub(crate) mod sweep;
mod trial;

pub use self::child::Program;
