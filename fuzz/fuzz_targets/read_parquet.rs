//! The reader of runs kept as Parquet.

#![no_main]

#[path = "../reader.rs"]
mod reader;

use libfuzzer_sys::fuzz_target;
use vllm_metrics::StoreFormat;

fuzz_target!(
    // The reader catches panics of the Parquet library, but libfuzzer's panic hook would abort the process
    // first. An uncaught panic still ends it.
    init: std::panic::set_hook(Box::new(|panic| {
        if !panic.location().is_some_and(|at| at.file().contains("/parquet-") || at.file().contains("/arrow-")) {
            eprintln!("{panic}");
        }
    })),
    |input: &[u8]| reader::read(StoreFormat::Parquet, input)
);
