//! The reader of runs kept as CSV.

#![no_main]

#[path = "../reader.rs"]
mod reader;

use libfuzzer_sys::fuzz_target;
use vllm_metrics::StoreFormat;

fuzz_target!(|input: &[u8]| reader::read(StoreFormat::Csv, input));
