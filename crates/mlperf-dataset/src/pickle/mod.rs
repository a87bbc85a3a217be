//! Reads a pickled pandas table without Python and without executing any of it.
//!
//! A pickle is a program for a small stack machine that can call functions, so an untrusted one is dangerous.
//! Here no call is ever made. [`vm`] runs the program over plain data: a function or class is only a name,
//! and a call only records the name and the arguments. [`numpy`] and [`frame`] then find a table in these
//! records. The names that a table needs are in a short list; a column built with any other name is not read,
//! and if it was requested, the error gives the name.

mod arrow;
mod budget;
mod frame;
mod heap;
mod names;
mod numpy;
mod vm;

use std::path::Path;

use super::error::DatasetError;
use super::table::Table;

/// Why a pickle is not a table.
#[derive(Debug)]
enum PickleError {
    /// It refers to a name that is not on the list.
    Refused { name: String, at: usize },
    /// It is not a pickle, or not a pickle of a table.
    Bad(String),
}

impl PickleError {
    fn bad(what: impl Into<String>) -> Self {
        Self::Bad(what.into())
    }

    /// Adds the column that the error is about.
    fn of_column(self, name: &str) -> Self {
        match self {
            Self::Bad(what) => Self::Bad(format!("column {name}: {what}")),
            refused @ Self::Refused { .. } => refused,
        }
    }
}

/// Reads the wanted columns of a pickled DataFrame.
pub(super) fn read(bytes: &[u8], path: &Path, wanted: &[&str]) -> Result<Table, DatasetError> {
    let path_error = |error| match error {
        PickleError::Refused { name, at } => DatasetError::Refused {
            path: path.to_owned(),
            name,
            at,
        },
        PickleError::Bad(what) => DatasetError::Format {
            path: path.to_owned(),
            what,
        },
    };
    let (mut heap, top) = vm::run(bytes).map_err(path_error)?;
    frame::table(&heap, top, wanted, bytes.len()).map_err(|error| match heap.unknown.take() {
        // Without the unknown name the table might have been found.
        Some((name, at)) => path_error(PickleError::Refused { name, at }),
        None => path_error(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Table, DatasetError> {
        super::read(bytes, Path::new("set.pkl"), &["tok_input", "input", "text_input"])
    }

    /// Every truncation of a valid pickle is an error. With any byte changed it is an error or a table, never
    /// a panic.
    #[test]
    fn broken_pickles_are_errors() {
        for whole in [
            include_bytes!("../../tests/data/llama2_pandas1.1_p4.pkl").as_slice(),
            include_bytes!("../../tests/data/llama2_pandas2.3_p5.pkl"),
            include_bytes!("../../tests/data/deepseek_pandas3.1.pkl"),
        ] {
            assert!(read(whole).is_ok());
            for end in 0..whole.len() {
                assert!(read(&whole[..end]).is_err(), "cut at {end}");
            }
            for at in 0..whole.len() {
                for change in [1, 0x20, 0x80, 0xff] {
                    let mut changed = whole.to_vec();
                    changed[at] ^= change;
                    drop(read(&changed));
                }
            }
        }
    }

    /// A hundred thousand nested lists must not overflow the stack.
    #[test]
    fn depth_is_no_danger() {
        let mut deep = vec![0x80, 4];
        deep.extend(std::iter::repeat_n(b']', 100_000));
        deep.extend(std::iter::repeat_n(b'a', 99_999));
        deep.push(b'.');
        let error = read(&deep).unwrap_err().to_string();
        assert!(error.contains("a list instead of a pandas DataFrame"), "{error}");
    }
}
