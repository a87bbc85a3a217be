//! The settings of a server process, from flags or YAML, and the resulting command line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::ServerError;
use crate::secrets::{is_secret, redact_args};

/// How to start one server.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Model name or path.
    pub model: String,
    /// Address to listen on. Default `127.0.0.1`.
    pub host: String,
    /// Port to listen on; `None` takes a free one.
    pub port: Option<u16>,
    /// The words that start a server. Default `vllm serve`. A word may contain `{model}`, `{host}` or
    /// `{port}`; values not contained in any word are appended: the model as a separate word after `serve`,
    /// otherwise as `--model`, then `--host` and `--port`.
    pub command: Vec<String>,
    /// Server arguments, passed on as they are.
    pub args: Vec<String>,
    /// Environment variables set in addition to the inherited ones.
    pub env: BTreeMap<String, String>,
    /// File for standard output and error; appended to, never removed.
    pub log_path: PathBuf,
    /// How long the server may take to become ready. Default 10 min.
    pub startup_timeout: Duration,
    /// How long it may take to end after SIGTERM before SIGKILL. Default 30 s.
    pub stop_timeout: Duration,
    /// Folder for profiler traces; enables `/start_profile`.
    pub profiler_dir: Option<PathBuf>,
    /// Ports of several replicas, if a file lists them; a single server uses `port`.
    pub ports: Vec<u16>,
    /// Keys of the file that have no effect, and what to use instead, one sentence each.
    pub ignored: Vec<String>,
}

impl std::fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerConfig")
            .field("command", &redact_args(&self.command))
            .field("model", &self.model)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("args", &redact_args(&self.args))
            .field(
                "env",
                &self
                    .env
                    .iter()
                    .map(|(k, v)| (k, redact(k, v)))
                    .collect::<BTreeMap<_, _>>(),
            )
            .field("log_path", &self.log_path)
            .field("startup_timeout", &self.startup_timeout)
            .field("stop_timeout", &self.stop_timeout)
            .field("profiler_dir", &self.profiler_dir)
            .finish()
    }
}

impl ServerConfig {
    /// Defaults for `vllm serve model`, logging to `vllm_server.log` in the working folder.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            host: "127.0.0.1".to_owned(),
            port: None,
            command: vec!["vllm".to_owned(), "serve".to_owned()],
            args: Vec::new(),
            env: BTreeMap::new(),
            log_path: PathBuf::from("vllm_server.log"),
            startup_timeout: Duration::from_secs(600),
            stop_timeout: Duration::from_secs(30),
            profiler_dir: None,
            ports: Vec::new(),
            ignored: Vec::new(),
        }
    }

    /// The model name for requests: `--served-model-name` if set, otherwise the model.
    pub fn served_model_name(&self) -> &str {
        self.argument("--served-model-name").unwrap_or(&self.model)
    }

    /// The API key that the server requires, from its arguments or environment.
    pub(crate) fn api_key(&self) -> Option<&str> {
        self.argument("--api-key")
            .or_else(|| self.env.get("VLLM_API_KEY").map(String::as_str))
    }

    /// The value of a server argument, given as `NAME VALUE` or `NAME=VALUE`.
    pub fn argument(&self, name: &str) -> Option<&str> {
        let mut args = self.args.iter();
        while let Some(arg) = args.next() {
            match arg.strip_prefix(name) {
                Some("") => return args.next().map(String::as_str),
                Some(rest) if rest.starts_with('=') => return Some(&rest[1..]),
                _ => {}
            }
        }
        None
    }

    /// The whole command line for a server on `port`.
    pub(crate) fn words(&self, port: u16) -> Vec<String> {
        let port = port.to_string();
        let holds = |mark: &str| self.command.iter().any(|word| word.contains(mark));
        let mut words: Vec<String> = self
            .command
            .iter()
            .map(|w| {
                w.replace("{model}", &self.model)
                    .replace("{host}", &self.host)
                    .replace("{port}", &port)
            })
            .collect();
        if !holds("{model}") {
            if self.command.last().is_none_or(|word| word != "serve") {
                words.push("--model".to_owned());
            }
            words.push(self.model.clone());
        }
        if !holds("{host}") {
            words.extend(["--host".to_owned(), self.host.clone()]);
        }
        if !holds("{port}") {
            words.extend(["--port".to_owned(), port]);
        }
        words.extend(self.args.iter().cloned());
        if let Some(dir) = &self.profiler_dir {
            let config = serde_json::json!({ "profiler": "torch", "torch_profiler_dir": dir });
            words.extend(["--profiler-config".to_owned(), config.to_string()]);
        }
        words
    }

    /// The command line with values of keys, tokens and passwords replaced, for display and storage.
    pub fn redacted_command(&self, port: u16) -> Vec<String> {
        redact_args(&self.words(port))
    }
}

