//! Verdict, diagnosis, budgets, events and tables of a generated run.

use report_page::model::*;

use super::{Shape, at};

pub(super) fn headline(requests: &[Request], shape: &Shape) -> Vec<Figure> {
    let figure =
        |name: &str, quantity: Quantity, unit: &str, definition: &str, limit: Option<Limit>| Figure {
            name: name.into(),
            quantity,
            unit: unit.into(),
            definition: definition.into(),
            source: "client".into(),
            interval: None,
            limit,
        };
    let completed = requests
        .iter()
        .filter(|r| r.outcome == Outcome::Completed)
        .count();
    let tokens: u64 = requests
        .iter()
        .filter_map(|r| r.output_tokens)
        .map(u64::from)
        .sum();
    let per = |n: f64| Quantity::measured(n / shape.seconds as f64);
    let at_most = |value: f64| {
        Some(Limit {
            relation: Relation::AtMost,
            value,
        })
    };
    vec![
        figure(
            "Output tokens",
            per(tokens as f64),
            "tokens/s",
            "Output tokens of completed queries over the time from the first issue to the last completion.",
            None,
        ),
        figure(
            "Queries",
            per(completed as f64),
            "queries/s",
            "Completed queries per second.",
            None,
        ),
        figure(
            "TTFT p99",
            Quantity::measured(1.31 * shape.slow),
            "seconds",
            "99th percentile of the time from schedule to first token, LoadGen's rank rule.",
            at_most(2.0),
        ),
        figure(
            "TPOT p99",
            Quantity::measured(0.0284 * shape.slow),
            "seconds",
            "99th percentile of (latency − TTFT) ÷ (output tokens − 1).",
            at_most(0.1),
        ),
        Figure {
            interval: Some((0.0938, 0.0988)),
            ..figure(
                "Energy per output token",
                if shape.gpu {
                    Quantity::estimate(0.0963)
                } else {
                    Quantity::absent("no GPU sampler")
                },
                "joules",
                "Energy of all GPUs in the measured window ÷ output tokens.",
                None,
            )
        },
    ]
}

fn check(name: &str, value: f64, unit: &str, relation: Relation, threshold: f64) -> Check {
    Check {
        name: name.into(),
        quantity: Quantity::measured(value),
        unit: unit.into(),
        relation,
        threshold,
    }
}

pub(super) fn diagnosis(end: f64) -> Diagnosis {
    let rule = |name: &str, state: RuleState, share: Option<f64>| Rule {
        name: name.into(),
        state,
        share_ratio: share,
        evidence: Vec::new(),
        counter_evidence: Vec::new(),
        change: String::new(),
        confidence: None,
    };
    let clear = || RuleState::Clear;
    Diagnosis {
        summary: "Bound by decode bandwidth in 62 % of the steady window; KV cache capacity for 39 s.".into(),
        rules: vec![
            rule("Load below capacity", clear(), Some(0.0)),
            Rule {
                evidence: vec![check("issue lag p99", 0.0011, "seconds", Relation::Above, 0.02)],
                ..rule("Client", clear(), Some(0.0))
            },
            rule("Front-end CPU", RuleState::NotEvaluated { missing: "CPU of the API server process".into() }, None),
            Rule {
                evidence: vec![
                    check("preemptions", 271.0, "", Relation::Above, 0.0),
                    check("KV cache usage", 0.973, "ratio", Relation::AtLeast, 0.95),
                    check("requests waiting for capacity", 31.0, "", Relation::Above, 0.0),
                ],
                counter_evidence: vec![check("running at its limit", 239.0, "", Relation::AtLeast, 256.0)],
                change: "Give the KV cache more memory (--gpu-memory-utilization), use an FP8 cache, or shorten --max-model-len.".into(),
                confidence: Some(Confidence::Strong),
                ..rule("KV cache capacity", RuleState::Found, Some(0.158))
            },
            rule("Sequence limit", clear(), Some(0.0)),
            rule("Prefill compute", clear(), Some(0.03)),
            Rule {
                evidence: vec![
                    check("tokens per step", 118.0, "", Relation::Below, 295.0),
                    check("requests running throughout", 1.0, "ratio", Relation::AtLeast, 1.0),
                ],
                change: "A larger batch if latency allows, quantised weights, or speculative decoding.".into(),
                confidence: Some(Confidence::Fair),
                ..rule("Decode bandwidth", RuleState::Found, Some(0.62))
            },
        ],
        spans: vec![
            BoundSpan { start_ns: at(0.0), end_ns: at(end * 0.08), rule: 0 },
            BoundSpan { start_ns: at(end * 0.08), end_ns: at(end * 0.55), rule: 6 },
            BoundSpan { start_ns: at(end * 0.55), end_ns: at(end * 0.68), rule: 3 },
            BoundSpan { start_ns: at(end * 0.68), end_ns: at(end * 0.71), rule: 5 },
            BoundSpan { start_ns: at(end * 0.71), end_ns: at(end * 0.94), rule: 6 },
            BoundSpan { start_ns: at(end * 0.94), end_ns: at(end), rule: 0 },
        ],
    }
}

