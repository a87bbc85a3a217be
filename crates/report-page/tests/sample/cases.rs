//! Pages with everything that has broken reports before: nothing in them, one request, strange text, a break.

use report_page::model::*;

use super::{Shape, at, page, run};

/// Makes a page.
type Make = fn() -> Page;

/// Name and page. The names are those of `scripts/check-report-page`.
pub(crate) const ALL: [(&str, Make); 13] = [
    ("usual", usual),
    ("empty", empty),
    ("one-request", one_request),
    ("no-gpu", no_gpu),
    ("interrupted", interrupted),
    ("not-finite", not_finite),
    ("hostile", hostile),
    ("estimates", estimates),
    ("steps", steps),
    ("comparison", comparison),
    ("live", live),
    ("thinned", thinned),
    ("hour", hour),
];

/// Texts that end elements, break attributes and turn directions.
pub(crate) const HOSTILE: [&str; 5] = [
    "</script><script>window.hacked = 1</script>",
    "\"><img src=x onerror=\"window.hacked = 2\">",
    "' onmouseover='window.hacked = 3' x='",
    "\u{202e}نص من اليمين إلى اليسار\u{202c} עברית",
    "{{ 7 * 7 }}\\ \n\u{0} & &lt; <!--",
];

pub(crate) fn usual() -> Page {
    page(
        "Llama 3.1 8B · Server · 8 queries/s",
        vec![run("A", &Shape::default())],
    )
}

pub(crate) fn empty() -> Page {
    Page {
        title: "An empty recording".into(),
        runs: vec![Run::default()],
        charts: super::charts::all(),
        ..Page::default()
    }
}

pub(crate) fn one_request() -> Page {
    let mut one = run(
        "A",
        &Shape {
            seconds: 5,
            requests: 1,
            series: 1,
            ..Shape::default()
        },
    );
    one.requests = vec![Request {
        issued_ns: at(1.0),
        sent_ns: Some(at(1.0)),
        first_token_ns: Some(at(1.05)),
        done_ns: Some(at(2.0)),
        prompt_tokens: Some(12),
        output_tokens: Some(20),
        ..Request::default()
    }];
    for series in &mut one.series {
        series.timestamps_ns.truncate(1);
        series.values.truncate(1);
    }
    one.histograms.iter_mut().for_each(|h| h.columns.truncate(1));
    one.steady = SteadyWindow {
        window: None,
        text: "too short: 5 s of at least 60 s".into(),
    };
    page("One request", vec![one])
}

pub(crate) fn no_gpu() -> Page {
    page(
        "No GPU",
        vec![Run {
            simulated: true,
            ..run(
                "A",
                &Shape {
                    gpu: false,
                    seconds: 120,
                    requests: 600,
                    ..Shape::default()
                },
            )
        }],
    )
}

pub(crate) fn interrupted() -> Page {
    let mut cut = run(
        "A",
        &Shape {
            seconds: 90,
            requests: 500,
            ..Shape::default()
        },
    );
    cut.verdict = Verdict {
        validity: Validity::NotValid,
        reasons: vec![
            "interrupted: 90 s of at least 600 s".into(),
            Reason {
                text: "not a valid result:".into(),
                details: vec!["31 of 500 queries failed".into(), "1 error in the log".into()],
            },
            "prefix caching is on; MLPerf does not allow it".into(),
        ],
    };
    cut.completeness = Completeness::Interrupted {
        reason: "SIGTERM after 1 min 30 s".into(),
    };
    cut.steady = SteadyWindow {
        window: None,
        text: "not evaluated: the run was interrupted".into(),
    };
    let gap = Span {
        start_ns: at(40.0),
        end_ns: at(55.0),
    };
    for series in cut
        .series
        .iter_mut()
        .filter(|s| s.source == "vllm" || s.source == "derived")
    {
        let keep: Vec<bool> = series
            .timestamps_ns
            .iter()
            .map(|t| !(gap.start_ns..gap.end_ns).contains(t))
            .collect();
        let mut kept = keep.iter();
        series
            .timestamps_ns
            .retain(|_| *kept.next().expect("one per time"));
        let mut kept = keep.iter();
        series.values.retain(|_| *kept.next().expect("one per value"));
        series.gaps = vec![gap];
    }
    for histogram in &mut cut.histograms {
        histogram
            .columns
            .retain(|c| c.end_ns <= gap.start_ns || c.start_ns >= gap.end_ns);
    }
    cut.gaps = vec![Gap {
        source: "vllm".into(),
        span: gap,
        reason: "the endpoint did not answer: connection refused".into(),
    }];
    page("Interrupted run", vec![cut])
}

