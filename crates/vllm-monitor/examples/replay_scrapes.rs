//! Steps through recorded pages of metrics and prints what the monitor decides.
//!
//! ```text
//! cargo run -p vllm-monitor --example replay_scrapes -- FILE
//! ```
//!
//! FILE holds pages one after the other, each after a line `# SCRAPE <nanoseconds>`; it may be compressed by zstd.
#![allow(clippy::print_stdout, reason = "a program for people at a terminal")]

use std::io::{BufRead as _, BufReader, Read};
use std::time::Instant;

use exposition::{Event as Line, Format, Parser};
use vllm_monitor::config::Settings;
use vllm_monitor::{
    Decision, EventKind, Monitor, Prediction, Probe, ProbeOutcome, SnapshotBuilder, StaleAfter, State, Time,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: replay_scrapes FILE")?;
    let file = std::fs::File::open(&path)?;
    let reader: Box<dyn Read> = if path.ends_with(".zst") {
        Box::new(zstd::Decoder::new(file)?)
    } else {
        Box::new(file)
    };

    let monitor = Monitor::new(Settings::default());
    let mut state = State::default();
    let mut builder = SnapshotBuilder::new(path.as_str(), StaleAfter::default());
    builder.version("0.32.0");
    let mut page = Vec::new();
    let mut at: Option<i64> = None;
    let (mut pages, mut first, mut spent) = (0u32, None, 0.0);
    let mut finish = |at: i64, page: &[u8]| {
        let origin = *first.get_or_insert(at);
        let time = Time::from_nanos(at - origin);
        read_page(&mut builder, page, time);
        let start = Instant::now();
        let decisions = monitor.step(&mut state, &builder.build(time));
        spent += start.elapsed().as_secs_f64();
        pages += 1;
        for decision in decisions {
            print(time, &decision);
        }
    };
    for line in BufReader::new(reader).split(b'\n') {
        let line = line?;
        match line.strip_prefix(b"# SCRAPE ") {
            Some(stamp) => {
                if let Some(at) = at {
                    finish(at, &page);
                }
                page.clear();
                at = Some(std::str::from_utf8(stamp)?.trim().parse()?);
            }
            None => {
                page.extend_from_slice(&line);
                page.push(b'\n');
            }
        }
    }
    if let Some(at) = at {
        finish(at, &page);
    }

    println!(
        "\n{pages} pages, {:.1} µs for a snapshot and its step",
        spent / f64::from(pages) * 1e6
    );
    let target = state.target(&path).ok_or("there was no page")?;
    println!(
        "state {} since {:.0} s",
        target.state(),
        target.lifecycle().since().secs_since(Time::ZERO)
    );
    for (failure_type, assessment) in target.assessments() {
        let words = match &assessment.prediction {
            Prediction::Forecast(forecast) => {
                let evidence: Vec<String> = forecast.evidence.iter().map(ToString::to_string).collect();
                format!("{:.3?} {}", forecast.probability.as_array(), evidence.join(", "))
            }
            Prediction::NotEnoughData { need } => format!("not enough data: {need}"),
            Prediction::Suspended { reason } => format!("suspended: {reason}"),
        };
        let score = target.score(*failure_type);
        println!(
            "{failure_type:<15} {words}\n{:15} {} onsets, {} predicted, {} alarms, {} false, skill at 60 s {:?}",
            "",
            score.onsets,
            score.predicted,
            score.alarms,
            score.false_alarms,
            score.horizons[2].skill()
        );
    }
    Ok(())
}

fn read_page(builder: &mut SnapshotBuilder, page: &[u8], at: Time) {
    for line in Parser::new(page, Format::Text) {
        if let Line::Sample(sample) = line {
            let labels: Vec<(String, String)> = sample
                .labels
                .iter()
                .map(|label| (label.name.text().into_owned(), label.value().into_owned()))
                .collect();
            let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            builder.sample(&sample.name.text(), &labels, sample.value, at);
        }
    }
    builder.page_complete(at);
    builder.metrics_probe(Probe {
        at,
        outcome: ProbeOutcome::Status(200),
        connect_secs: None,
        first_byte_secs: None,
    });
}

fn print(time: Time, decision: &Decision) {
    let at = time.secs_since(Time::ZERO);
    match decision {
        Decision::Event(event) => match &event.kind {
            EventKind::Transition(t) => {
                let evidence: Vec<String> = t.evidence.iter().map(ToString::to_string).collect();
                println!("{at:7.1} s  {} -> {}: {}", t.from, t.to, evidence.join("; "));
            }
            other => println!("{at:7.1} s  {other:?}"),
        },
        Decision::Alert(alert) => {
            let p = alert
                .forecast
                .as_ref()
                .map(|forecast| forecast.probability.as_array());
            println!(
                "{at:7.1} s  {:?} {} {:?}: {p:.2?}",
                alert.change, alert.failure_type, alert.kind
            );
        }
        other => println!("{at:7.1} s  {other:?}"),
    }
}
