//! A record with everything derived from it, computed once.

use std::sync::Arc;

use run_diagnosis::bound::{self, Diagnosis};
use run_diagnosis::input::Run;
use run_diagnosis::window::{SteadyWindow, WindowOptions, steady_window};
use serde_json::{Value, json};
use vllm_metrics::derive::histogram::Histogram;
use vllm_metrics::derive::join::Joined;
use vllm_metrics::{RunData, SeriesData, view};

use crate::harness_verdict::HarnessVerdict;
use crate::input;

/// A record and what was found out about it: what reports, comparisons and exports are made of.
#[derive(Debug, Clone)]
pub struct Analysis<'a> {
    /// The record with what is derived from it.
    data: Arc<view::Analysis<'a>>,
    /// What sentences and legends call it.
    pub name: String,
    /// The harness's verdict, where there is one.
    pub judged: Option<HarnessVerdict>,
    /// Whether the run goes on.
    pub(crate) is_growing: bool,
    /// The statistical summary, with the steady window and the diagnosis.
    pub summary: Value,
    /// The record as `run-diagnosis` sees it.
    pub run: Run,
    /// The steady window.
    pub window: SteadyWindow,
    /// What bound the run, over the steady window or else the whole run; `None` without requests.
    pub diagnosis: Option<Diagnosis>,
}

/// How a record is looked at.
#[derive(Debug, Clone, Default)]
pub struct AnalysisOptions {
    /// What sentences and legends call the run; the record's stamp if empty.
    pub name: String,
    /// How long a steady window must be.
    pub window: WindowOptions,
    /// The harness's verdict.
    pub judged: Option<HarnessVerdict>,
    /// Whether the run goes on: requests of the record are then only those that have ended.
    pub is_growing: bool,
}

impl<'a> Analysis<'a> {
    /// Looks at a record.
    pub fn of(record: &'a RunData, options: AnalysisOptions) -> Self {
        Self::of_data(Arc::new(view::Analysis::of(record)), options)
    }

    /// Looks at a record whose derived data exists already.
    pub fn of_data(data: Arc<view::Analysis<'a>>, options: AnalysisOptions) -> Self {
        let record = data.run();
        let name = if options.name.is_empty() {
            record.manifest.stamp.clone()
        } else {
            options.name
        };
        let run = input::of(record, &data.joined().requests, &name);
        let window = steady_window(&run, options.window);
        let diagnosis = window
            .span
            .or(window.whole)
            .filter(|_| !run.requests.is_empty())
            .map(|span| bound::diagnose(&run, span));
        let mut summary = vllm_report::summarize(&data);
        summary["steady_window"] = window_summary(&window);
        summary["diagnosis"] = diagnosis.as_ref().map_or(Value::Null, diagnosis_summary);
        if let Some(judged) = &options.judged {
            summary["verdict"] = json!(judged);
            summary["outcome"] = json!(vllm_report::Outcome {
                word: judged.result.clone(),
                reason: judged.interrupted.clone(),
            });
        }
        Self {
            data,
            name,
            judged: options.judged,
            is_growing: options.is_growing,
            summary,
            run,
            window,
            diagnosis,
        }
    }

    /// The record.
    pub fn record(&self) -> &RunData {
        self.data.run()
    }

    /// The record with what is derived from it.
    pub fn data(&self) -> &view::Analysis<'a> {
        &self.data
    }

    /// Requests with the server's times, reported or estimated.
    pub(crate) fn joined(&self) -> &Joined {
        self.data.joined()
    }

    /// Histograms of the record.
    pub(crate) fn histograms(&self) -> &[Histogram] {
        self.data.histograms()
    }

    /// Series of the whole deployment and of the engine's steps.
    pub(crate) fn derived(&self) -> &[SeriesData] {
        self.data.deployment()
    }

    /// Lines for a console: the steady window next to the whole run, and what limited the run.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.window.sentences();
        lines.extend(self.diagnosis.iter().flat_map(|diagnosis| {
            let mut sentences = diagnosis.sentences();
            // The verdict with its evidence; what latencies consist of is in the report.
            sentences.truncate(sentences.len().saturating_sub(2).max(1));
            sentences
        }));
        lines
    }
}

/// The window as the summary holds it: what was found as data, and in words.
fn window_summary(window: &SteadyWindow) -> Value {
    let mut value = json!(window);
    value["sentences"] = json!(window.sentences());
    value
}

fn diagnosis_summary(diagnosis: &Diagnosis) -> Value {
    let mut value = json!(diagnosis);
    value["sentences"] = json!(diagnosis.sentences());
    value
}
