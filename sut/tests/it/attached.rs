//! A server that was already running on this machine: its processes are found and measured separately from
//! ours.

use crate::support::Run;
use vllm_sim::{EngineConfig, SimConfig, Simulator};

#[test]
fn the_processes_of_an_attached_server_are_measured() {
    // The simulator runs in the process of this test.
    let simulator = Simulator::start(SimConfig {
        engine: EngineConfig {
            enable_prefix_caching: false,
            ..EngineConfig::tiny_cpu()
        },
        ..SimConfig::default()
    })
    .expect("the simulator starts");
    let url = simulator.url();
    let flags =
        "--scenario Offline --duration 100ms --num-samples 16 --target-qps 100 --max-tokens 8 --no-plots";
    let mut flags: Vec<&str> = flags.split(' ').collect();
    flags.extend(["--url", &url]);
    let run = Run::new(&flags).finish();
    let shown = format!("{}{}", run.stdout, run.stderr);
    let pid = format!("the server is process {}:", std::process::id());
    assert!(run.stderr.contains(&pid), "{shown}");
    let record = run.record();
    for name in ["host_process_cpu_seconds_total", "host_process_resident_bytes"] {
        for who in [r#""process":"server""#, r#""process":"self""#] {
            let found = record
                .series
                .iter()
                .any(|series| &*series.def.metric_name == name && series.def.labels.contains(who));
            assert!(found, "{name} {who}\n{shown}");
        }
    }
    simulator.stop();
}
