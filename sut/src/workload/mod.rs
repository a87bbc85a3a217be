//! The load: prompts as request bodies, LoadGen's settings, and their differences from the rules.

pub(crate) mod official;
pub(crate) mod prompts;
mod settings;

pub(crate) use self::prompts::BatchPrompts;
pub(crate) use self::settings::{ExpectedSamples, Load, expected_samples, logs, settings};
