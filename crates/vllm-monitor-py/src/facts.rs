//! Facts for the pre-startup checks, gathered on this machine. A fact that cannot be had stays absent, and its check
//! says so.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use vllm_monitor::preflight::{
    CgroupFacts, DiskFacts, Facts, LimitFacts, ModelFacts, ModelFiles, ModelLocation, PortFacts,
    SharedMemoryFacts,
};

/// vLLM's port unless `--port` says otherwise.
const DEFAULT_PORT: u16 = 8000;
/// Names of variables whose values are secrets.
const SECRET: [&str; 5] = ["TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIAL"];

/// Gathers what can be had without a GPU driver. `environment` is that of the server.
pub fn gather(
    vllm_version: Option<String>,
    model: Option<&str>,
    arguments: &[String],
    environment: &BTreeMap<String, String>,
) -> Facts {
    let variable = |name: &str| {
        environment
            .get(name)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    };
    let home = variable("HOME").unwrap_or("/root");
    let cache = hub_cache(environment, home);
    let place = model.map(|model| locate(model, &cache, variable("HF_HUB_OFFLINE")));
    let temporary = PathBuf::from(variable("TMPDIR").unwrap_or("/tmp"));
    Facts {
        vllm_version,
        arguments: arguments.to_vec(),
        environment: Some(without_secrets(environment)),
        // A machine without the driver's folder has no GPU that CUDA could use; with it, this gatherer does not look.
        gpus: (!Path::new("/proc/driver/nvidia").exists()).then(Vec::new),
        driver_version: None,
        port: Some(port(arguments)),
        disks: Some(vec![
            // The size of what would be fetched is not known before.
            disk("model cache", &cache, 0.0),
            disk("temporary files", &temporary, 0.0),
        ]),
        limits: limits(),
        cgroup: cgroup(Path::new("/sys/fs/cgroup")),
        shared_memory: shared_memory(Path::new("/dev/shm")),
        available_memory_bytes: fs::read_to_string("/proc/meminfo")
            .ok()
            .and_then(|text| available(&text)),
        model: place,
        owners: None,
    }
}

fn without_secrets(environment: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let value = |name: &str, value: &str| {
        let is_secret = SECRET.iter().any(|word| name.to_ascii_uppercase().contains(word));
        if is_secret {
            String::new()
        } else {
            value.to_owned()
        }
    };
    environment
        .iter()
        .map(|(name, text)| (name.clone(), value(name, text)))
        .collect()
}

fn hub_cache(environment: &BTreeMap<String, String>, home: &str) -> PathBuf {
    let path = |name: &str| {
        environment
            .get(name)
            .filter(|text| !text.is_empty())
            .map(PathBuf::from)
    };
    path("HF_HUB_CACHE")
        .or_else(|| path("HF_HOME").map(|folder| folder.join("hub")))
        .unwrap_or_else(|| Path::new(home).join(".cache/huggingface/hub"))
}

/// A folder, a model in the hub's cache, or one that would be fetched.
fn locate(model: &str, cache: &Path, offline: Option<&str>) -> ModelLocation {
    let as_path = Path::new(model);
    let is_path = as_path.is_absolute() || model.starts_with('.') || as_path.exists();
    let snapshot = snapshot(cache, model);
    let folder = if is_path {
        Some(as_path.to_path_buf())
    } else {
        snapshot
    };
    let Some(folder) = folder else {
        return ModelLocation::OnHub {
            name: model.to_owned(),
            is_online: !matches!(offline, Some("1" | "true" | "yes" | "on" | "ON" | "TRUE" | "YES")),
        };
    };
    let path = folder.display().to_string();
    match ModelFacts::gather(&path, &Folder(folder)) {
        Ok(facts) => ModelLocation::Here(Box::new(facts)),
        Err(error) => ModelLocation::Unusable {
            path,
            problem: error.to_string(),
        },
    }
}

/// The snapshot that the cache's `main` refers to.
fn snapshot(cache: &Path, model: &str) -> Option<PathBuf> {
    let folder = cache.join(format!("models--{}", model.replace('/', "--")));
    let revision = fs::read_to_string(folder.join("refs/main")).ok()?;
    let snapshot = folder.join("snapshots").join(revision.trim());
    snapshot.is_dir().then_some(snapshot)
}

struct Folder(PathBuf);

impl ModelFiles for Folder {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        fs::read_dir(&self.0)?
            .map(|entry| {
                let entry = entry?;
                // Follows links: the hub's cache is made of them.
                let size = fs::metadata(entry.path()).map_or(0, |metadata| metadata.len());
                Ok((entry.file_name().to_string_lossy().into_owned(), size))
            })
            .collect()
    }

    fn read(&self, name: &str, bytes: usize) -> io::Result<Vec<u8>> {
        let mut read = Vec::new();
        File::open(self.0.join(name))?
            .take(bytes as u64)
            .read_to_end(&mut read)?;
        Ok(read)
    }
}

