//! The watch as a Prometheus page.

use exposition::{FamilyHeader, Format, Kind, Role, SampleLine, WriteError, Writer};

use crate::latency::{BOUNDS_SECS, Latencies};
use crate::status::Status;
use crate::tally::Tally;

/// One number of the page: name, kind, help, value.
type Row = (&'static str, Kind, &'static str, f64);

fn rows(status: &Status) -> Vec<Row> {
    let counters = &status.counters;
    let number = |n: u64| n as f64;
    let flag = |on: bool| if on { 1.0 } else { 0.0 };
    vec![
        (
            "vllm:monitor_active_requests",
            Kind::Gauge,
            "Requests taken and not answered.",
            number(status.active_requests),
        ),
        (
            "vllm:monitor_tokens_generated_total",
            Kind::Counter,
            "Tokens generated, counted at every engine step.",
            number(status.tokens_generated),
        ),
        (
            "vllm:monitor_steps_total",
            Kind::Counter,
            "Engine steps, those without output included.",
            number(counters.steps),
        ),
        (
            "vllm:monitor_preemptions_total",
            Kind::Counter,
            "Requests preempted.",
            number(counters.preemptions),
        ),
        (
            "vllm:monitor_healthy",
            Kind::Gauge,
            "1 unless the engine is out of service by the monitor's evidence.",
            flag(status.healthy),
        ),
        (
            "vllm:monitor_dropped_messages_total",
            Kind::Counter,
            "Steps lost because the ring was full.",
            number(status.dropped_messages),
        ),
        (
            "vllm:monitor_faults_total",
            Kind::Counter,
            "Calls of the stat logger that failed.",
            number(status.faults),
        ),
    ]
}

/// The page in the text format.
pub(crate) fn write(status: &Status, tally: &Tally) -> Result<String, WriteError> {
    let mut writer = Writer::new(Format::Text);
    for (name, kind, help, value) in rows(status) {
        writer.family(&FamilyHeader {
            help: Some(help),
            ..FamilyHeader::new(name, kind)
        })?;
        writer.sample(&SampleLine::new(Role::Value, value))?;
    }
    writer.family(&FamilyHeader {
        help: Some("Share of resolved forecasts that were right."),
        ..FamilyHeader::new("vllm:monitor_prediction_accuracy", Kind::Gauge)
    })?;
    for (failure_type, accuracy) in &status.prediction_accuracy {
        writer.sample(&SampleLine {
            labels: &[("failure_type", failure_type)],
            ..SampleLine::new(Role::Value, *accuracy)
        })?;
    }
    latencies(
        &mut writer,
        "vllm:monitor_inter_token_latency_seconds",
        "Time between tokens, every one counted.",
        tally
            .engines
            .iter()
            .map(|(index, engine)| (*index, &engine.inter_token)),
    )?;
    latencies(
        &mut writer,
        "vllm:monitor_time_to_first_token_seconds",
        "Time to the first token, every one counted.",
        tally
            .engines
            .iter()
            .map(|(index, engine)| (*index, &engine.first_token)),
    )?;
    Ok(writer.finish())
}

fn latencies<'a>(
    writer: &mut Writer,
    name: &str,
    help: &str,
    engines: impl Iterator<Item = (u32, &'a Latencies)>,
) -> Result<(), WriteError> {
    writer.family(&FamilyHeader {
        help: Some(help),
        ..FamilyHeader::new(name, Kind::Histogram)
    })?;
    for (index, latencies) in engines {
        let engine = index.to_string();
        for bound in BOUNDS_SECS {
            writer.sample(&SampleLine {
                labels: &[("engine", &engine), ("le", &exposition::format_float(bound))],
                ..SampleLine::new(Role::Bucket, latencies.at_most(bound) as f64)
            })?;
        }
        writer.sample(&SampleLine {
            labels: &[("engine", &engine), ("le", "+Inf")],
            ..SampleLine::new(Role::Bucket, latencies.count() as f64)
        })?;
        let labels: &[(&str, &str)] = &[("engine", &engine)];
        writer.sample(&SampleLine {
            labels,
            ..SampleLine::new(Role::Sum, latencies.sum_secs())
        })?;
        writer.sample(&SampleLine {
            labels,
            ..SampleLine::new(Role::Count, latencies.count() as f64)
        })?;
    }
    Ok(())
}
