//! Who may import whom: the workspace's dependency edges against the list in ARCHITECTURE.md.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// (package, what it may import in normal and build dependencies). Dev-dependencies may also name the
/// doubles `vllm-sim` and `fake-nvml`.
const ALLOWED: &[(&str, &[&str])] = &[
    ("exposition", &[]),
    ("atomic-file", &[]),
    ("run-model", &[]),
    ("run-store", &["atomic-file", "exposition", "run-model"]),
    ("run-analysis", &["run-model"]),
    ("machine-telemetry", &["run-model"]),
    ("mlperf-loadgen", &[]),
    ("fake-nvml", &[]),
    ("mlperf-dataset", &[]),
    ("mlperf-rules", &["atomic-file", "mlperf-loadgen"]),
    ("mlperf-accuracy", &["mlperf-dataset", "mlperf-rules"]),
    (
        "mlperf-submission",
        &["mlperf-accuracy", "mlperf-loadgen", "mlperf-rules"],
    ),
    ("run-statistics", &[]),
    ("monitor-acting", &["monitor-plugins", "vllm-monitor"]),
    ("monitor-plugins", &[]),
    ("run-diagnosis", &["run-statistics"]),
    (
        "vllm-metrics",
        &[
            "exposition",
            "machine-telemetry",
            "run-analysis",
            "run-model",
            "run-store",
        ],
    ),
    ("vllm-metrics-c", &["vllm-metrics"]),
    ("vllm-client", &["exposition"]),
    ("vllm-sim", &["exposition", "fake-nvml"]),
    ("report-page", &[]),
    ("vllm-report", &["atomic-file", "vllm-metrics"]),
    (
        "run-report",
        &[
            "atomic-file",
            "report-page",
            "run-diagnosis",
            "vllm-metrics",
            "vllm-report",
        ],
    ),
    ("vllm-monitor", &["exposition", "vllm-metrics"]),
    ("vllm-monitor-py", &["exposition", "vllm-metrics", "vllm-monitor"]),
    (
        "vllm-monitor-cli",
        &[
            "monitor-acting",
            "monitor-plugins",
            "exposition",
            "vllm-client",
            "vllm-metrics",
            "vllm-monitor",
        ],
    ),
    (
        "sut",
        &[
            "mlperf-accuracy",
            "mlperf-dataset",
            "mlperf-loadgen",
            "mlperf-rules",
            "mlperf-submission",
            "vllm-metrics",
            "vllm-client",
            "vllm-sim",
            "vllm-report",
            "run-report",
        ],
    ),
    (
        "benches",
        &[
            "exposition",
            "mlperf-loadgen",
            "fake-nvml",
            "vllm-metrics",
            "vllm-client",
            "vllm-sim",
            "vllm-report",
            "run-report",
            "sut",
        ],
    ),
];

#[test]
fn edges_point_down_only() {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata runs in the workspace");
    let members: BTreeSet<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    let listed: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        members, listed,
        "every package stands in the list, and nothing else"
    );

    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let allowed = ALLOWED
            .iter()
            .find(|(name, _)| *name == package.name.as_str())
            .map_or(&[][..], |(_, allowed)| allowed);
        for dependency in package
            .dependencies
            .iter()
            .filter(|d| members.contains(d.name.as_str()))
        {
            let in_tests_only = dependency.kind == DependencyKind::Development
                && matches!(dependency.name.as_str(), "vllm-sim" | "fake-nvml");
            if !in_tests_only && !allowed.contains(&dependency.name.as_str()) {
                wrong.push(format!("{} -> {}", package.name, dependency.name));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "edges that ARCHITECTURE.md does not allow: {wrong:?}"
    );
}
