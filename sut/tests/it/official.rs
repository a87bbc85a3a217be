//! Checks before load is sent: settings that differ from the rules, and prefix caching. Each is a remark by
//! default, and a refusal with `--official`.

use crate::support::Run;
use vllm_sim::{EngineConfig, SimConfig, Simulator};

fn simulator(enable_prefix_caching: bool) -> Simulator {
    Simulator::start(SimConfig {
        engine: EngineConfig {
            enable_prefix_caching,
            ..EngineConfig::tiny_cpu()
        },
        ..SimConfig::default()
    })
    .expect("the simulator starts")
}

#[test]
fn an_official_run_is_refused_for_everything_that_can_be_known_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let conf = folder.path().join("user.conf");
    std::fs::write(
        &conf,
        "*.Server.ttft_latency = 9000\n*.Server.min_duration = 60000\n",
    )
    .expect("a file");
    let server = simulator(true);
    let (url, conf) = (server.url(), conf.to_string_lossy().into_owned());
    let flags = [
        "--url",
        &url,
        "--scenario",
        "Server",
        "--num-samples",
        "64",
        "--max-tokens",
        "64",
    ];
    let flags = [&flags[..], &["--user-conf", &conf, "--target-qps", "5"]].concat();
    let run = Run::new(&[&flags[..], &["--official"]].concat()).finish();
    assert_eq!(run.status, Some(2), "{}", run.shown());
    for told in [
        "ttft_latency is 9s, where the rules have 2s",
        "min_duration is 60s, where the rules have at least 600s",
        "performance_sample_count is 64, where the rules have 13368",
        "64 tokens (--max-tokens), where the rules have 128",
        "the server is a simulator",
        "--no-enable-prefix-caching",
    ] {
        assert!(run.stderr.contains(told), "{told} is missing in\n{}", run.shown());
    }
    assert!(
        !run.log_dir().join("mlperf_log_detail.txt").exists(),
        "load was sent"
    );

    // Without the flag the same remarks appear, together with LoadGen's effective settings.
    let run = Run::new(&[&flags[..], &["--dry-run"]].concat()).finish();
    assert_eq!(run.status, Some(0), "{}", run.shown());
    for told in [
        "not official   ttft_latency is 9s",
        "prefix caching is on; MLPerf does not allow it",
        "prefix caching on",
    ] {
        assert!(run.stdout.contains(told), "{told} is missing in\n{}", run.shown());
    }
    server.stop();
}

#[test]
fn prefix_caching_stands_in_the_result() {
    for (on, told) in [(true, true), (false, false)] {
        let server = simulator(on);
        let flags = format!(
            "--url {} --duration 100ms --num-samples 32 --target-qps 500 --max-tokens 4",
            server.url()
        );
        let run = Run::new(&flags.split(' ').collect::<Vec<_>>())
            .without_metrics()
            .finish();
        let shown = run.shown();
        assert_eq!(run.status, Some(0), "{shown}");
        assert_eq!(
            run.stdout
                .contains("prefix caching is on; MLPerf does not allow it"),
            told,
            "{shown}"
        );
        server.stop();
    }
}
