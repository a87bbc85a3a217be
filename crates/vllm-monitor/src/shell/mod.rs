//! Input and output around the core. The core imports nothing from here.

pub mod facts;
mod state_file;

pub use state_file::StateFile;
