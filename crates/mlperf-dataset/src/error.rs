//! Errors of dataset files, each with its position and a remedy.

use std::path::PathBuf;

/// Why a dataset cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The file cannot be read.
    #[error("dataset {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The underlying I/O error.
        source: std::io::Error,
    },
    /// The file does not have the format that its name implies.
    #[error("dataset {path}: {what}")]
    Format {
        /// The file.
        path: PathBuf,
        /// The position and the problem; text formats give line and column.
        what: String,
    },
    /// A pickle refers to a name that is not on the list of what a table needs. Nothing was called.
    #[error(
        "dataset {path}: the pickle names {name}, which a table of prompts does not need, so it is refused at byte \
         {at}; nothing of it was run. Save the table in another form, for example \
         pandas.read_pickle(file).to_parquet(new_file), if you trust it"
    )]
    Refused {
        /// The file.
        path: PathBuf,
        /// Module and name.
        name: String,
        /// Position in the file.
        at: usize,
    },
    /// A column is missing.
    #[error(
        "dataset {path}: no column {wanted}; it has {}. Name the right one with {flag}",
        if found.is_empty() { "none".to_owned() } else { found.join(", ") }
    )]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The name or names that were looked for.
        wanted: String,
        /// The flag that overrides the choice.
        flag: &'static str,
        /// Columns of the file.
        found: Vec<String>,
    },
    /// A cell contains something other than its column needs.
    #[error("dataset {path}, {place}, column {column}: expected {expected}, found {found}")]
    Cell {
        /// The file.
        path: PathBuf,
        /// `line 7` for text formats, `row 7` (counted from 1) for the others.
        place: String,
        /// The column.
        column: String,
        /// What was expected.
        expected: &'static str,
        /// What the cell contains.
        found: String,
    },
    /// There are no samples.
    #[error("dataset {path} has no rows")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}
