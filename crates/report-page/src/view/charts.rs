//! Places for charts, in the order of the page.

use serde::Serialize;

use crate::format;
use crate::model;

/// Charts under one headline.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    pub id: &'static str,
    pub title: &'static str,
    pub charts: Vec<Chart>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Chart {
    /// Index in the page's charts.
    pub index: usize,
    pub id: String,
    pub title: String,
    pub definition: String,
    pub sources: String,
    /// No run has any of its series.
    pub empty: bool,
}

/// Place of a heat map in every run that has the histogram.
#[derive(Debug, Serialize)]
pub(crate) struct Histogram {
    pub id: String,
    pub title: String,
    pub description: String,
    pub source: String,
    /// Indices of runs that have it, with the names of the runs.
    pub runs: Vec<(usize, String)>,
}

pub(crate) fn sections(page: &model::Page) -> Vec<Section> {
    [
        (
            model::Section::Performance,
            "performance",
            "Throughput and latency",
        ),
        (model::Section::Engine, "engine", "Engine"),
        (model::Section::Gpu, "gpu", "GPU and energy"),
        (model::Section::Host, "host", "Host and cost of recording"),
    ]
    .into_iter()
    .map(|(section, id, title)| Section {
        id,
        title,
        charts: page
            .charts
            .iter()
            .enumerate()
            .filter(|(_, chart)| chart.section == section)
            .map(|(index, chart)| of_chart(page, index, chart))
            .collect(),
    })
    .collect()
}

fn of_chart(page: &model::Page, index: usize, chart: &model::Chart) -> Chart {
    let named = |series: &&model::Series| {
        let key = series.key();
        chart.lines.iter().any(|line| line.series == key)
    };
    let mut sources: Vec<&str> = page
        .runs
        .iter()
        .flat_map(|run| run.series.iter().filter(named))
        .map(|s| &*s.source)
        .collect();
    sources.sort_unstable();
    sources.dedup();
    Chart {
        index,
        id: chart.id.clone(),
        title: chart.title.clone(),
        definition: chart.definition.clone(),
        sources: sources.join(", "),
        empty: sources.is_empty(),
    }
}

pub(crate) fn histograms(runs: &[model::Run]) -> Vec<Histogram> {
    let mut out: Vec<Histogram> = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        for histogram in &run.histograms {
            let place = (index, run.name.clone());
            match out.iter_mut().find(|h| h.id == histogram.id) {
                Some(known) => known.runs.push(place),
                None => out.push(Histogram {
                    id: histogram.id.clone(),
                    title: histogram.title.clone(),
                    description: describe(histogram),
                    source: histogram.source.clone(),
                    runs: vec![place],
                }),
            }
        }
    }
    out
}

fn describe(histogram: &model::Histogram) -> String {
    let total: u64 = histogram.columns.iter().flat_map(|c| &c.counts).sum();
    format!(
        "{} {}: {} observations in {} buckets. Colour is the number of observations in a bucket and an interval; the \
         lines are quantiles, estimated by linear interpolation within buckets.",
        histogram.name,
        histogram.description,
        format::number(total as f64),
        histogram.bounds.len() + 1,
    )
}
