//! Where the server and the prompts are.

use std::path::PathBuf;

use vllm_client::server::ServerConfig;

use super::words::{seconds, split_words};
use crate::cli::{ModeArg, RunArgs};

/// Where the server is.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerPlan {
    /// Running already.
    Attach {
        /// Base URLs without a trailing slash, at least one.
        urls: Vec<String>,
    },
    /// Started and stopped by us.
    Start(Box<ServerConfig>),
    /// Started, and to be stopped, by the parent of runs in turn.
    Handed(HandedServer),
    /// The built-in simulator.
    Simulator,
}

/// A server that one process started and another one runs its test on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedServer {
    /// Its process.
    pub pid: i32,
    /// Base URL without a trailing slash.
    pub url: String,
    /// Name that it serves the model by.
    pub model: String,
}

impl HandedServer {
    /// As a flag's value.
    pub fn to_flag(&self) -> String {
        format!("{}@{}={}", self.pid, self.url, self.model)
    }

    /// From a flag's value.
    fn from_flag(text: &str) -> Option<Self> {
        let (pid, rest) = text.split_once('@')?;
        // A URL without a query holds no equals sign; a model's name may.
        let (url, model) = rest.split_once('=')?;
        Some(Self {
            pid: pid.parse().ok()?,
            url: url.to_owned(),
            model: model.to_owned(),
        })
    }
}

/// Where the prompts come from.
#[derive(Debug, Clone, PartialEq)]
pub enum DatasetPlan {
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// Column of the text, when it is not the usual one.
        input_column: Option<String>,
        /// Column of the token ids, when it is not the usual one.
        input_ids_column: Option<String>,
        /// Column of the reference, when it is not the usual one.
        output_column: Option<String>,
    },
    /// Made up.
    Synthetic,
}

/// Formats that a dataset file may have.
const DATASET_EXTENSIONS: [&str; 6] = ["json", "jsonl", "csv", "parquet", "pkl", "pickle"];

pub(super) fn server(args: &RunArgs, wrong: &mut Vec<String>) -> ServerPlan {
    if let Some(flag) = &args.handed_server {
        if let Some(handed) = HandedServer::from_flag(flag) {
            return ServerPlan::Handed(handed);
        }
        wrong.push(format!("--handed-server {flag}: must be pid@url=model"));
    }
    let starts = [
        ("--serve-command", args.serve_command.is_some()),
        ("--server-args", args.server_args.is_some()),
        ("--server-config", args.server_config.is_some()),
        ("--startup-timeout", args.startup_timeout.is_some()),
    ];
    let starts: Vec<&str> = starts
        .iter()
        .filter(|(_, given)| *given)
        .map(|(flag, _)| *flag)
        .collect();
    if let Some(urls) = &args.url {
        if !starts.is_empty() {
            wrong.push(format!(
                "--url attaches to a running server, {} is for one that is started: give one or the other",
                starts.join(", ")
            ));
        }
        return ServerPlan::Attach {
            urls: attached(urls, wrong),
        };
    }
    if args.balance.is_some() {
        wrong.push("--balance chooses among several servers: name them with --url".into());
    }
    let mut config = match (&args.server_config, &args.model) {
        (Some(path), model) => match ServerConfig::from_yaml_file(path, model.as_deref()) {
            Ok(config) => config,
            Err(error) => {
                wrong.push(format!("--server-config: {error}"));
                return ServerPlan::Simulator;
            }
        },
        (None, Some(model)) => ServerConfig::new(model),
        (None, None) => {
            if !starts.is_empty() {
                wrong.push(format!(
                    "{} is for a server that is started: name its model with --model",
                    starts.join(", ")
                ));
            }
            return ServerPlan::Simulator;
        }
    };
    if let Some(command) = &args.serve_command {
        config.command = split_words(command);
        if config.command.is_empty() {
            wrong.push("--serve-command: is empty".into());
        }
    }
    config
        .args
        .extend(split_words(args.server_args.as_deref().unwrap_or("")));
    if config
        .args
        .iter()
        .any(|arg| arg == "--api-key" || arg.starts_with("--api-key="))
    {
        wrong.push(
            "the server's key: give it with --api-key or in VLLM_API_KEY, where the requests and the scrapes find it \
             too"
                .into(),
        );
    }
    if args.startup_timeout.is_some() {
        config.startup_timeout = seconds("--startup-timeout", args.startup_timeout, 600.0, wrong);
    }
    ServerPlan::Start(Box::new(config))
}

fn attached(urls: &[String], wrong: &mut Vec<String>) -> Vec<String> {
    let mut bases: Vec<String> = Vec::new();
    for url in urls {
        let url = url.trim();
        if !(url.starts_with("http://") || url.starts_with("https://")) || url.len() <= "https://".len() {
            wrong.push(format!("--url {url}: must be like http://127.0.0.1:8000"));
        }
        // Users paste the address of the API as often as that of the server.
        let base = url
            .trim_end_matches('/')
            .trim_end_matches("/v1")
            .trim_end_matches('/');
        if bases.iter().any(|known| known == base) {
            wrong.push(format!("--url {url}: is given twice"));
        }
        bases.push(base.to_owned());
    }
    if bases.is_empty() {
        wrong.push("--url: the list is empty".into());
    }
    bases
}

pub(super) fn dataset(args: &RunArgs, wrong: &mut Vec<String>) -> DatasetPlan {
    let of_accuracy = args
        .accuracy_dataset_path
        .as_ref()
        .filter(|_| args.test_mode == Some(ModeArg::Accuracy));
    let flag = match of_accuracy {
        Some(_) => "--accuracy-dataset-path",
        None => "--dataset-path",
    };
    let Some(path) = of_accuracy.or(args.dataset_path.as_ref()) else {
        for (flag, column) in [
            ("--input-column", &args.input_column),
            ("--input-ids-column", &args.input_ids_column),
            ("--output-column", &args.output_column),
        ] {
            if column.is_some() {
                wrong.push(format!(
                    "{flag} names a column of a dataset: give the dataset with --dataset-path"
                ));
            }
        }
        return DatasetPlan::Synthetic;
    };
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or("")
        .to_ascii_lowercase();
    if !DATASET_EXTENSIONS.contains(&extension.as_str()) {
        wrong.push(format!(
            "{flag} {}: its name must end in one of .{}",
            path.display(),
            DATASET_EXTENSIONS.join(" .")
        ));
    } else if !path.is_file() {
        wrong.push(format!("{flag}: there is no file {}", path.display()));
    }
    DatasetPlan::File {
        path: path.clone(),
        input_column: args.input_column.clone(),
        input_ids_column: args.input_ids_column.clone(),
        output_column: args.output_column.clone(),
    }
}
