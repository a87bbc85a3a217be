//! Which series a usual report draws together.

use report_page::model::*;

/// The charts of a usual report.
pub(super) fn all() -> Vec<Chart> {
    let line = |key: &str, label: &str| Line {
        series: key.into(),
        label: label.into(),
    };
    let engine =
        |name: &str| format!("{name}{{engine=\"0\",model_name=\"meta-llama/Llama-3.1-8B-Instruct\"}}");
    let gpu = |name: &str, gpu: &str| format!("{name}{{gpu=\"{gpu}\",name=\"NVIDIA H100 80GB HBM3\"}}");
    let latency = |metric: &str, quantile: &str| {
        format!("client_latency{{metric=\"{metric}\",quantile=\"{quantile}\"}}")
    };
    let chart = |id: &str, section: Section, title: &str, unit: &str, lines: Vec<Line>| Chart {
        id: id.into(),
        section,
        title: title.into(),
        unit: unit.into(),
        definition: format!("{title}, as recorded."),
        kind: ChartKind::Line,
        log: false,
        range: None,
        lines,
        bands: Vec::new(),
        thresholds: Vec::new(),
    };
    let quantiles = |metric: &str| {
        ["p50", "p90", "p99"]
            .map(|quantile| line(&latency(metric, quantile), quantile))
            .to_vec()
    };
    let limit = |value: f64| {
        vec![Threshold {
            label: "limit p99".into(),
            value,
        }]
    };
    let band = vec![Band { low: 0, high: 2 }];
    use Section::{Engine, Gpu, Host, Performance};
    vec![
        chart(
            "output-tokens",
            Performance,
            "Output tokens per second",
            "tokens/s",
            vec![line(&engine("output_tokens_per_second"), "output")],
        ),
        chart(
            "prompt-tokens",
            Performance,
            "Prompt tokens per second",
            "tokens/s",
            vec![line(&engine("prompt_tokens_per_second"), "prompt")],
        ),
        Chart {
            bands: band.clone(),
            thresholds: limit(2.0),
            ..chart("ttft", Performance, "TTFT (client)", "seconds", quantiles("ttft"))
        },
        Chart {
            bands: band,
            thresholds: limit(0.1),
            ..chart("tpot", Performance, "TPOT (client)", "seconds", quantiles("tpot"))
        },
        Chart {
            kind: ChartKind::Step,
            ..chart(
                "requests",
                Engine,
                "Requests running and waiting",
                "requests",
                vec![
                    line(&engine("vllm:num_requests_running"), "running"),
                    line(&engine("vllm:num_requests_waiting"), "waiting"),
                ],
            )
        },
        Chart {
            range: Some((0.0, 1.0)),
            ..chart(
                "kv",
                Engine,
                "KV cache usage",
                "ratio",
                vec![line(&engine("vllm:kv_cache_usage_perc"), "used")],
            )
        },
        chart(
            "preemptions",
            Engine,
            "Preemptions",
            "1/s",
            vec![line(&engine("vllm:num_preemptions_total"), "preemptions")],
        ),
        Chart {
            range: Some((0.0, 1.0)),
            ..chart(
                "gpu-utilization",
                Gpu,
                "GPU utilisation",
                "ratio",
                ["0", "1"]
                    .map(|i| line(&gpu("gpu_utilization_ratio", i), &format!("GPU {i}")))
                    .to_vec(),
            )
        },
        chart(
            "gpu-power",
            Gpu,
            "GPU power",
            "watts",
            ["0", "1"]
                .map(|i| line(&gpu("gpu_power_watts", i), &format!("GPU {i}")))
                .to_vec(),
        ),
        chart(
            "gpu-clock",
            Gpu,
            "SM clock",
            "hertz",
            ["0", "1"]
                .map(|i| line(&gpu("gpu_sm_clock_hertz", i), &format!("GPU {i}")))
                .to_vec(),
        ),
        Chart {
            kind: ChartKind::Step,
            ..chart(
                "gpu-throttling",
                Gpu,
                "GPU clock reductions",
                "",
                vec![line(
                    r#"gpu_throttle_seconds_total{gpu="0",reason="sw_power_cap"}"#,
                    "power cap",
                )],
            )
        },
        Chart {
            range: Some((0.0, 1.0)),
            ..chart(
                "cpu",
                Host,
                "CPU of the host",
                "ratio",
                vec![line("host_cpu_ratio", "used")],
            )
        },
        chart(
            "scrape",
            Host,
            "Duration of a scrape",
            "seconds",
            vec![line("scrape_duration_seconds", "scrape")],
        ),
    ]
}
