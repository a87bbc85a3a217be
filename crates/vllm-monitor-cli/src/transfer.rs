//! What was learned, as a JSON file that can be carried elsewhere.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vllm_monitor::shell::StateFile;
use vllm_monitor::state::{Saved, StateStore as _, decode, encode};

use crate::error::{Error, Result};
use crate::state_keeper::StateKeeper;

/// Version of the format.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Exported {
    vllm_monitor_export: u32,
    /// The status at the time, for people.
    #[serde(default)]
    status: Option<Value>,
    /// What was learned; absent if nothing was kept.
    learned: Option<Saved>,
}

fn file_error(path: &Path, problem: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::File {
        path: path.to_owned(),
        source: std::io::Error::other(problem),
    }
}

/// A status and what a state file holds, as JSON.
///
/// # Errors
/// If the state file is there and cannot be used.
pub fn export(status: Option<Value>, state_file: &Path) -> Result<String> {
    let bytes = StateFile::new(state_file).read().map_err(|source| Error::File {
        path: state_file.to_owned(),
        source,
    })?;
    let learned = bytes.map(|bytes| decode(&bytes)).transpose()?;
    let exported = Exported {
        vllm_monitor_export: FORMAT,
        status,
        learned,
    };
    serde_json::to_string_pretty(&exported)
        .map(|text| text + "\n")
        .map_err(|e| file_error(state_file, e))
}

/// Makes an exported file the state, so that the next monitor starts with what it holds. Returns the number of targets.
///
/// # Errors
/// If the file cannot be used, or a monitor uses the state.
pub fn import(file: &Path, state_file: &Path) -> Result<usize> {
    let text = std::fs::read(file).map_err(|source| Error::File {
        path: file.to_owned(),
        source,
    })?;
    let exported: Exported = serde_json::from_slice(&text).map_err(|e| file_error(file, e))?;
    if exported.vllm_monitor_export != FORMAT {
        let problem = format!(
            "it has format {}, and this program reads format {FORMAT}",
            exported.vllm_monitor_export
        );
        return Err(file_error(file, problem));
    }
    let learned = exported
        .learned
        .ok_or_else(|| file_error(file, "it holds nothing that was learned"))?;
    StateKeeper::replace(state_file, &encode(&learned)).map_err(|problem| file_error(state_file, problem))?;
    Ok(learned.targets.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exported_can_be_imported() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let saved = Saved {
            model_version: "7".to_owned(),
            targets: [("t".into(), Default::default())].into_iter().collect(),
        };
        std::fs::write(&from, encode(&saved)).expect("written");
        let json = export(None, &from).expect("exported");
        let file = folder.path().join("export.json");
        std::fs::write(&file, &json).expect("written");
        assert_eq!(import(&file, &to).expect("imported"), 1);
        assert_eq!(
            decode(&std::fs::read(&to).expect("there")).expect("a state"),
            saved
        );

        std::fs::write(
            &file,
            json.replace("\"vllm_monitor_export\": 1", "\"vllm_monitor_export\": 9"),
        )
        .expect("written");
        assert!(
            import(&file, &to)
                .expect_err("refused")
                .to_string()
                .contains("format 9")
        );
        std::fs::write(&file, "{}").expect("written");
        assert!(import(&file, &to).is_err());
    }
}
