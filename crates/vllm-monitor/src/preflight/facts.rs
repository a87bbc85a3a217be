//! Input of the checks. A fact that could not be determined is `None`, which differs from an empty one.

use super::ModelFacts;

/// The facts about the machine and the server to be started.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// Version of vLLM, as `vllm --version` or its package says.
    pub vllm_version: Option<String>,
    /// Arguments of the server, without the program and `serve`.
    pub arguments: Vec<String>,
    /// The environment that the server would have, values of secrets left out.
    pub environment: Option<Vec<(String, String)>>,
    /// GPUs; an empty list is a machine without.
    pub gpus: Option<Vec<GpuFacts>>,
    /// Version of the NVIDIA driver.
    pub driver_version: Option<String>,
    /// The port that the server would listen on.
    pub port: Option<PortFacts>,
    /// The file systems that matter.
    pub disks: Option<Vec<DiskFacts>>,
    /// Limits of the process.
    pub limits: Option<LimitFacts>,
    /// The cgroup.
    pub cgroup: Option<CgroupFacts>,
    /// `/dev/shm`.
    pub shared_memory: Option<SharedMemoryFacts>,
    /// Memory that the machine can give out, in bytes.
    pub available_memory_bytes: Option<f64>,
    /// Where the model is.
    pub model: Option<ModelLocation>,
    /// Other supervisors that would restart the server.
    pub owners: Option<Vec<Owner>>,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuFacts {
    /// NVML index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Device memory.
    pub total_bytes: f64,
    /// Of this, free now.
    pub free_bytes: f64,
    /// CUDA compute capability, such as (9, 0).
    pub compute_capability: Option<(u32, u32)>,
    /// A row remap waits for a reset.
    pub remap_pending: Option<bool>,
    /// Errors of memory that could not be corrected, since the driver was loaded.
    pub uncorrected_errors: Option<u64>,
    /// Processes that use it.
    pub processes: Vec<String>,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFacts {
    /// Its number.
    pub port: u16,
    /// It can be bound.
    pub is_free: bool,
    /// Who holds it.
    pub holder: Option<String>,
}

/// A file system.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskFacts {
    /// What it is for: `model cache`, `temporary files`, …
    pub purpose: String,
    /// The folder looked at.
    pub path: String,
    /// Bytes that may be written.
    pub free_bytes: f64,
    /// Bytes that will be needed; 0 if nothing more is.
    pub needed_bytes: f64,
    /// The folder is there.
    pub exists: bool,
    /// The folder, or the nearest one above it that is there, can be written to.
    pub is_writable: bool,
}

/// Limits of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitFacts {
    /// Open files, soft and hard.
    pub open_files: (u64, u64),
    /// Locked memory in bytes; `None` for no limit.
    pub locked_bytes: Option<u64>,
}

/// The cgroup.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CgroupFacts {
    /// Limit of memory; `None` for no limit.
    pub memory_limit_bytes: Option<f64>,
    /// In use now.
    pub memory_used_bytes: f64,
    /// CPU quota in cores; `None` for no limit.
    pub cpu_cores: Option<f64>,
}

/// `/dev/shm`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SharedMemoryFacts {
    /// Its size.
    pub total_bytes: f64,
    /// Of this, free.
    pub free_bytes: f64,
}

/// Where a model is.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelLocation {
    /// In a folder or in the cache, and read.
    Here(Box<ModelFacts>),
    /// It would be fetched from a hub.
    OnHub {
        /// Its name.
        name: String,
        /// The hub may be asked (`HF_HUB_OFFLINE` is not set).
        is_online: bool,
    },
    /// It is a path, and there is nothing, or nothing usable.
    Unusable {
        /// The path.
        path: String,
        /// What is wrong.
        problem: String,
    },
}

/// A supervisor that restarts the server when it exits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// `systemd`, `kubernetes`, `docker`, `data-parallel supervisor`, …
    pub kind: String,
    /// What it says about restarts, such as `Restart=on-failure`.
    pub policy: String,
}
