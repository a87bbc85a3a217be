//! `sut plot`: plots metrics of stored runs by name, or draws the standard plots, and writes the summary.

use std::path::Path;

use anyhow::{Context, anyhow};
use run_report::HarnessVerdict;
use vllm_metrics::store::read_run;
use vllm_metrics::view::Analysis;
use vllm_report::{Clock, Distribution, Layout, Lines, Outcome, PlotOptions, RenderOptions, Theme};

use super::each_run_once;
use super::report::{folder_of, must_exist};
use crate::cli::{PlotArgs, ThemeArg};
use crate::console::print;
use crate::exit::{Exit, Fail};

pub(super) fn run(args: &PlotArgs) -> Result<Exit, Fail> {
    let runs = each_run_once(&args.runs);
    if runs.len() > 1 && args.output.is_some() {
        return Err(Fail::usage(anyhow!(
            "--output names one picture and there are {} runs; give --output-dir",
            runs.len()
        )));
    }
    for path in &runs {
        must_exist(path)?;
    }
    for path in runs {
        let run = read_run(path).map_err(Fail::usage)?;
        for note in &run.notes {
            tracing::warn!("{note}");
        }
        let judged = HarnessVerdict::read(folder_of(path), &run.manifest.stamp).map_err(Fail::usage)?;
        let outcome = judged.map(|judged| Outcome {
            word: judged.result,
            reason: judged.interrupted,
        });
        one(args, path, &Analysis::owning(run), outcome)?;
    }
    Ok(Exit::Valid)
}

fn one(args: &PlotArgs, path: &Path, run: &Analysis<'_>, outcome: Option<Outcome>) -> Result<(), Fail> {
    if args.list_metrics {
        print(&(vllm_report::metric_names(run).join("\n") + "\n"));
        return Ok(());
    }
    let folder = args.output_dir.as_deref().unwrap_or_else(|| folder_of(path));
    let visualizations = folder.join("visualizations");
    if args.summary || !args.metric.is_empty() {
        std::fs::create_dir_all(&visualizations)
            .with_context(|| format!("cannot make the folder {}", visualizations.display()))?;
    }
    let stamp = &run.run().manifest.stamp;
    if args.summary {
        let summary = visualizations.join(format!("metrics_summary_{stamp}.json"));
        vllm_report::write_summary(run, &summary, &render_options(args, path, outcome.clone()))
            .context("cannot write the summary")?;
        print(&format!("{}\n", summary.display()));
    }
    if !args.metric.is_empty() {
        let names: Vec<&str> = args.metric.iter().map(String::as_str).collect();
        let file = args.output.clone().unwrap_or_else(|| {
            let bare = if let [only] = names[..] {
                only.replace([':', '/'], "_")
            } else {
                "metrics".to_owned()
            };
            visualizations.join(format!("{bare}_{stamp}.png"))
        });
        vllm_report::plot(run, &names, &file, &plot_options(args, outcome.clone())).map_err(Fail::usage)?;
        print(&format!("{}\n", file.display()));
    }
    if args.summary || !args.metric.is_empty() {
        return Ok(());
    }
    let rendered =
        vllm_report::render(run, folder, &render_options(args, path, outcome)).context("cannot draw")?;
    let pictures = [
        rendered.gpu,
        rendered.requests,
        rendered.overview,
        rendered.summary,
    ];
    for path in pictures.into_iter().chain(rendered.svgs) {
        print(&format!("{}\n", path.display()));
    }
    Ok(())
}

fn theme(args: &PlotArgs) -> Theme {
    match args.theme {
        ThemeArg::Light => Theme::Light,
        ThemeArg::Dark => Theme::Dark,
        ThemeArg::ColorBlind => Theme::ColorBlind,
    }
}

fn clock(args: &PlotArgs) -> Clock {
    if args.utc { Clock::Utc } else { Clock::Elapsed }
}

fn render_options(args: &PlotArgs, path: &Path, outcome: Option<Outcome>) -> RenderOptions {
    RenderOptions {
        title: args.title.clone(),
        dpi: args.dpi,
        theme: theme(args),
        clock: clock(args),
        events: args.events,
        batches: args.batches,
        input: Some(path.to_owned()),
        outcome,
        ..RenderOptions::default()
    }
}

fn plot_options(args: &PlotArgs, outcome: Option<Outcome>) -> PlotOptions {
    PlotOptions {
        title: args.title.clone(),
        size_inches: args.size,
        dpi: args.dpi,
        theme: theme(args),
        clock: clock(args),
        layout: if args.overlay {
            Layout::Overlay
        } else {
            Layout::Grid
        },
        lines: match (&args.by[..], args.together) {
            (_, true) => Lines::Together,
            ([], false) => Lines::Each,
            (labels, false) => Lines::By(labels.to_vec()),
        },
        distribution: if args.heatmap {
            Distribution::Heatmap
        } else {
            Distribution::Quantiles
        },
        labels: args.label.clone(),
        events: args.events,
        batches: args.batches,
        outcome,
    }
}
