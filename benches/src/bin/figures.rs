//! Measures the figures quoted in issues and the README, and prints one line for each:
//! `name<TAB>value<TAB>unit<TAB>context`.
//!
//! With arguments, measures only the figures of those names:
//! `cargo run --release -p benches --bin figures -- NAME…`.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Result, bail};
use benches::Figure;

/// Figures that come from one run with alternating candidates.
struct Group {
    names: &'static [&'static str],
    measure: fn() -> Vec<Figure>,
}

const GROUPS: &[Group] = &[
    Group {
        names: &["loadgen_binding_qps_ratio"],
        measure: benches::loadgen::figures,
    },
    Group {
        names: &[
            "exposition_parse_mb_per_s",
            "exposition_parse_vs_line_split_ratio",
        ],
        measure: benches::exposition::figures,
    },
    Group {
        names: &["store_bytes_per_sample", "store_write_ns_per_sample"],
        measure: benches::store::figures,
    },
    Group {
        names: &["exposition_parse_vs_victoriametrics_ratio"],
        measure: benches::victoriametrics::figures,
    },
    Group {
        names: &["gpu_sampler_cpu_share_1s", "gpu_sampler_cpu_share_100ms"],
        measure: benches::gpu_sampler::figures,
    },
    Group {
        names: &["hook_p50_ns", "hook_p99_ns"],
        measure: benches::hooks::figures,
    },
    Group {
        names: &["scrape_cycle_cpu_us"],
        measure: benches::scrape_cycle::figures,
    },
    Group {
        names: &["recorder_cpu_share_1s", "recorder_wakeups_per_s"],
        measure: || benches::recorder::at_rest(&benches::exposition::page()),
    },
    Group {
        names: &["run_hook_p50_ns", "run_hook_p99_ns"],
        measure: || benches::recorder::in_a_run(&benches::exposition::page()),
    },
    Group {
        names: &["report_three_plots_and_summary_s"],
        measure: benches::report::figures,
    },
    Group {
        names: &["report_hour_s", "report_hour_mb"],
        measure: benches::report::hour_figures,
    },
    Group {
        names: &["report_day_mb"],
        measure: benches::report::day_figures,
    },
    Group {
        names: &["collection_on_off_throughput_ratio"],
        measure: benches::overhead::each_second,
    },
    Group {
        names: &["collection_on_off_throughput_ratio_100ms"],
        measure: benches::overhead::each_tenth,
    },
];

fn main() -> Result<ExitCode> {
    // Some figures need a process for each round, and start this program again.
    if benches::loadgen::child()? {
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(exit) = benches::overhead::child() {
        return Ok(exit.into());
    }
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let known: Vec<&str> = GROUPS.iter().flat_map(|group| group.names).copied().collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("no figure is called {unknown}; there are: {}", known.join(" "));
    }
    if cfg!(debug_assertions) {
        bail!("a debug build measures nothing worth knowing; run with --release");
    }

    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    for group in GROUPS
        .iter()
        .filter(|group| group.names.iter().any(|name| is_wanted(name)))
    {
        for figure in (group.measure)().iter().filter(|figure| is_wanted(figure.name)) {
            writeln!(std::io::stdout(), "{figure}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
