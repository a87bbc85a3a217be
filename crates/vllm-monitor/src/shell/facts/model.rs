//! Where a model is: in a folder, in the hub's cache, or on the hub.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::PlannedServer;
use crate::preflight::{ModelFacts, ModelFiles, ModelLocation};

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
pub(super) fn find(name: &str, server: &PlannedServer) -> ModelLocation {
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
    let folder = hub_cache(server).join(format!("models--{}", name.replace('/', "--")));
    if let Some(snapshot) = snapshot(&folder) {
        return look(&snapshot);
    }
    let is_set = |name: &str| {
        server
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
pub(super) fn hub_cache(server: &PlannedServer) -> PathBuf {
    if let Some(path) = server.variable("HF_HUB_CACHE") {
        return PathBuf::from(path);
    }
    let home = server.variable("HOME").unwrap_or("/root");
    server
        .variable("HF_HOME")
        .map_or_else(|| Path::new(home).join(".cache/huggingface"), PathBuf::from)
        .join("hub")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(pairs: &[(&str, &str)]) -> PlannedServer {
        PlannedServer {
            environment: pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..PlannedServer::default()
        }
    }

    #[test]
    fn either_variable_takes_the_hub_away() {
        let cache = tempfile::tempdir().expect("a folder");
        let cache = cache.path().display().to_string();
        for (variable, online) in [
            ("HF_HUB_OFFLINE", false),
            ("TRANSFORMERS_OFFLINE", false),
            ("HOME", true),
        ] {
            let server = server(&[("HF_HUB_CACHE", &cache), (variable, "1")]);
            let ModelLocation::OnHub { is_online, .. } = find("some/model", &server) else {
                panic!("it is not here")
            };
            assert_eq!(is_online, online, "{variable}");
        }
    }

    #[test]
    fn models_are_found_in_the_cache_and_as_folders() {
        let cache = tempfile::tempdir().expect("a folder");
        let path = cache.path().display().to_string();
        let server = server(&[("HF_HUB_CACHE", &path)]);
        let model = cache.path().join("models--some--model");
        fs::create_dir_all(model.join("snapshots/abc")).expect("made");
        // The only snapshot, without a reference to it.
        let ModelLocation::Here(facts) = find("some/model", &server) else {
            panic!("it is in the cache")
        };
        assert!(facts.path.ends_with("snapshots/abc") && facts.config.is_none());
        fs::create_dir_all(model.join("snapshots/def")).expect("made");
        fs::create_dir_all(model.join("refs")).expect("made");
        fs::write(model.join("refs/main"), "def\n").expect("written");
        let ModelLocation::Here(facts) = find("some/model", &server) else {
            panic!("it is in the cache")
        };
        assert!(facts.path.ends_with("snapshots/def"));
        let missing = cache.path().join("nothing").display().to_string();
        assert!(matches!(find(&missing, &server), ModelLocation::Unusable { .. }));
    }
}
