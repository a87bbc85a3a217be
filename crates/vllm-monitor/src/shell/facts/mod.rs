//! Facts about this machine for the checks before a start. A fact that cannot be had stays absent, and its check says so.

mod host;
mod model;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::preflight::{DiskFacts, Facts, ModelLocation};

/// Room for temporary files and compiled kernels that a start may take, in bytes: assumed.
const SCRATCH_BYTES: f64 = 2e9;

/// The server that would be started.
#[derive(Debug, Clone)]
pub struct PlannedServer {
    /// Version of vLLM, if it is known.
    pub vllm_version: Option<String>,
    /// Its arguments, without the program and `serve`.
    pub arguments: Vec<String>,
    /// The model, as a name or a folder.
    pub model: Option<String>,
    /// The environment that it would have.
    pub environment: HashMap<String, String>,
    /// Where `proc`, `sys` and `dev` lie; `/` but for tests.
    pub root: PathBuf,
}

impl Default for PlannedServer {
    fn default() -> Self {
        Self {
            vllm_version: None,
            arguments: Vec::new(),
            model: None,
            environment: HashMap::new(),
            root: PathBuf::from("/"),
        }
    }
}

impl PlannedServer {
    fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

/// Gathers everything but GPUs and their driver, which the caller fills in.
pub fn gather(server: &PlannedServer) -> Facts {
    let place = server.model.as_deref().map(|name| model::find(name, server));
    let needs_download = matches!(place, Some(ModelLocation::OnHub { .. }));
    Facts {
        vllm_version: server.vllm_version.clone(),
        arguments: server.arguments.clone(),
        environment: Some(shown_environment(&server.environment)),
        gpus: None,
        driver_version: None,
        port: host::port(&server.arguments),
        disks: Some(disks(server, needs_download)),
        limits: host::limits(),
        cgroup: host::cgroup(&server.root),
        shared_memory: host::shared_memory(&server.root),
        available_memory_bytes: host::available_memory(&server.root),
        model: place,
        owners: Some(host::owners(server)),
    }
}

/// Variables that change how a server behaves. Secrets are left out.
fn shown_environment(environment: &HashMap<String, String>) -> Vec<(String, String)> {
    const PREFIXES: &[&str] = &["VLLM_", "CUDA_", "NCCL_", "HF_", "OMP_", "PYTORCH_", "TORCH_"];
    const SECRETS: &[&str] = &["KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL"];
    let is_secret = |name: &str| {
        SECRETS
            .iter()
            .any(|word| name.to_ascii_uppercase().contains(word))
    };
    let mut shown: Vec<(String, String)> = environment
        .iter()
        .filter(|(name, _)| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
        .filter(|(name, _)| !is_secret(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    shown.sort_unstable();
    shown
}

fn disks(server: &PlannedServer, needs_download: bool) -> Vec<DiskFacts> {
    let home = server.variable("HOME").unwrap_or("/root");
    let tmp = server.variable("TMPDIR").unwrap_or("/tmp");
    let cache = server
        .variable("VLLM_CACHE_ROOT")
        .map_or_else(|| Path::new(home).join(".cache/vllm"), PathBuf::from);
    let mut disks = vec![
        host::disk("temporary files", Path::new(tmp), SCRATCH_BYTES),
        host::disk("compiled kernels", &cache, SCRATCH_BYTES),
    ];
    // How much a model on a hub takes is not known before it is fetched; that there is a place for it is.
    if needs_download {
        let cache = model::hub_cache(server);
        disks.push(host::disk("model cache", &cache, SCRATCH_BYTES));
    }
    disks
}

#[cfg(test)]
mod tests {
    use super::*;

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
