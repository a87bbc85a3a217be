//! The settings of a server process, from flags or YAML, and the resulting command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
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
        }
    }

    /// Reads a YAML file. `model`, given outside the file, overrides the file's.
    ///
    /// ```yaml
    /// model: meta-llama/Llama-3.1-8B-Instruct
    /// port: 8000                    # absent: a free port
    /// command: [vllm, serve]        # also launch_command
    /// env: {HF_HUB_OFFLINE: 1}      # also env_vars
    /// args:                         # a map or a list; also server_args, api_server_args, or under config:
    ///   tensor_parallel_size: 8     # --tensor-parallel-size 8
    ///   enable_prefix_caching: false  # --no-enable-prefix-caching
    /// log_dir: logs                 # also output_dir
    /// startup_timeout_secs: 600     # also startup_timeout
    /// stop_timeout_secs: 30
    /// profiler_dir: traces
    /// ```
    ///
    /// # Errors
    /// [`ServerError::Config`] names the file and, for an unknown key, the known ones.
    pub fn from_yaml_file(path: &Path, model: Option<&str>) -> Result<Self, ServerError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| bad(&path.display().to_string(), &format!("cannot be read: {e}")))?;
        Self::from_yaml(&text, &path.display().to_string(), model)
    }

    /// As [`ServerConfig::from_yaml_file`], from text; `origin` names it in errors.
    ///
    /// # Errors
    /// As [`ServerConfig::from_yaml_file`].
    pub fn from_yaml(text: &str, origin: &str, model: Option<&str>) -> Result<Self, ServerError> {
        let raw: Raw = serde_saphyr::from_str(text).map_err(|e| {
            // Only the key: the surrounding lines may contain a secret.
            let line = e
                .location()
                .and_then(|at| text.lines().nth((at.line() as usize).checked_sub(1)?));
            let key = line.and_then(|line| Some(line.split_once(':')?.0.trim()));
            let what = e.without_snippet();
            match key.filter(|key| {
                key.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
            }) {
                Some(key) => bad(origin, &format!("{key}: {what}")),
                None => bad(origin, &what.to_string()),
            }
        })?;
        raw.resolve(origin, model)
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

    fn argument(&self, name: &str) -> Option<&str> {
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

fn bad(origin: &str, reason: &str) -> ServerError {
    ServerError::Config {
        origin: origin.to_owned(),
        reason: reason.to_owned(),
    }
}

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    backend: Option<String>,
    model: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    #[serde(alias = "launch_command")]
    command: Option<Vec<String>>,
    binary_path: Option<String>,
    #[serde(alias = "env_vars", default)]
    env: BTreeMap<String, Value>,
    #[serde(alias = "server_args", alias = "api_server_args")]
    args: Option<RawArgs>,
    config: Option<RawNested>,
    #[serde(alias = "output_dir")]
    log_dir: Option<PathBuf>,
    #[serde(alias = "startup_timeout")]
    startup_timeout_secs: Option<f64>,
    stop_timeout_secs: Option<f64>,
    profiler_dir: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNested {
    #[serde(alias = "server_args", alias = "api_server_args")]
    args: Option<RawArgs>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawArgs {
    List(Vec<Value>),
    Map(Map<String, Value>),
}

impl Raw {
    fn resolve(self, origin: &str, model: Option<&str>) -> Result<ServerConfig, ServerError> {
        if let Some(backend) = self.backend.as_deref().filter(|b| *b != "vllm") {
            return Err(bad(
                origin,
                &format!("backend: {backend:?} cannot be started here, only \"vllm\""),
            ));
        }
        let model = model.map(str::to_owned).or(self.model);
        let model = model.ok_or_else(|| bad(origin, "no model: add `model:` or give --model"))?;
        let mut config = ServerConfig::new(model);
        if let Some(host) = self.host {
            config.host = host;
        }
        config.port = self.port;
        config.command = match (self.command, self.binary_path) {
            (Some(_), Some(_)) => return Err(bad(origin, "command and binary_path: give one of them")),
            (Some(words), None) if words.is_empty() => return Err(bad(origin, "command: is empty")),
            (Some(words), None) => words,
            (None, Some(path)) => vec![path, "serve".to_owned()],
            (None, None) => config.command,
        };
        let nested = self.config.and_then(|c| c.args);
        let args = match (self.args, nested) {
            (Some(_), Some(_)) => return Err(bad(origin, "args: given twice, at the top and under config")),
            (one, other) => one.or(other),
        };
        config.args = match args {
            None => Vec::new(),
            Some(RawArgs::Map(map)) => arguments_from_map(&map),
            Some(RawArgs::List(list)) => list
                .into_iter()
                .map(|value| {
                    scalar(&value).ok_or_else(|| bad(origin, &format!("args: {value} is not a word")))
                })
                .collect::<Result<_, _>>()?,
        };
        for (name, value) in self.env {
            let text =
                scalar(&value).ok_or_else(|| bad(origin, &format!("env: {name} is not a text or number")))?;
            config.env.insert(name, text);
        }
        if let Some(dir) = self.log_dir {
            config.log_path = dir.join("vllm_server.log");
        }
        if let Some(secs) = self.startup_timeout_secs {
            config.startup_timeout = seconds(origin, "startup_timeout_secs", secs)?;
        }
        if let Some(secs) = self.stop_timeout_secs {
            config.stop_timeout = seconds(origin, "stop_timeout_secs", secs)?;
        }
        config.profiler_dir = self.profiler_dir;
        Ok(config)
    }
}

fn seconds(origin: &str, key: &str, secs: f64) -> Result<Duration, ServerError> {
    Duration::try_from_secs_f64(secs).map_err(|e| bad(origin, &format!("{key}: {secs}: {e}")))
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(on) => Some(on.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
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
