//! This program's contribution to `environment.json`.

use std::ffi::OsString;

use mlperf_rules::{Environment, ProgramFacts};

/// Environment variables that affect a run's measurements. Others are never read, so they cannot leak.
const VARIABLES: [&str; 20] = [
    "CUDA_DEVICE_ORDER",
    "CUDA_HOME",
    "CUDA_PATH",
    "CUDA_VISIBLE_DEVICES",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "LD_LIBRARY_PATH",
    "NCCL_DEBUG",
    "NVIDIA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "PYTHONPATH",
    "RUST_LOG",
    "TOKIO_WORKER_THREADS",
    "TORCH_CUDA_ARCH_LIST",
    "VLLM_ATTENTION_BACKEND",
    "VLLM_CPU_KVCACHE_SPACE",
    "VLLM_LOGGING_LEVEL",
    "VLLM_NO_USAGE_STATS",
    "VLLM_SERVER_DEV_MODE",
    "VLLM_USE_V1",
];

/// Reads the current environment of a run.
pub(super) fn read(server_version: Option<&str>) -> Environment {
    Environment::read(ProgramFacts {
        program: format!("sut {}", env!("CARGO_PKG_VERSION")),
        command_line: command_line(std::env::args_os()),
        server_version: server_version.map(str::to_owned),
        variables: &VARIABLES,
    })
}

/// The command line, with secrets replaced. Words need not be UTF-8, since file names are not always.
fn command_line(words: impl Iterator<Item = OsString>) -> Vec<String> {
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    vllm_client::redact_args(&words)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn secrets_never_pass() {
        let args = [
            "sut",
            "--api-key",
            "canary",
            "--api-key=canary",
            "--url",
            "http://me:canary@host:1/v1",
            "--server-args",
            "--hf-token canary --max-num-seqs 4",
            "--serve-command",
            "env HF_TOKEN=canary vllm serve",
        ];
        let mut words: Vec<OsString> = args.iter().map(Into::into).collect();
        words.push(OsString::from_vec(vec![b'd', 0xff]));
        let shown = command_line(words.into_iter());
        assert!(!shown.join(" ").contains("canary"), "{shown:?}");
        assert_eq!(shown.last().unwrap(), "d\u{fffd}");
        assert_eq!(shown[5], "http://(redacted)@host:1/v1");
    }
}
