//! A status as text for people.

use std::fmt::Write as _;

use vllm_monitor::Prediction;

use vllm_monitor_cli::acting::{ActingStatus, Advice};
use vllm_monitor_cli::plugins::PluginsStatus;
use vllm_monitor_cli::status::{Status, TargetStatus};

/// Longest list of evidence that is shown for one target.
const MOST_EVIDENCE: usize = 3;
/// Probability at 60 s from which on a forecast is shown.
const SHOWN_PROBABILITY: f64 = 0.05;

/// Everything, one block per target.
pub(crate) fn text(status: &Status) -> String {
    let mut text = String::new();
    let _infallible = writeln!(
        text,
        "{}  {} targets, monitor {}",
        status.time,
        status.targets.len(),
        if status.monitor_active { "active" } else { "STUCK" }
    );
    let notifications = &status.notifications;
    if let Some(why) = &notifications.last_error {
        let _infallible = writeln!(
            text,
            "{} notifications could not be delivered; the last error: {why}",
            notifications.failed
        );
    }
    write_acting(&mut text, &status.acting);
    write_plugins(&mut text, &status.plugins);
    for target in &status.targets {
        write_target(&mut text, target);
    }
    text
}

fn write_acting(text: &mut String, acting: &ActingStatus) {
    let mut line = |words: String| {
        let _infallible = writeln!(text, "{words}");
    };
    match &acting.why_not {
        Some(why) => line(format!("no action is taken: {why}")),
        None => line("actions are taken".to_owned()),
    }
    for action in &acting.in_effect {
        line(format!(
            "  {} on {} since {}: {}",
            action.action, action.target, action.since, action.reason
        ));
    }
    for action in acting
        .actions
        .iter()
        .filter(|action| action.enabled && !action.supported)
    {
        let why = action.why_not.as_deref().unwrap_or_default();
        line(format!(
            "  {} on {}: unsupported here: {why}",
            action.action, action.target
        ));
    }
    for (target, why) in &acting.escalated {
        line(format!("  {target}: {why}"));
    }
    for problem in &acting.problems {
        line(format!("  problem: {problem}"));
    }
}

fn write_plugins(text: &mut String, plugins: &PluginsStatus) {
    let Some(folder) = &plugins.folder else {
        return;
    };
    let mut line = |words: String| {
        let _infallible = writeln!(text, "{words}");
    };
    let active = plugins
        .plugins
        .iter()
        .filter(|plugin| plugin.state == "active")
        .count();
    line(format!(
        "plugins of {folder}: {active} of {} active",
        plugins.plugins.len()
    ));
    if let Some(problem) = &plugins.problem {
        line(format!(
            "  problem: {problem}; the plugins that are loaded stay in use"
        ));
    }
    for plugin in &plugins.plugins {
        if let Some(why) = &plugin.why {
            line(format!("  {} is {}: {why}", plugin.name, plugin.state));
        }
        if let Some(pending) = &plugin.pending {
            line(format!(
                "  {}: an older version runs; the file as it is now: {pending}",
                plugin.name
            ));
        }
    }
    for (target, results) in &plugins.targets {
        for finding in &results.findings {
            line(format!(
                "  {target}: {} finds {} ({:.0} %): {}",
                finding.plugin,
                finding.failure,
                finding.probability * 100.0,
                finding.evidence
            ));
        }
        for veto in &results.vetoes {
            line(format!(
                "  {target}: {} forbids {}: {}",
                veto.plugin,
                veto.actions.join(", "),
                veto.why
            ));
        }
    }
}

/// Recommendations and rules.
pub(crate) fn advice(advice: &Advice) -> String {
    let mut text = String::new();
    if let Some(why) = &advice.why_not {
        let _infallible = writeln!(text, "no action is taken: {why}");
    }
    for recommended in &advice.recommendations {
        let _infallible = writeln!(text, "{} of {}:", recommended.failure, recommended.target);
        for action in &recommended.actions {
            let _infallible = writeln!(
                text,
                "  {}. {}: expected reward {:.2}, better than doing nothing with probability {:.0} %; {}",
                action.rank,
                action.strategy,
                action.score,
                action.confidence * 100.0,
                action.rationale
            );
            for why in &action.unsupported {
                let _infallible = writeln!(text, "     unsupported here: {why}");
            }
        }
    }
    for rule in &advice.rules {
        let _infallible = writeln!(text, "learned: {rule}");
    }
    text
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn duration(secs: f64) -> String {
    match secs {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} d", s / 86_400.0),
    }
}

fn write_target(text: &mut String, target: &TargetStatus) {
    let _infallible = writeln!(
        text,
        "\n{:<13} {}  for {}\n  running {}  waiting {}  KV {}  {} tokens/s  {} ms between tokens",
        target.state.as_str(),
        target.name,
        duration(target.state_secs),
        number(target.num_running_requests, 0),
        number(target.num_waiting_requests, 0),
        target
            .kv_cache_usage
            .map_or_else(|| "-".to_owned(), |usage| format!("{:.0} %", usage * 100.0)),
        number(target.tokens_per_sec, 0),
        number(target.avg_step_duration_ms, 1),
    );
    if let Some((phase, secs)) = &target.phase {
        let _infallible = writeln!(text, "  loading: {phase} for {}", duration(*secs));
    }
    if let Some(reason) = target.side_states.reason() {
        let _infallible = writeln!(text, "  {reason}");
    }
    let mut lines = |word: &str, evidence: &[String]| {
        for line in evidence.iter().take(MOST_EVIDENCE) {
            let _infallible = writeln!(text, "  {word} {line}");
        }
    };
    lines("because", &target.evidence);
    lines("against", &target.against);
    for (failure_type, kind) in &target.alerts {
        let _infallible = writeln!(text, "  ALERT {failure_type} ({kind})");
    }
    for (failure_type, assessment) in &target.assessments {
        let Prediction::Forecast(forecast) = &assessment.prediction else {
            continue;
        };
        let p = forecast.probability.at(60.0);
        if p < SHOWN_PROBABILITY {
            continue;
        }
        let when = forecast.time_to_failure.map_or_else(String::new, |time| {
            format!(", in about {}", duration(time.p50_secs))
        });
        let _infallible = writeln!(
            text,
            "  forecast {failure_type}: {:.0} % within 60 s{when}",
            p * 100.0
        );
    }
    for (source, why) in &target.unavailable {
        let _infallible = writeln!(text, "  without {source}: {why}");
    }
}
