//! The YAML file that describes a server, as written, and its conversion to settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::ServerError;
use super::config::{ServerConfig, arguments_from_map, bad};

impl ServerConfig {
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
    /// ports: [8000, 8001]           # several replicas
    /// profile:                      # a command in front of the server's: nsys profile … -o DIR/vllm_server
    ///   enabled: true
    ///   tool: nsys                  # or amd (rocprof); pytorch is profiler_dir
    ///   output_dir: traces
    ///   args: [--trace, cuda]
    /// ```
    ///
    /// Keys that other harnesses have in such files, and that have no effect here, are listed in
    /// [`ServerConfig::ignored`]: `heartbeat_interval`, `heartbeat_timeout`, `debug_mode`, and under `config`
    /// `load_balance_strategy` and `max_tokens`.
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
}

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    backend: Option<String>,
    model: Option<String>,
    host: Option<Hosts>,
    port: Option<u16>,
    #[serde(default)]
    ports: Vec<u16>,
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
    profile: Option<Profile>,
    heartbeat_interval: Option<Value>,
    heartbeat_timeout: Option<Value>,
    debug_mode: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Hosts {
    One(String),
    Many(Vec<String>),
}

/// A profiler's command in front of the server's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    #[serde(default)]
    enabled: bool,
    tool: Option<String>,
    output_dir: Option<PathBuf>,
    binary_path: Option<String>,
    #[serde(default)]
    args: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNested {
    #[serde(alias = "server_args", alias = "api_server_args")]
    args: Option<RawArgs>,
    load_balance_strategy: Option<Value>,
    max_tokens: Option<Value>,
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
        let ignored = self.ignored();
        let model = model.map(str::to_owned).or(self.model);
        let model = model.ok_or_else(|| bad(origin, "no model: add `model:` or give --model"))?;
        let mut config = ServerConfig::new(model);
        config.ignored = ignored;
        config.host = match self.host {
            None => config.host,
            Some(Hosts::One(host)) => host,
            Some(Hosts::Many(mut hosts)) if hosts.len() == 1 => hosts.remove(0),
            Some(Hosts::Many(_)) => {
                return Err(bad(
                    origin,
                    "host: servers are started on this machine only; attach to those of several hosts with --url",
                ));
            }
        };
        config.port = match (self.port, &self.ports[..]) {
            (Some(_), [_, ..]) => return Err(bad(origin, "port and ports: give one of them")),
            (port, ports) => port.or(ports.first().copied()),
        };
        config.ports = self.ports;
        config.command = match (self.command, self.binary_path) {
            (Some(_), Some(_)) => return Err(bad(origin, "command and binary_path: give one of them")),
            (Some(words), None) if words.is_empty() => return Err(bad(origin, "command: is empty")),
            (Some(words), None) => words,
            (None, Some(path)) => vec![path, "serve".to_owned()],
            (None, None) => config.command,
        };
        let nested = self.config.and_then(|config| config.args);
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
        if let Some(profile) = self.profile.filter(|profile| profile.enabled) {
            profile.apply(origin, &mut config)?;
        }
        Ok(config)
    }

    fn ignored(&self) -> Vec<String> {
        let nested = self.config.as_ref();
        [
            (
                self.heartbeat_interval.is_some() || self.heartbeat_timeout.is_some(),
                "heartbeat_interval and heartbeat_timeout have no effect: the end of a started server is noticed at once",
            ),
            (
                self.debug_mode.is_some(),
                "debug_mode has no effect: use --log-level DEBUG",
            ),
            (
                nested.is_some_and(|config| config.load_balance_strategy.is_some()),
                "config.load_balance_strategy has no effect: use --balance",
            ),
            (
                nested.is_some_and(|config| config.max_tokens.is_some()),
                "config.max_tokens has no effect: use --max-tokens",
            ),
        ]
        .into_iter()
        .filter(|(given, _)| *given)
        .map(|(_, what)| what.to_owned())
        .collect()
    }
}

impl Profile {
    fn apply(self, origin: &str, config: &mut ServerConfig) -> Result<(), ServerError> {
        let dir = self.output_dir.unwrap_or_else(|| PathBuf::from("profile"));
        let (binary, verb) = match self.tool.as_deref().unwrap_or("pytorch") {
            "pytorch" if self.binary_path.is_none() && self.args.is_empty() => {
                config.profiler_dir = Some(dir);
                return Ok(());
            }
            "pytorch" => {
                return Err(bad(
                    origin,
                    "profile: binary_path and args are for nsys and amd; pytorch traces are started by --enable-profiler",
                ));
            }
            "nsys" => ("nsys", Some("profile")),
            "amd" => ("rocprof", None),
            other => {
                return Err(bad(
                    origin,
                    &format!("profile.tool: {other:?} is not known, only nsys, amd and pytorch"),
                ));
            }
        };
        let mut words = vec![self.binary_path.unwrap_or_else(|| binary.to_owned())];
        words.extend(verb.map(str::to_owned));
        words.extend(self.args);
        words.extend(["-o".to_owned(), dir.join("vllm_server").display().to_string()]);
        words.append(&mut config.command);
        config.command = words;
        Ok(())
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

    #[test]
    fn keys_of_other_harnesses_are_taken_or_named() {
        let text = "
backend: vllm
model: m
host: [127.0.0.1]
ports: [8000, 8001]
heartbeat_interval: 100
heartbeat_timeout: 30
debug_mode: false
config:
  load_balance_strategy: round_robin
  max_tokens: 128
  api_server_args: {tensor_parallel_size: 2}
";
        let config = ServerConfig::from_yaml(text, "s.yaml", None).unwrap();
        assert_eq!((config.port, config.ports), (Some(8000), vec![8000, 8001]));
        assert_eq!(config.args, ["--tensor-parallel-size", "2"]);
        let named = config.ignored.join("\n");
        for key in [
            "heartbeat_interval",
            "debug_mode",
            "load_balance_strategy",
            "max_tokens",
        ] {
            assert!(named.contains(key), "{key} is not named in {named}");
        }
    }

    #[test]
    fn a_profiler_is_a_command_in_front() {
        let text = "model: m\nprofile: {enabled: true, tool: nsys, output_dir: t, args: [--trace, cuda]}\n";
        let config = ServerConfig::from_yaml(text, "s.yaml", None).unwrap();
        assert_eq!(
            config.command.join(" "),
            "nsys profile --trace cuda -o t/vllm_server vllm serve"
        );
        let text = "model: m\nprofile: {enabled: true, tool: pytorch, output_dir: t}\n";
        let config = ServerConfig::from_yaml(text, "s.yaml", None).unwrap();
        assert_eq!(config.profiler_dir, Some(PathBuf::from("t")));
        let off = ServerConfig::from_yaml(
            "model: m\nprofile: {enabled: false, tool: nsys}\n",
            "s.yaml",
            None,
        );
        assert_eq!(off.unwrap().command, ["vllm", "serve"]);
        for (text, told) in [
            ("profile: {enabled: true, tool: perf}", "perf"),
            ("profile: {enabled: true, args: [x]}", "--enable-profiler"),
            ("host: [a, b]", "--url"),
            ("port: 1\nports: [2]", "one of them"),
        ] {
            let error = ServerConfig::from_yaml(&format!("model: m\n{text}\n"), "s.yaml", None);
            let error = error.unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
