//! The server's command line: the monitor's switches taken out, and what must be known to observe it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use vllm_monitor::preflight::{ArgumentTable, ParsedArguments};

/// The monitor's switches among the server's arguments, and the core's key of each.
const SWITCHES: &[(&str, &str)] = &[
    ("--enable-monitoring", "enable_monitoring"),
    ("--enable-auto-mitigation", "enable_auto_mitigation"),
    ("--enable-predictive-detection", "enable_predictive"),
    ("--enable-continuous-learning", "enable_learning"),
];
const CONFIG: &str = "--monitor-config";

/// Settings that stood among the server's arguments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Switches {
    /// Keys and values.
    pub core: Vec<(String, String)>,
    /// A settings file.
    pub config: Option<PathBuf>,
}

/// Takes the monitor's switches out of a command line. `--monitor-config` takes a file, or JSON as vLLM's own
/// arguments do.
///
/// ```
/// use vllm_monitor_cli::supervise::take_switches;
///
/// let line = ["vllm", "serve", "m", "--enable-monitoring", "--port", "8000"].map(String::from);
/// let (rest, switches) = take_switches(&line)?;
/// assert_eq!(rest, ["vllm", "serve", "m", "--port", "8000"]);
/// assert_eq!(switches.core, [("enable_monitoring".to_owned(), "true".to_owned())]);
/// # Ok::<(), String>(())
/// ```
///
/// # Errors
/// A switch with a value that it cannot have.
pub fn take_switches(command: &[String]) -> Result<(Vec<String>, Switches), String> {
    let mut switches = Switches::default();
    let mut rest = Vec::with_capacity(command.len());
    let mut words = command.iter();
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        // vLLM takes underscores for dashes.
        let name = name.replace('_', "-");
        let (positive, negated) = match name.strip_prefix("--no-") {
            Some(stem) => (format!("--{stem}"), true),
            None => (name.clone(), false),
        };
        if let Some((_, key)) = SWITCHES.iter().find(|(switch, _)| *switch == positive) {
            let on = match (value, negated) {
                (None, negated) => (!negated).to_string(),
                (Some(value), false) => value.to_owned(),
                (Some(_), true) => return Err(format!("{word}: {name} takes no value")),
            };
            switches.core.push(((*key).to_owned(), on));
        } else if name == CONFIG {
            let value = match value {
                Some(value) => value.to_owned(),
                None => words
                    .next()
                    .cloned()
                    .ok_or_else(|| format!("{CONFIG} needs a file or JSON"))?,
            };
            take_config(&value, &mut switches)?;
        } else {
            rest.push(word.clone());
        }
    }
    Ok((rest, switches))
}

fn take_config(value: &str, switches: &mut Switches) -> Result<(), String> {
    if !value.trim_start().starts_with('{') {
        switches.config = Some(PathBuf::from(value));
        return Ok(());
    }
    let root: Value = serde_json::from_str(value).map_err(|e| format!("{CONFIG}: {e}"))?;
    for (key, value) in root.as_object().into_iter().flatten() {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Object(_) | Value::Array(_) => {
                return Err(format!("{CONFIG}: {key}: a table is possible in a file only"));
            }
            other => other.to_string(),
        };
        switches.core.push((key.clone(), text));
    }
    Ok(())
}

/// A server's command line and what it says of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCommand {
    /// The program and its arguments, without the monitor's switches.
    pub words: Vec<String>,
    /// It is vLLM's server, so that its arguments mean what vLLM's do.
    pub is_vllm: bool,
    /// Where the server will be reached.
    pub url: String,
    /// The port.
    pub port: u16,
    /// The name under which it serves the model.
    pub served_model: Option<String>,
    /// The model itself, as a name or a folder.
    pub model: Option<String>,
    /// Why it cannot be probed, if it cannot.
    pub unreachable: Option<String>,
}

impl ServerCommand {
    /// The command line with some arguments changed: an empty value is a switch.
    ///
    /// ```
    /// use vllm_monitor_cli::supervise::ServerCommand;
    ///
    /// let words = ["vllm", "serve", "m", "--max-num-seqs", "256", "--port=1"].map(String::from);
    /// let command = ServerCommand::new(words.to_vec());
    /// let changes = [("--max-num-seqs", "64"), ("--port", "2"), ("--enforce-eager", "")];
    /// let changes = changes.map(|(name, value)| (name.to_owned(), value.to_owned()));
    /// let changed = command.with_arguments(&changes.into_iter().collect())?;
    /// assert_eq!(changed.join(" "), "vllm serve m --max-num-seqs 64 --port 2 --enforce-eager");
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// If there are changes and the command is not vLLM's, whose arguments are known.
    pub fn with_arguments(&self, changes: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
        if changes.is_empty() {
            return Ok(self.words.clone());
        }
        if !self.is_vllm {
            return Err("its arguments cannot be changed, as it is not `vllm serve`".to_owned());
        }
        let mut words = Vec::with_capacity(self.words.len() + 2 * changes.len());
        let mut left = changes.clone();
        let add = |words: &mut Vec<String>, name: &str, value: &str| {
            words.push(name.to_owned());
            if !value.is_empty() {
                words.push(value.to_owned());
            }
        };
        let mut old = self.words.iter().peekable();
        while let Some(word) = old.next() {
            let (name, has_value) = match word.split_once('=') {
                Some((name, _)) => (name.replace('_', "-"), true),
                None => (word.replace('_', "-"), false),
            };
            let Some(value) = changes.get(&name) else {
                words.push(word.clone());
                continue;
            };
            if !has_value && !value.is_empty() && old.peek().is_some_and(|next| !next.starts_with("--")) {
                old.next();
            }
            if left.remove(&name).is_some() {
                add(&mut words, &name, value);
            }
        }
        for (name, value) in &left {
            add(&mut words, name, value);
        }
        Ok(words)
    }

