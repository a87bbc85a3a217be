//! Refuses input that contradicts itself, before anything is made of it.

use std::collections::BTreeSet;

use crate::model::{Chart, Histogram, Page, Run, Series};
use crate::{Error, Result};

pub(crate) fn page(page: &Page) -> Result<()> {
    page.runs.iter().try_for_each(self::run)?;
    let mut ids = BTreeSet::new();
    for chart in &page.charts {
        check_chart(chart)
            .and_then(|()| {
                if ids.insert(&chart.id) {
                    Ok(())
                } else {
                    Err("its identifier is not unique")
                }
            })
            .map_err(|problem| Error::Chart {
                id: chart.id.clone(),
                problem: problem.into(),
            })?;
    }
    Ok(())
}

pub(crate) fn run(run: &Run) -> Result<()> {
    check_run(run).map_err(|(what, problem)| Error::Input {
        run: run.name.clone(),
        what,
        problem: problem.into(),
    })
}

fn check_run(run: &Run) -> Result<(), (String, &'static str)> {
    if run.span.end_ns < run.span.start_ns {
        return Err(("span".into(), "ends before it starts"));
    }
    let mut keys = BTreeSet::new();
    for series in &run.series {
        check_series(series).map_err(|problem| (series.key(), problem))?;
        if !keys.insert(series.key()) {
            return Err((series.key(), "occurs twice"));
        }
    }
    let mut ids = BTreeSet::new();
    for histogram in &run.histograms {
        check_histogram(histogram).map_err(|problem| (histogram.id.clone(), problem))?;
        if !ids.insert(&histogram.id) {
            return Err((histogram.id.clone(), "is the identifier of two histograms"));
        }
    }
    if let Some(diagnosis) = &run.diagnosis
        && diagnosis
            .spans
            .iter()
            .any(|span| span.rule >= diagnosis.rules.len())
    {
        return Err(("diagnosis".into(), "a span refers to a rule that is not there"));
    }
    if run
        .requests
        .iter()
        .any(|r| r.server as usize >= run.servers.len().max(1))
    {
        return Err((
            "requests".into(),
            "a request refers to a server that is not there",
        ));
    }
    Ok(())
}

fn check_series(series: &Series) -> Result<(), &'static str> {
    if series.timestamps_ns.len() != series.values.len() {
        return Err("has not one value per timestamp");
    }
    if !series.timestamps_ns.is_sorted_by(|a, b| a < b) {
        return Err("has timestamps that do not rise");
    }
    Ok(())
}

fn check_histogram(histogram: &Histogram) -> Result<(), &'static str> {
    if histogram.bounds.iter().any(|b| !b.is_finite()) || !histogram.bounds.is_sorted_by(|a, b| a < b) {
        return Err("has bounds that are not finite and rising");
    }
    if histogram
        .columns
        .iter()
        .any(|c| c.counts.len() != histogram.bounds.len() + 1)
    {
        return Err("has not one count per bucket, the infinite one included");
    }
    if !histogram.columns.iter().all(|c| c.start_ns <= c.end_ns)
        || !histogram.columns.is_sorted_by(|a, b| a.end_ns <= b.start_ns)
    {
        return Err("has intervals that overlap or run backwards");
    }
    Ok(())
}

fn check_chart(chart: &Chart) -> Result<(), &'static str> {
    if chart.id.is_empty() || !chart.id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err("its identifier must be letters, digits and -");
    }
    if chart
        .bands
        .iter()
        .any(|band| band.low.max(band.high) >= chart.lines.len())
    {
        return Err("a band refers to a line that is not there");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HistogramColumn;

    fn of(run: Run) -> String {
        let run = Run {
            name: "A".into(),
            ..run
        };
        page(&Page {
            runs: vec![run],
            ..Page::default()
        })
        .expect_err("it contradicts itself")
        .to_string()
    }

    #[test]
    fn contradictions_are_named() {
        let series = |times: Vec<i64>, values: Vec<f64>| Series {
            name: "up".into(),
            timestamps_ns: times,
            values,
            ..Series::default()
        };
        let with = |series| Run {
            series,
            ..Run::default()
        };
        assert_eq!(
            of(with(vec![series(vec![1], vec![])])),
            "run \"A\": up: has not one value per timestamp"
        );
        assert_eq!(
            of(with(vec![series(vec![2, 2], vec![0.0; 2])])),
            "run \"A\": up: has timestamps that do not rise"
        );
        assert_eq!(
            of(with(vec![series(vec![], vec![]), series(vec![], vec![])])),
            "run \"A\": up: occurs twice"
        );
        let histogram = Histogram {
            id: "ttft".into(),
            bounds: vec![1.0],
            columns: vec![HistogramColumn {
                start_ns: 0,
                end_ns: 1,
                counts: vec![1],
            }],
            ..Histogram::default()
        };
        assert_eq!(
            of(Run {
                histograms: vec![histogram],
                ..Run::default()
            }),
            "run \"A\": ttft: has not one count per bucket, the infinite one included"
        );
    }
}