pub(crate) fn not_finite() -> Page {
    let mut odd = run(
        "A",
        &Shape {
            seconds: 60,
            requests: 200,
            ..Shape::default()
        },
    );
    for (i, series) in odd.series.iter_mut().enumerate() {
        for (k, value) in series.values.iter_mut().enumerate() {
            match (i + k) % 9 {
                0 => *value = f64::NAN,
                1 if i % 2 == 0 => *value = f64::INFINITY,
                2 if i % 3 == 0 => *value = f64::NEG_INFINITY,
                _ => {}
            }
        }
    }
    odd.series[2].values.fill(f64::NAN);
    page("NaN and infinities", vec![odd])
}

pub(crate) fn hostile() -> Page {
    let mut bad = run(
        "A",
        &Shape {
            seconds: 60,
            requests: 200,
            ..Shape::default()
        },
    );
    let text = |i: usize| HOSTILE[i % HOSTILE.len()].to_owned();
    bad.name = text(0);
    bad.label = text(1);
    bad.verdict.reasons = HOSTILE.map(Reason::from).to_vec();
    bad.completeness = Completeness::Interrupted { reason: text(2) };
    bad.steady.text = text(3);
    bad.servers = vec![text(0), text(1)];
    for (i, figure) in bad.headline.iter_mut().enumerate() {
        figure.name += &text(i);
        figure.definition = text(i + 1);
        figure.unit = text(i + 2);
        figure.source = text(i + 3);
    }
    for (i, series) in bad.series.iter_mut().enumerate() {
        series.labels.insert("path".into(), text(i));
        series.description = text(i + 1);
    }
    for (i, histogram) in bad.histograms.iter_mut().enumerate() {
        histogram.title = text(i);
        histogram.description = text(i + 1);
        histogram.unit = text(i + 2);
    }
    for (i, event) in bad.events.iter_mut().enumerate() {
        event.kind = text(i);
        event.message = text(i + 1);
    }
    bad.absent = HOSTILE
        .iter()
        .map(|t| Absent {
            what: (*t).into(),
            reason: (*t).into(),
        })
        .collect();
    bad.tables.push(Table {
        title: text(0),
        kind: TableKind::Configuration,
        rows: HOSTILE.iter().map(|t| ((*t).into(), (*t).into())).collect(),
    });
    if let Some(diagnosis) = &mut bad.diagnosis {
        diagnosis.summary = text(0);
        diagnosis.rules.iter_mut().enumerate().for_each(|(i, r)| {
            r.name = text(i);
            r.change = text(i + 1);
        });
    }
    bad.overview_svg = Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"window.hacked = 4\"><text>{}</text></svg>",
        "x"
    ));
    let keys: Vec<String> = bad.series.iter().map(Series::key).collect();
    let mut page = page(HOSTILE[0], vec![bad]);
    page.facts = HOSTILE.map(str::to_owned).to_vec();
    page.generator = text(1);
    for (i, chart) in page.charts.iter_mut().enumerate() {
        chart.title += &text(i);
        chart.definition = text(i + 1);
        chart.unit = text(i + 2);
        for (k, line) in chart.lines.iter_mut().enumerate() {
            line.series.clone_from(&keys[(i + k) % keys.len()]);
            line.label = text(i + k);
        }
        chart.thresholds = vec![Threshold {
            label: text(i),
            value: 0.5,
        }];
    }
    page
}

/// Server times that are inferred, and requests without them.
fn estimates() -> Page {
    let mut guess = run(
        "A",
        &Shape {
            seconds: 60,
            requests: 240,
            ..Shape::default()
        },
    );
    for (i, request) in guess.requests.iter_mut().enumerate() {
        request.time_source = request.time_source.map(|_| TimeSource::Estimate);
        if i % 3 == 0 {
            (
                request.queue_ns,
                request.prefill_ns,
                request.decode_ns,
                request.time_source,
            ) = (None, None, None, None);
        }
        request.scheduled_ns = None;
    }
    page("Estimated server times", vec![guess])
}