    /// Reads a command line.
    pub fn new(words: Vec<String>) -> Self {
        let (arguments, is_vllm) = server_arguments(&words);
        let parsed = ArgumentTable::for_version(None).parse(arguments);
        let port = parsed.port();
        let host = match parsed.value("--host") {
            None | Some("0.0.0.0") => "127.0.0.1".to_owned(),
            Some("::") => "[::1]".to_owned(),
            Some(host) if host.contains(':') => format!("[{host}]"),
            Some(host) => host.to_owned(),
        };
        let model = parsed
            .value("--model")
            .or_else(|| parsed.positional.first().map(String::as_str))
            .map(str::to_owned);
        let served_model = served_name(&parsed).or_else(|| model.clone());
        let unreachable = ["--uds", "--ssl-keyfile"]
            .into_iter()
            .find(|flag| parsed.value(flag).is_some())
            .map(|flag| format!("with {flag} the server cannot be probed over http"));
        Self {
            is_vllm,
            url: format!("http://{host}:{port}"),
            port,
            served_model: served_model.filter(|_| is_vllm),
            model: model.filter(|_| is_vllm),
            unreachable,
            words,
        }
    }

    /// The server's arguments, without the program and `serve`.
    pub fn arguments(&self) -> &[String] {
        server_arguments(&self.words).0
    }

    /// The key that the server asks for, if it stands among its arguments.
    pub fn api_key(&self) -> Option<String> {
        let parsed = ArgumentTable::for_version(None).parse(self.arguments());
        parsed.value("--api-key").map(str::to_owned)
    }
}

fn served_name(parsed: &ParsedArguments) -> Option<String> {
    // Of several names, the server lists all; the first is the one it answers with.
    let (_, names) = parsed
        .given
        .iter()
        .rev()
        .find(|(flag, _)| flag == "--served-model-name")?;
    names.first().cloned()
}

fn server_arguments(words: &[String]) -> (&[String], bool) {
    let is_server = |word: &String| word == "serve" || word.contains("openai.api_server");
    match words.iter().take(6).position(is_server) {
        Some(place) => (&words[place + 1..], true),
        None => (words.get(1..).unwrap_or_default(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn switches_are_taken_out_and_the_rest_stays_as_it_is() {
        let line = "vllm serve m --enable_monitoring --no-enable-predictive-detection --seed 0 \
                    --enable-auto-mitigation=false --monitor-config m.json --port 1";
        let (rest, switches) = take_switches(&words(line)).expect("well-formed");
        assert_eq!(rest, words("vllm serve m --seed 0 --port 1"));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            switches.core,
            [
                pair("enable_monitoring", "true"),
                pair("enable_predictive", "false"),
                pair("enable_auto_mitigation", "false")
            ]
        );
        assert_eq!(switches.config, Some("m.json".into()));
        let json = [
            String::from("--monitor-config"),
            r#"{"mitigation_threshold":0.7}"#.into(),
        ];
        assert_eq!(
            take_switches(&json).expect("well-formed").1.core,
            [pair("mitigation_threshold", "0.7")]
        );
        assert!(take_switches(&words("vllm --monitor-config")).is_err());
    }

    #[test]
    fn the_server_is_found_in_its_command_line() {
        let command = ServerCommand::new(words(
            "vllm serve meta/llama --host 0.0.0.0 --port 9000 --served-model-name a b",
        ));
        assert_eq!(
            (command.url.as_str(), command.served_model.as_deref()),
            ("http://127.0.0.1:9000", Some("a"))
        );
        assert_eq!(command.model.as_deref(), Some("meta/llama"));
        let module = ServerCommand::new(words("python -m vllm.entrypoints.openai.api_server --model x"));
        assert_eq!((module.port, module.served_model.as_deref()), (8000, Some("x")));
        let tls = ServerCommand::new(words("vllm serve m --ssl-keyfile k"));
        assert!(tls.unreachable.is_some_and(|why| why.contains("--ssl-keyfile")));
        let other = ServerCommand::new(words("sleep 60"));
        assert!(!other.is_vllm && other.served_model.is_none());
    }
}
