//! Prompts of MLPerf's language benchmarks, read from files or synthesised.
//!
//! [`Dataset::load`] reads JSON, JSONL, CSV, Parquet and pickled pandas tables; all but Parquet may be
//! compressed with gzip. Only the columns that make up a prompt are read. A pickle is read without executing
//! any of it. [`Synthetic`] generates prompts from a seed.
//!
//! # Examples
//! ```
//! use mlperf_dataset::Synthetic;
//!
//! let dataset = Synthetic { samples: 3, ..Synthetic::default() }.build();
//! assert_eq!(dataset.prompts.len(), 3);
//! assert!(dataset.synthetic);
//! ```

mod csv;
mod error;
mod gzip;
mod json;
mod lengths;
mod parquet;
mod pickle;
mod synthetic;
mod table;

use std::fs::File;
use std::path::Path;

pub use error::DatasetError;
pub use lengths::{Lengths, LengthsError};
pub use synthetic::Synthetic;

/// One sample of a dataset.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prompt {
    /// The prompt's token ids, as sent. Empty only when the dataset contains only text.
    pub token_ids: Vec<i32>,
    /// The prompt's text, where the dataset has it.
    pub text: Option<String>,
    /// The reference answer, where the dataset has it.
    pub reference: Option<String>,
    /// The reference answer's token ids, where the dataset has them.
    pub reference_ids: Option<Vec<i32>>,
    /// The part of a mixed dataset that the sample is from (`gpqa`, `aime`, …), if the dataset has such a
    /// column.
    pub part: Option<String>,
}

/// All samples, and where they came from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dataset {
    /// File name, or the parameters of a synthetic dataset; stored with the run.
    pub origin: String,
    /// True when the prompts are synthetic.
    pub synthetic: bool,
    /// The samples in dataset order.
    pub prompts: Vec<Prompt>,
}

/// Columns to use instead of the default names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Columns {
    /// The prompt's text.
    pub input: Option<String>,
    /// The prompt's token ids.
    pub input_ids: Option<String>,
    /// The reference answer's text.
    pub output: Option<String>,
}

/// Default names of the column with the prompt's token ids; the first one in the file is used.
pub const INPUT_IDS_COLUMNS: &[&str] = &["tok_input", "input_tokens", "prompt_token_ids", "input_ids"];
/// Default names of the column with the prompt's text.
pub const INPUT_COLUMNS: &[&str] = &["input", "text_input", "prompt", "question"];
/// Default names of the column with the reference answer's text.
pub const OUTPUT_COLUMNS: &[&str] = &["output", "gt_output", "ground_truth", "reference", "answer"];
/// Default names of the column with the reference answer's token ids.
pub const OUTPUT_IDS_COLUMNS: &[&str] = &["tok_output", "output_tokens", "output_ids"];
/// The column that names the part of a mixed dataset.
pub const PART_COLUMNS: &[&str] = &["dataset"];
/// Supported file name extensions.
pub const EXTENSIONS: &[&str] = &["json", "jsonl", "csv", "parquet", "pkl", "pickle"];

impl Dataset {
    /// Reads a file. Its extension determines the format; a file with an additional `.gz` is decompressed
    /// first.
    ///
    /// JSON is a list of objects or an object of columns; JSONL is one object per line; CSV has a header
    /// line; Parquet and pickled pandas tables are read by column. A pickle is read without executing any of
    /// it.
    ///
    /// # Errors
    /// [`DatasetError`] names the file, the position and a remedy.
    pub fn load(path: &Path, columns: &Columns) -> Result<Self, DatasetError> {
        let read_error = |source| DatasetError::Read {
            path: path.to_owned(),
            source,
        };
        let (extension, packed) = extension(path);
        let usual = [
            INPUT_IDS_COLUMNS,
            INPUT_COLUMNS,
            OUTPUT_COLUMNS,
            OUTPUT_IDS_COLUMNS,
            PART_COLUMNS,
        ]
        .concat();
        let asked = [&columns.input, &columns.input_ids, &columns.output];
        let wanted: Vec<&str> = usual
            .into_iter()
            .chain(asked.into_iter().flatten().map(String::as_str))
            .collect();
        let bytes = || -> Result<Vec<u8>, DatasetError> {
            let bytes = std::fs::read(path).map_err(read_error)?;
            // The name may not show that the file is compressed, or wrongly claim that it is.
            if packed || gzip::is_packed(&bytes) {
                return gzip::unpack(&bytes).map_err(|what| DatasetError::Format {
                    path: path.to_owned(),
                    what,
                });
            }
            Ok(bytes)
        };
        let table = match extension.as_str() {
            "json" => json::read(&bytes()?, path, &wanted)?,
            "jsonl" => json::read_lines(&bytes()?, path, &wanted)?,
            "csv" => csv::read(&bytes()?, path, &wanted)?,
            "parquet" if packed => {
                return Err(DatasetError::Format {
                    path: path.to_owned(),
                    what: "unpack it first: gunzip".to_owned(),
                });
            }
            "parquet" => parquet::read(File::open(path).map_err(read_error)?, path, &wanted)?,
            "pkl" | "pickle" => pickle::read(&bytes()?, path, &wanted)?,
            _ => {
                let what = format!(
                    "its name must end in one of .{}, with or without .gz",
                    EXTENSIONS.join(" .")
                );
                return Err(DatasetError::Format {
                    path: path.to_owned(),
                    what,
                });
            }
        };
        let prompts = table.into_prompts(path, columns)?;
        Ok(Self {
            origin: path.display().to_string(),
            synthetic: false,
            prompts,
        })
    }
}

/// The extension that determines the format, in lower case, and whether `.gz` follows it.
pub fn extension(path: &Path) -> (String, bool) {
    let ending = |path: &Path| {
        path.extension()
            .and_then(|ending| ending.to_str())
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    match ending(path).as_str() {
        "gz" => (ending(&path.with_extension("")), true),
        other => (other.to_owned(), false),
    }
}
