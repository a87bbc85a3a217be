//! Simulated GPUs appear, as a driver library and a live file, when a folder for them is given.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use vllm_sim::{EngineConfig, SimConfig, Simulator};

#[test]
fn a_folder_gets_one_gpu_per_engine() {
    let dir = std::env::temp_dir().join(format!("vllm-sim-gpus-{}", std::process::id()));
    let simulator = Simulator::start(SimConfig {
        engine: EngineConfig::instant(),
        replicas: 2,
        gpu_dir: Some(dir.clone()),
        ..SimConfig::default()
    })
    .unwrap();
    let library = simulator.nvml_library().unwrap();
    assert!(library.starts_with(&dir) && library.exists());
    let script = std::fs::read_to_string(dir.join("libnvidia-ml.so.1.script")).unwrap();
    assert_eq!(script.matches("\ngpu\n").count(), 2);
    assert_eq!(std::fs::metadata(dir.join("live")).unwrap().len(), 2 * 96);
    simulator.stop();
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn without_a_folder_there_are_none() {
    let simulator = Simulator::start(SimConfig {
        engine: EngineConfig::instant(),
        ..SimConfig::default()
    })
    .unwrap();
    assert_eq!(simulator.nvml_library(), None);
}
