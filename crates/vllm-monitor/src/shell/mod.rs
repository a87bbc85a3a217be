//! Input and output around the core. The core imports nothing from here.

mod state_file;

pub use state_file::StateFile;
