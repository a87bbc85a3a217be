//! Prompts: where they come from and what is known about them. Token ids are what is sent.

mod synthetic;

pub use synthetic::{Lengths, Synthetic};

/// One sample of a dataset.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prompt {
    /// The prompt's token ids, as sent. Empty only when the dataset holds text alone.
    pub token_ids: Vec<i32>,
    /// The prompt's text, where the dataset has it.
    pub text: Option<String>,
    /// The reference answer, where the dataset has it.
    pub reference: Option<String>,
}

/// All samples, and where they came from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dataset {
    /// File name, or what a synthetic set was made of; stored with the run.
    pub origin: String,
    /// True when the prompts were made up.
    pub synthetic: bool,
    /// The samples in dataset order.
    pub prompts: Vec<Prompt>,
}