pub(super) fn budgets(shape: &Shape) -> Vec<Budget> {
    let part = |name: &str, seconds: Quantity, definition: &str| BudgetPart {
        name: name.into(),
        seconds,
        definition: definition.into(),
    };
    let budget = |name: &str, definition: &str, t: [f64; 5]| Budget {
        name: name.into(),
        definition: definition.into(),
        parts: vec![
            part(
                "schedule lag",
                Quantity::measured(t[0]),
                "From when the request should have been issued to when it was.",
            ),
            part(
                "client queue",
                Quantity::absent("the client has no queue"),
                "From being issued to being sent.",
            ),
            part(
                "outside the engine",
                Quantity::estimate(t[1]),
                "Latency less what the server reports.",
            ),
            part(
                "server queue",
                Quantity::measured(t[2] * shape.slow),
                "In the server's waiting queue.",
            ),
            part(
                "prefill",
                Quantity::measured(t[3] * shape.slow),
                "From being scheduled to the first token.",
            ),
            part(
                "decode",
                Quantity::measured(t[4] * shape.slow),
                "From the first token to the last.",
            ),
        ],
    };
    vec![
        budget(
            "Median request",
            "Mean of the requests between p45 and p55 of latency.",
            [0.000_12, 0.0013, 0.004, 0.038, 1.92],
        ),
        budget(
            "p99 request",
            "Mean of the requests between p98.5 and p99.5 of latency.",
            [0.000_6, 0.0021, 0.94, 0.12, 6.81],
        ),
    ]
}

pub(super) fn events(end: f64) -> Vec<Event> {
    let event = |seconds: f64, severity: Severity, kind: &str, message: &str| Event {
        at_ns: at(seconds),
        end_ns: None,
        severity,
        kind: kind.into(),
        source: "collector".into(),
        message: message.into(),
    };
    vec![
        event(0.0, Severity::Info, "phase", "performance began"),
        event(end * 0.1, Severity::Info, "steady", "the steady window begins"),
        event(
            end * 0.552,
            Severity::Warning,
            "preemption",
            "the engine preempts requests: the KV cache is full",
        ),
        Event {
            end_ns: Some(at(end * 0.68)),
            ..event(
                end * 0.56,
                Severity::Warning,
                "queue",
                "requests wait for capacity",
            )
        },
        event(
            end * 0.62,
            Severity::Error,
            "scrape failed",
            "the endpoint did not answer within 1 s",
        ),
    ]
}

pub(super) fn tables() -> Vec<Table> {
    let rows = |rows: &[(&str, &str)]| {
        rows.iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect()
    };
    vec![
        Table {
            title: "Load".into(),
            kind: TableKind::Configuration,
            rows: rows(&[
                ("scenario", "Server"),
                ("target QPS", "8"),
                ("min duration", "300 s"),
                ("seed", "17"),
            ]),
        },
        Table {
            title: "Server".into(),
            kind: TableKind::Configuration,
            rows: rows(&[
                (
                    "command",
                    "vllm serve meta-llama/Llama-3.1-8B-Instruct --max-num-seqs 256 --no-enable-prefix-caching",
                ),
                ("dtype", "bfloat16"),
            ]),
        },
        Table {
            title: "Machine".into(),
            kind: TableKind::Environment,
            rows: rows(&[
                ("GPU", "2 × NVIDIA H100 80GB HBM3"),
                ("driver", "580.65.06"),
                ("CPU", "2 × 56 cores"),
                ("kernel", "6.8.0"),
            ]),
        },
    ]
}
