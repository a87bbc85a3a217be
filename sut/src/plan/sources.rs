//! The sources of a run: its server and its prompts.

use std::path::PathBuf;

use mlperf_dataset::EXTENSIONS;
use vllm_client::redact_url;
use vllm_client::server::ServerConfig;

use super::words::{duration, split_words};
use super::{InheritedServer, replicas};
use crate::cli::{ModeArg, RunArgs};

/// The server of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ServerPlan {
    /// A server that is already running.
    Attach {
        /// Base URLs without a trailing slash, at least one.
        urls: Vec<String>,
    },
    /// Servers that this program starts and stops: replicas of one model, at least one.
    Start(Vec<ServerConfig>),
    /// A server that the parent process has started and will stop.
    Inherited(InheritedServer),
    /// The built-in simulator.
    Simulator,
}

/// The source of the prompts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DatasetPlan {
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// Column of the text, if it is not a default one.
        input_column: Option<String>,
        /// Column of the token ids, if it is not a default one.
        input_ids_column: Option<String>,
        /// Column of the reference, if it is not a default one.
        output_column: Option<String>,
    },
    /// Synthetic prompts.
    Synthetic,
}

pub(super) fn server(args: &RunArgs, wrong: &mut Vec<String>) -> ServerPlan {
    let starts = [
        ("--serve-command", args.serve_command.is_some()),
        ("--server-args", args.server_args.is_some()),
        ("--server-config", args.server_config.is_some()),
        ("--startup-timeout", args.startup_timeout.is_some()),
        ("--replicas", args.replicas.is_some()),
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
    if args.balance.is_some() && args.replicas.is_none() && args.server_config.is_none() {
        wrong.push(
            "--balance chooses among several servers: name them with --url, or start some with --replicas"
                .into(),
        );
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
        match split_words(command) {
            Ok(words) if words.is_empty() => wrong.push("--serve-command: is empty".into()),
            Ok(words) => config.command = words,
            Err(why) => wrong.push(format!("--serve-command: {why}")),
        }
    }
    match split_words(args.server_args.as_deref().unwrap_or("")) {
        Ok(words) => config.args.extend(words),
        Err(why) => wrong.push(format!("--server-args: {why}")),
    }
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
    if let Some(limit) = duration("--startup-timeout", args.startup_timeout.as_ref(), wrong) {
        config.startup_timeout = limit;
    }
    ServerPlan::Start(replicas::of(config, args, wrong))
}

fn attached(urls: &[String], wrong: &mut Vec<String>) -> Vec<String> {
    let mut bases: Vec<String> = Vec::new();
    for url in urls {
        let url = url.trim();
        if !(url.starts_with("http://") || url.starts_with("https://")) || url.len() <= "https://".len() {
            wrong.push(format!(
                "--url {}: must be like http://127.0.0.1:8000",
                redact_url(url)
            ));
        }
        // Users paste the API's address as often as the server's.
        let base = url
            .trim_end_matches('/')
            .trim_end_matches("/v1")
            .trim_end_matches('/');
        if bases.iter().any(|known| known == base) {
            wrong.push(format!("--url {}: is given twice", redact_url(url)));
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
    let (extension, _) = mlperf_dataset::extension(path);
    if !EXTENSIONS.contains(&extension.as_str()) {
        wrong.push(format!(
            "{flag} {}: its name must end in one of .{}, with or without .gz",
            path.display(),
            EXTENSIONS.join(" .")
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