/// Turns a map of server arguments into words: underscores in names become dashes, `true` becomes the bare
/// flag, `false` its `--no-` form, null is omitted, lists and maps become JSON.
pub fn arguments_from_map(map: &Map<String, Value>) -> Vec<String> {
    let mut words = Vec::new();
    for (key, value) in map {
        let name = key.trim_start_matches("--").replace('_', "-");
        match value {
            Value::Null => {}
            Value::Bool(true) => words.push(format!("--{name}")),
            Value::Bool(false) => words.push(format!("--no-{name}")),
            Value::String(text) => words.extend([format!("--{name}"), text.clone()]),
            other => words.extend([format!("--{name}"), other.to_string()]),
        }
    }
    words
}

fn redact<'a>(name: &str, value: &'a str) -> &'a str {
    if is_secret(name) { "(redacted)" } else { value }
}

pub(super) fn bad(origin: &str, reason: &str) -> ServerError {
    ServerError::Config {
        origin: origin.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const FULL: &str = "
model: org/model
host: 0.0.0.0
port: 8123
env_vars: {A: 1, B: text, HF_TOKEN: hush}
output_dir: logs
startup_timeout: 5.5
config:
  api_server_args:
    tensor_parallel_size: 8
    enable_prefix_caching: false
    trust-remote-code: true
    dtype: null
    gpu_memory_utilization: 0.9
    compilation_config: {level: 3, sizes: [1, 2]}
    api_key: hush
    max_num_batched_tokens: 8192
";

    #[test]
    fn yaml_becomes_a_command_line() {
        let config = ServerConfig::from_yaml(FULL, "s.yaml", None).unwrap();
        let words = config.redacted_command(8123).join(" ");
        assert_eq!(
            words,
            "vllm serve org/model --host 0.0.0.0 --port 8123 --api-key (redacted) \
             --compilation-config {\"level\":3,\"sizes\":[1,2]} --no-enable-prefix-caching \
             --gpu-memory-utilization 0.9 --max-num-batched-tokens 8192 --tensor-parallel-size 8 \
             --trust-remote-code"
        );
        assert_eq!((config.api_key(), config.env["A"].as_str()), (Some("hush"), "1"));
        assert_eq!(config.startup_timeout, Duration::from_millis(5500));
        assert_eq!(config.log_path, Path::new("logs/vllm_server.log"));
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn lists_other_commands_and_names() {
        let text = "command: [python, -m, api]\nargs: [--served-model-name, tiny, --max-model-len, 2048]\n";
        let config = ServerConfig::from_yaml(text, "s.yaml", Some("dir")).unwrap();
        assert_eq!(
            config.words(7).join(" "),
            "python -m api --model dir --host 127.0.0.1 --port 7 --served-model-name tiny --max-model-len 2048"
        );
        assert_eq!(config.served_model_name(), "tiny");
        let text = "command: [run.sh, '{model}', 'at={host}:{port}']";
        let config = ServerConfig::from_yaml(text, "s.yaml", Some("dir")).unwrap();
        assert_eq!(config.words(7), ["run.sh", "dir", "at=127.0.0.1:7"]);
    }

    #[test]
    fn an_error_shows_no_line_of_the_file() {
        for text in [
            "env: {HF_TOKEN: canary}\nport: many\n",
            "env:\n  HF_TOKEN: canary\nprot: 1\n",
            "api_key: canary\nport: [1\n",
            "api_key: [canary\n",
        ] {
            let error = ServerConfig::from_yaml(text, "s.yaml", Some("m")).unwrap_err();
            let error = format!("{error} {error:?}");
            assert!(!error.contains("canary") && error.contains("s.yaml"), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, told) in [
            ("model: m\nprot: 1", "prot"),
            ("port: 1", "no model"),
            ("model: m\nbackend: sglang", "sglang"),
            ("model: m\nport: 70000", "port"),
            ("model: m\nargs: [[1]]", "not a word"),
            ("model: m\nargs: [a]\nconfig: {server_args: [b]}", "twice"),
            ("model: m\ncommand: []", "empty"),
            ("model: m\nstartup_timeout_secs: -1", "startup_timeout_secs"),
            ("model: m\nconfig: {heartbeat: 1}", "heartbeat"),
            (": : :", "s.yaml"),
        ] {
            let error = ServerConfig::from_yaml(text, "s.yaml", None)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(told) && error.contains("s.yaml"),
                "{text}: {error}"
            );
        }
    }
}
