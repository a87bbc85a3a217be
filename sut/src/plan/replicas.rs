//! Replicas of a started server: their ports, GPUs and files.

use std::path::{Path, PathBuf};

use vllm_client::server::ServerConfig;

use super::words::counted;
use crate::cli::RunArgs;

/// Largest value of `--replicas`.
const MOST: usize = 256;
/// The variable by which CUDA selects GPUs.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
/// CUDA orders GPUs by speed unless this variable says otherwise; NVML, and so `--gpus`, by bus address.
const ORDER: (&str, &str) = ("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
/// Arguments whose product is the number of GPUs of one server.
const SIZES: [[&str; 2]; 3] = [
    ["--tensor-parallel-size", "-tp"],
    ["--pipeline-parallel-size", "-pp"],
    ["--data-parallel-size", "-dp"],
];

/// The configurations of all replicas of a server.
pub(super) fn of(config: ServerConfig, args: &RunArgs, wrong: &mut Vec<String>) -> Vec<ServerConfig> {
    let listed = config.ports.len();
    let count = args.replicas.unwrap_or(listed.max(1));
    if !(1..=MOST).contains(&count) {
        wrong.push(format!("--replicas {count}: must be from 1 to {MOST}"));
        return vec![config];
    }
    if listed > 0 && listed != count {
        wrong.push(format!(
            "--replicas {count}: --server-config lists {listed} ports"
        ));
        return vec![config];
    }
    if count == 1 {
        return vec![config];
    }
    let Some(each) = gpus_of_one(&config, wrong) else {
        return vec![config];
    };
    let needed = each.saturating_mul(count);
    let visible = std::env::var(VISIBLE).ok();
    let gpus = gpus(&config, args, visible.as_deref(), needed);
    if gpus.len() < needed {
        wrong.push(format!(
            "--replicas {count}: each needs {}, {needed} in all, and {} are given by --gpus or {VISIBLE}",
            counted(each as u64, "GPU"),
            gpus.len()
        ));
        return vec![config];
    }
    let mut all = Vec::with_capacity(count);
    for number in 0..count {
        let port = match (config.ports.get(number), config.port) {
            (Some(port), _) => Some(*port),
            (None, None) => None,
            (None, Some(first)) => {
                let port = u16::try_from(usize::from(first) + number);
                if port.is_err() {
                    wrong.push(format!("--replicas {count}: there is no port {first} + {number}"));
                }
                port.ok()
            }
        };
        let mut replica = ServerConfig {
            port,
            log_path: log_path(&config.log_path, number),
            profiler_dir: config.profiler_dir.as_ref().map(|dir| profiler_dir(dir, number)),
            ..config.clone()
        };
        let mine = gpus[number * each..(number + 1) * each].join(",");
        replica.env.insert(VISIBLE.to_owned(), mine);
        let (order, by_bus) = ORDER;
        replica.env.entry(order.to_owned()).or_insert(by_bus.to_owned());
        all.push(replica);
    }
    all
}

/// Number of GPUs that the server's arguments ask for.
fn gpus_of_one(config: &ServerConfig, wrong: &mut Vec<String>) -> Option<usize> {
    let mut product = 1_usize;
    for names in SIZES {
        let given = names.iter().find_map(|name| Some((name, config.argument(name)?)));
        let Some((name, text)) = given else { continue };
        match text.parse::<usize>() {
            Ok(size) if size > 0 => product = product.saturating_mul(size),
            _ => {
                wrong.push(format!("--replicas: {name} {text} is no number of GPUs"));
                return None;
            }
        }
    }
    Some(product)
}

/// The GPUs to share out, in order.
fn gpus(config: &ServerConfig, args: &RunArgs, visible: Option<&str>, needed: usize) -> Vec<String> {
    if let Some(gpus) = &args.metrics.gpus {
        return gpus.iter().map(u32::to_string).collect();
    }
    match config.env.get(VISIBLE).map(String::as_str).or(visible) {
        Some(list) => {
            let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        }
        None => (0..needed).map(|gpu| gpu.to_string()).collect(),
    }
}

/// The first server keeps the name: `vllm_server.log`, `vllm_server_1.log`, …
fn log_path(path: &Path, number: usize) -> PathBuf {
    match (number, path.file_stem().and_then(|stem| stem.to_str())) {
        (1.., Some(stem)) => path.with_file_name(format!("{stem}_{number}.log")),
        _ => path.to_owned(),
    }
}

/// The folder for the profiler traces of a replica.
pub(crate) fn profiler_dir(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("replica_{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::MetricsArgs;

    fn replicas(
        args: &[&str],
        count: usize,
        gpus: Option<Vec<u32>>,
    ) -> Result<Vec<ServerConfig>, Vec<String>> {
        let config = ServerConfig {
            args: args.iter().map(ToString::to_string).collect(),
            port: Some(8000),
            ..ServerConfig::new("m")
        };
        let flags = RunArgs {
            replicas: Some(count),
            metrics: MetricsArgs {
                gpus,
                ..MetricsArgs::default()
            },
            ..RunArgs::default()
        };
        let mut wrong = Vec::new();
        let all = of(config, &flags, &mut wrong);
        if wrong.is_empty() { Ok(all) } else { Err(wrong) }
    }

    #[test]
    fn each_replica_gets_its_gpus_port_and_log() {
        let all = replicas(&["--tensor-parallel-size", "2"], 2, Some(vec![4, 5, 6, 7])).unwrap();
        let seen: Vec<_> = all
            .iter()
            .map(|config| {
                (
                    config.env[VISIBLE].as_str(),
                    config.port,
                    config.log_path.to_str(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("4,5", Some(8000), Some("vllm_server.log")),
                ("6,7", Some(8001), Some("vllm_server_1.log"))
            ]
        );
        assert!(
            all.iter()
                .all(|config| config.env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID")
        );
    }

    #[test]
    fn one_server_keeps_its_environment() {
        let all = replicas(&["-tp=4"], 1, Some(vec![0])).unwrap();
        assert!(all.len() == 1 && all[0].env.is_empty());
    }

    #[test]
    fn too_few_gpus_and_odd_sizes_are_refused() {
        let why = |args: &[&str], count, gpus| replicas(args, count, gpus).unwrap_err().concat();
        assert!(why(&["-tp=2", "-pp=2"], 2, Some(vec![0, 1])).contains("8 in all, and 2 are given"));
        assert!(why(&["-tp", "many"], 2, None).contains("-tp many"));
        assert!(why(&[], 0, None).contains("from 1 to 256"));
    }

    #[test]
    fn the_variable_is_shared_out() {
        let config = ServerConfig::new("m");
        let args = RunArgs::default();
        assert_eq!(gpus(&config, &args, Some("GPU-a, GPU-b"), 2), ["GPU-a", "GPU-b"]);
        assert_eq!(gpus(&config, &args, None, 2), ["0", "1"]);
        assert!(gpus(&config, &args, Some(""), 2).is_empty());
    }
}