fn steps() -> Page {
    let mut full = run(
        "A",
        &Shape {
            seconds: 120,
            requests: 900,
            ..Shape::default()
        },
    );
    full.steps = (0..6_000_i64)
        .map(|i| Step {
            end_ns: at(i as f64 * 0.02),
            duration_ns: Some(14_000_000 + i % 37 * 130_000),
            prompt_tokens: if i % 11 == 0 { 512 } else { 0 },
            output_tokens: (60 + i % 90) as u32,
            requests: Some(60),
        })
        .collect();
    full.batches = (0..60_i64)
        .map(|i| Batch {
            issued_ns: at(i as f64 * 2.0),
            done_ns: Some(at(i as f64 * 2.0 + 3.1)),
            requests: 8,
            failed: u32::from(i == 30),
        })
        .collect();
    page("Engine steps and batches", vec![full])
}

pub(crate) fn comparison() -> Page {
    let mut a = run("A", &Shape::default());
    let mut b = run(
        "B",
        &Shape {
            seed: 1,
            slow: 1.12,
            ..Shape::default()
        },
    );
    a.label = "baseline".into();
    b.label = "candidate: --max-num-seqs 512".into();
    let difference =
        |name: &str, unit: &str, from: f64, to: f64, width: f64, conclusion: Conclusion, note: &str| {
            Difference {
                name: name.into(),
                unit: unit.into(),
                definition: format!(
                    "{name} of requests that were issued in the steady windows of both runs."
                ),
                run: 1,
                baseline: Quantity::measured(from),
                value: Quantity::measured(to),
                change_ratio: Some(to / from - 1.0),
                interval_ratio: Some((to / from - 1.0 - width, to / from - 1.0 + width)),
                conclusion,
                gate: true,
                note: note.into(),
            }
        };
    Page {
        comparison: Some(Comparison {
            summary: "B is slower than A: TPOT +12.0 %, output tokens per second −10.6 %.".into(),
            remarks: vec![
                "One run each: differences between runs of one build are not in these intervals.".into(),
            ],
            differences: vec![
                difference(
                    "TPOT mean",
                    "seconds",
                    0.0202,
                    0.0226,
                    0.004,
                    Conclusion::Regressed,
                    "",
                ),
                difference(
                    "Output tokens per second",
                    "tokens/s",
                    2204.0,
                    1970.0,
                    0.012,
                    Conclusion::Regressed,
                    "",
                ),
                difference(
                    "TTFT mean",
                    "seconds",
                    0.166,
                    0.171,
                    0.09,
                    Conclusion::Inconclusive,
                    "about 4 times the duration would decide",
                ),
                difference(
                    "Prefill mean",
                    "seconds",
                    0.0381,
                    0.0379,
                    0.011,
                    Conclusion::NoDifference,
                    "",
                ),
                difference(
                    "Energy per output token",
                    "joules",
                    0.0963,
                    0.0907,
                    0.02,
                    Conclusion::Improved,
                    "",
                ),
            ],
            configuration: vec![
                ConfigurationDifference {
                    name: "--max-num-seqs".into(),
                    values: vec![Some("256".into()), Some("512".into())],
                    blocking: false,
                },
                ConfigurationDifference {
                    name: "driver".into(),
                    values: vec![Some("580.65.06".into()), None],
                    blocking: false,
                },
            ],
        }),
        ..page("Baseline and candidate", vec![a, b])
    }
}

fn live() -> Page {
    let mut half = run(
        "A",
        &Shape {
            seconds: 60,
            requests: 300,
            ..Shape::default()
        },
    );
    half.verdict = Verdict {
        validity: Validity::Pending,
        reasons: vec!["valid so far; 240 s to the minimum duration".into()],
    };
    half.completeness = Completeness::Running;
    half.steady = SteadyWindow {
        window: None,
        text: "not yet".into(),
    };
    Page {
        live: Some(Live {
            events_url: "events".into(),
        }),
        ..page("A run that goes on", vec![half])
    }
}

/// More than two hours, for a page with small limits.
fn thinned() -> Page {
    let shape = Shape {
        seconds: 8_000,
        requests: 6_000,
        series: 24,
        ..Shape::default()
    };
    page("More than fits", vec![run("A", &shape)])
}

/// An hour at 1 s with 430 series and 100,000 requests.
pub(crate) fn hour() -> Page {
    page(
        "An hour",
        vec![run(
            "A",
            &Shape {
                seconds: 3_600,
                requests: 100_000,
                series: 430,
                ..Shape::default()
            },
        )],
    )
}

/// A day at 1 s.
#[allow(
    dead_code,
    reason = "used by a test, not by the example that shares this file"
)]
pub(crate) fn day() -> Page {
    let shape = Shape {
        seconds: 86_400,
        requests: 20_000,
        series: 60,
        ..Shape::default()
    };
    page("A day", vec![run("A", &shape)])
}
