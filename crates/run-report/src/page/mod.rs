//! A record as a page.

mod budget;
mod charts;
mod diagnosis;
mod events;
mod headline;
mod histograms;
mod latency;
mod requests;
mod series;
mod tables;

use report_page::model::{
    Completeness, Page, Reason, RequestLimit, RequestMetric, Run, Span, SteadyWindow, Validity, Verdict,
};

use crate::analysis::Analysis;
use crate::harness_verdict;

/// Label that distinguishes the series of several endpoints.
const ENDPOINT_LABEL: &str = "endpoint_url";

/// One page of one run, or of several over each other with what their comparison found.
pub fn page(runs: &[&Analysis<'_>], comparison: Option<report_page::model::Comparison>) -> Page {
    let made: Vec<Run> = runs.iter().map(|analysis| run(analysis)).collect();
    Page {
        title: title(runs),
        facts: facts(runs),
        generator: format!("run-report {}", env!("CARGO_PKG_VERSION")),
        charts: charts::of(&made, runs),
        limits: limits(runs),
        runs: made,
        comparison,
        live: None,
    }
}

fn run(analysis: &Analysis<'_>) -> Run {
    let record = analysis.record();
    let frame = events::Frame::of(analysis);
    let (series, servers) = (series::of(analysis, &frame.gaps), requests::servers(record));
    Run {
        name: analysis.name.clone(),
        label: format!("vllm_metrics_{}", record.manifest.stamp),
        simulated: analysis.run.facts.simulated,
        verdict: verdict(analysis),
        completeness: completeness(analysis),
        origin_ns: analysis
            .window
            .whole
            .map_or(frame.span.start_ns, |whole| whole.from_ns),
        span: frame.span,
        steady: SteadyWindow {
            window: analysis.window.span.map(span),
            text: analysis.window.sentences().join(" "),
        },
        headline: headline::of(analysis),
        diagnosis: analysis.diagnosis.as_ref().map(diagnosis::of),
        budgets: budget::of(analysis),
        phases: frame.phases,
        gaps: frame.gaps,
        events: events::of(record),
        batches: requests::batches(record),
        series,
        histograms: histograms::of(analysis),
        requests: requests::of(&analysis.joined().requests, servers.len()),
        servers,
        steps: requests::steps(record),
        absent: tables::absent(analysis),
        tables: tables::of(analysis),
        overview_svg: None,
        record_file: Some(format!("vllm_metrics_{}.parquet", record.manifest.stamp)),
    }
}

fn span(span: run_diagnosis::input::Span) -> Span {
    Span {
        start_ns: span.from_ns,
        end_ns: span.to_ns,
    }
}

fn verdict(analysis: &Analysis<'_>) -> Verdict {
    match &analysis.judged {
        Some(judged) => Verdict {
            validity: match judged.validity {
                harness_verdict::Validity::Valid => Validity::Valid,
                harness_verdict::Validity::NotValid => Validity::NotValid,
                harness_verdict::Validity::Aborted => Validity::Aborted,
            },
            // The page has a word of its own for these three.
            reasons: [judged.result.strip_prefix("ABORTED: ").unwrap_or(&judged.result)]
                .into_iter()
                .filter(|result| !["VALID", "INVALID"].contains(result))
                .map(Reason::from)
                .chain(Reason::listed(judged.reasons.iter().map(String::as_str)))
                .collect(),
        },
        None => Verdict {
            validity: Validity::NotJudged,
            reasons: vec!["Nothing judged this run: no verdict is stored with the record.".into()],
        },
    }
}

fn completeness(analysis: &Analysis<'_>) -> Completeness {
    let interrupted = |reason: &str| Completeness::Interrupted {
        reason: reason.to_owned(),
    };
    let judged = analysis
        .judged
        .as_ref()
        .and_then(|judged| judged.interrupted.as_deref());
    match (judged, analysis.record().manifest.ended_ns) {
        (Some(reason), _) => interrupted(reason),
        (None, Some(_)) => Completeness::Complete,
        (None, None) if analysis.record().notes.is_empty() => interrupted("the record has no end"),
        (None, None) => interrupted(&analysis.record().notes.join("; ")),
    }
}

fn title(runs: &[&Analysis<'_>]) -> String {
    let fact = |analysis: &Analysis<'_>, key: &str| analysis.record().manifest.facts.get(key).cloned();
    let of = |analysis: &Analysis<'_>| {
        let parts: Vec<String> = ["model", "scenario"]
            .iter()
            .filter_map(|key| fact(analysis, key))
            .collect();
        match parts.as_slice() {
            [] => format!("Run {}", analysis.record().manifest.stamp),
            parts => parts.join(", "),
        }
    };
    let mut titles: Vec<String> = runs.iter().map(|analysis| of(analysis)).collect();
    titles.dedup();
    match titles.as_slice() {
        [] => "No run".to_owned(),
        [one] if runs.len() > 1 => format!("{one}: {} runs", runs.len()),
        titles => titles.join(" / "),
    }
}

/// Facts that the runs share.
fn facts(runs: &[&Analysis<'_>]) -> Vec<String> {
    let shared = |key: &str, of: &dyn Fn(&Analysis<'_>) -> Option<String>| {
        let first = of(runs.first()?)?;
        runs.iter()
            .all(|analysis| of(analysis).as_ref() == Some(&first))
            .then(|| format!("{key} {first}"))
    };
    [
        shared("vLLM", &|analysis| analysis.run.facts.vllm_version.clone()),
        shared("server", &|analysis| {
            analysis.record().manifest.facts.get("server_url").cloned()
        }),
        shared("GPU", &|analysis| analysis.run.facts.gpu_name.clone()),
        shared("dataset", &|analysis| {
            analysis.record().manifest.facts.get("dataset").cloned()
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The limits of the first run that has any.
fn limits(runs: &[&Analysis<'_>]) -> Vec<RequestLimit> {
    let limit = |metric, of: &dyn Fn(&Analysis<'_>) -> Option<f64>| {
        runs.iter()
            .find_map(|analysis| of(analysis))
            .map(|seconds| RequestLimit {
                metric,
                label: "limit of p99".to_owned(),
                seconds,
            })
    };
    [
        limit(RequestMetric::Ttft, &|analysis| {
            analysis.run.facts.ttft_limit_secs
        }),
        limit(RequestMetric::Tpot, &|analysis| {
            analysis.run.facts.tpot_limit_secs
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}
