//! Where a model is: in a folder, in the hub's cache, or on the hub.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use vllm_monitor::preflight::{ModelFacts, ModelFiles, ModelLocation};

use super::Asked;

struct Folder(PathBuf);

impl ModelFiles for Folder {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            // The hub's cache holds links; the size is that of the file behind.
            if let Ok(metadata) = fs::metadata(entry.path())
                && metadata.is_file()
            {
                files.push((entry.file_name().to_string_lossy().into_owned(), metadata.len()));
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    fn read(&self, name: &str, bytes: usize) -> io::Result<Vec<u8>> {
        let mut read = Vec::new();
        File::open(self.0.join(name))?
            .take(bytes as u64)
            .read_to_end(&mut read)?;
        Ok(read)
    }
}

/// Finds a model by its name or folder.
pub(super) fn find(name: &str, asked: &Asked) -> ModelLocation {
    let path = Path::new(name);
    if path.is_dir() {
        return look(path);
    }
    let is_path =
        path.is_absolute() || name.starts_with('.') || name.starts_with('~') || name.matches('/').count() > 1;
    if path.exists() || is_path {
        let problem = if path.exists() {
            "not a folder"
        } else {
            "no such folder"
        };
        return ModelLocation::Unusable {
            path: name.to_owned(),
            problem: problem.to_owned(),
        };
    }
    let folder = hub_cache(asked).join(format!("models--{}", name.replace('/', "--")));
    if let Some(snapshot) = snapshot(&folder) {
        return look(&snapshot);
    }
    let is_set = |name: &str| {
        asked
            .variable(name)
            .is_some_and(|value| !matches!(value, "0" | "false" | "False"))
    };
    ModelLocation::OnHub {
        name: name.to_owned(),
        is_online: !is_set("HF_HUB_OFFLINE") && !is_set("TRANSFORMERS_OFFLINE"),
    }
}

fn look(folder: &Path) -> ModelLocation {
    let path = folder.display().to_string();
    match ModelFacts::gather(&path, &Folder(folder.to_owned())) {
        Ok(facts) => ModelLocation::Here(Box::new(facts)),
        Err(error) => ModelLocation::Unusable {
            path,
            problem: error.to_string(),
        },
    }
}

/// The snapshot that `main` points at, or the only one.
fn snapshot(folder: &Path) -> Option<PathBuf> {
    let snapshots = folder.join("snapshots");
    if let Ok(revision) = fs::read_to_string(folder.join("refs/main")) {
        let path = snapshots.join(revision.trim());
        if path.is_dir() {
            return Some(path);
        }
    }
    let mut found: Vec<PathBuf> = fs::read_dir(snapshots)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    match found.len() {
        1 => found.pop(),
        _ => None,
    }
}

/// Where the hub's client keeps models.
pub(super) fn hub_cache(asked: &Asked) -> PathBuf {
    if let Some(path) = asked.variable("HF_HUB_CACHE") {
        return PathBuf::from(path);
    }
    let home = asked.variable("HOME").unwrap_or("/root");
    asked
        .variable("HF_HOME")
        .map_or_else(|| Path::new(home).join(".cache/huggingface"), PathBuf::from)
        .join("hub")
}