fn port(arguments: &[String]) -> PortFacts {
    let value = |flag: &str| {
        let joined = arguments
            .iter()
            .find_map(|argument| argument.strip_prefix(&format!("{flag}=")).map(str::to_owned));
        joined.or_else(|| {
            let at = arguments.iter().position(|argument| argument == flag)?;
            arguments.get(at + 1).cloned()
        })
    };
    let port = value("--port")
        .and_then(|text| text.parse().ok())
        .unwrap_or(DEFAULT_PORT);
    let host = value("--host").unwrap_or_else(|| "0.0.0.0".to_owned());
    PortFacts {
        port,
        is_free: TcpListener::bind((host.as_str(), port)).is_ok(),
        holder: None,
    }
}

fn disk(purpose: &str, folder: &Path, needed_bytes: f64) -> DiskFacts {
    let mut nearest = folder;
    while !nearest.exists() {
        let Some(above) = nearest.parent() else { break };
        nearest = above;
    }
    let free_bytes =
        statvfs(nearest).map_or(0.0, |fs| fs.blocks_available() as f64 * fs.fragment_size() as f64);
    DiskFacts {
        purpose: purpose.to_owned(),
        path: folder.display().to_string(),
        free_bytes,
        needed_bytes,
        exists: folder.exists(),
        is_writable: nix::unistd::access(nearest, nix::unistd::AccessFlags::W_OK).is_ok(),
    }
}

fn limits() -> Option<LimitFacts> {
    let open_files = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let (locked, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    Some(LimitFacts {
        open_files,
        locked_bytes: (locked != nix::libc::RLIM_INFINITY).then_some(locked),
    })
}

/// The limits of a version 2 cgroup as its root shows them inside a container.
fn cgroup(root: &Path) -> Option<CgroupFacts> {
    let read = |name: &str| fs::read_to_string(root.join(name)).ok();
    let used = read("memory.current")?.trim().parse().ok()?;
    let quota = read("cpu.max").and_then(|text| {
        let (quota, period) = text.trim().split_once(' ')?;
        Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
    });
    Some(CgroupFacts {
        memory_limit_bytes: read("memory.max").and_then(|text| text.trim().parse().ok()),
        memory_used_bytes: used,
        cpu_cores: quota,
    })
}

fn shared_memory(folder: &Path) -> Option<SharedMemoryFacts> {
    let fs = statvfs(folder).ok()?;
    let block = fs.fragment_size() as f64;
    Some(SharedMemoryFacts {
        total_bytes: fs.blocks() as f64 * block,
        free_bytes: fs.blocks_available() as f64 * block,
    })
}

fn available(meminfo: &str) -> Option<f64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        pairs.collect()
    }

    #[test]
    fn a_held_port_a_missing_model_and_secrets() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let arguments = [
            "--host=127.0.0.1".to_owned(),
            "--port".to_owned(),
            port.to_string(),
        ];
        let cache = tempfile::tempdir().expect("a folder");
        let cache = cache.path().display().to_string();
        let variables = environment(&[
            ("HF_HUB_CACHE", &cache),
            ("HF_HUB_OFFLINE", "1"),
            ("HF_TOKEN", "hf_abc"),
        ]);
        let facts = gather(Some("0.32.0".into()), Some("some/model"), &arguments, &variables);
        assert_eq!(
            facts.port,
            Some(PortFacts {
                port,
                is_free: false,
                holder: None
            })
        );
        let on_hub = ModelLocation::OnHub {
            name: "some/model".into(),
            is_online: false,
        };
        assert_eq!(facts.model, Some(on_hub));
        let text = format!("{:?}", facts.environment);
        assert!(text.contains("HF_TOKEN") && !text.contains("hf_abc"), "{text}");
        assert!(facts.limits.is_some() && facts.available_memory_bytes.is_some());
    }

    #[test]
    fn models_are_found_in_the_cache_and_as_folders() {
        let folder = tempfile::tempdir().expect("a folder");
        let model = folder.path().join("models--some--model");
        fs::create_dir_all(model.join("refs")).expect("made");
        fs::create_dir_all(model.join("snapshots/abc")).expect("made");
        fs::write(model.join("refs/main"), "abc\n").expect("written");
        let ModelLocation::Here(facts) = locate("some/model", folder.path(), None) else {
            panic!("it is in the cache")
        };
        assert!(facts.path.ends_with("snapshots/abc") && facts.config.is_none());
        let missing = folder.path().join("nothing").display().to_string();
        assert!(matches!(
            locate(&missing, folder.path(), None),
            ModelLocation::Unusable { .. }
        ));
    }
}
