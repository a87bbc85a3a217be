//! Writes pages of generated runs for `scripts/check-report-page`, and how long each took.
//!
//! usage: sample_pages FOLDER [NAME...]

use std::path::Path;
use std::time::Instant;

#[path = "../tests/sample/mod.rs"]
mod sample;

use report_page::model::{HistogramColumn, Request, Span};
use report_page::{Appended, AppendedColumns, Options, TraceOptions, Update, render_with, write_trace};

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[allow(clippy::print_stdout, reason = "an example that reports")]
fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: sample_pages FOLDER [NAME...]")?;
    let names: Vec<String> = arguments.collect();
    std::fs::create_dir_all(&folder)?;
    let folder = Path::new(&folder);
    for (name, page) in sample::cases::ALL {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        let page = page();
        let begun = Instant::now();
        let options = match name {
            "thinned" => Options {
                max_run_bytes: 60_000,
                max_requests: 1_500,
            },
            _ => Options::default(),
        };
        let rendered = render_with(&page, &options)?;
        let took = begun.elapsed();
        std::fs::write(folder.join(format!("{name}.html")), &rendered.html)?;
        println!(
            "{name}: {} bytes in {} ms; {} samples in {} bytes of base64, requests in {}",
            rendered.html.len(),
            took.as_millis(),
            rendered.samples,
            rendered.series_bytes,
            rendered.request_bytes,
        );
        for remark in rendered.remarks {
            println!("  {remark}");
        }
        if name == "usual" {
            let file = std::fs::File::create(folder.join("trace.json"))?;
            let counters = page
                .charts
                .iter()
                .flat_map(|c| &c.lines)
                .map(|line| line.series.clone())
                .collect();
            let options = TraceOptions {
                counters,
                ..TraceOptions::default()
            };
            println!(
                "  trace.json: {:?}",
                write_trace(&page.runs[0], &options, std::io::BufWriter::new(file))?
            );
        }
        if name == "live" {
            std::fs::write(folder.join("update.json"), update(&page)?)?;
        }
    }
    Ok(())
}

/// Ten seconds more of every series, and one request. The last point that the page has of each is replaced.
fn update(page: &report_page::model::Page) -> Result<String, report_page::Error> {
    let appended = page.runs[0].series.iter().enumerate().map(|(series, s)| {
        let last = s.timestamps_ns.last().copied().unwrap_or(sample::START_NS);
        Appended {
            series,
            from_ns: last,
            timestamps_ns: (0..=10).map(|i| last + i * 1_000_000_000).collect(),
            values: vec![s.values.last().copied().unwrap_or(0.0) + 1.0; 11],
        }
    });
    let histograms = page.runs[0].histograms.iter().enumerate().map(|(histogram, h)| {
        let last = h.columns.last().map_or(sample::START_NS, |column| column.end_ns);
        let column = |i: i64| HistogramColumn {
            start_ns: last + i * 1_000_000_000,
            end_ns: last + (i + 1) * 1_000_000_000,
            counts: vec![1; h.bounds.len() + 1],
        };
        AppendedColumns {
            histogram,
            columns: (0..10).map(column).collect(),
        }
    });
    let request = Request {
        issued_ns: sample::at(61.0),
        sent_ns: Some(sample::at(61.0)),
        first_token_ns: Some(sample::at(61.5)),
        done_ns: Some(sample::at(63.0)),
        output_tokens: Some(31),
        ..Request::default()
    };
    Update {
        end_ns: sample::at(71.0),
        appended: appended.collect(),
        histograms: histograms.collect(),
        requests: vec![request],
        series_gaps: vec![(
            0,
            vec![Span {
                start_ns: sample::at(64.0),
                end_ns: sample::at(66.0),
            }],
        )],
    }
    .to_json(page)
}
