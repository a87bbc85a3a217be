//! Plots of metrics by name, with every option.

use super::*;

fn choice(layout: Layout, lines: Lines, distribution: Distribution) -> Choice {
    Choice {
        lines,
        layout,
        distribution,
        labels: Vec::new(),
    }
}

fn panels(run: &RunData, names: &[&str], choice: &Choice) -> Vec<crate::panel::Panel> {
    chart::metric::picture(&View::of(&Analysis::of(run)), names, choice)
        .unwrap()
        .panels
}

fn names_of(panel: &crate::panel::Panel) -> Vec<String> {
    match &panel.body {
        crate::panel::Body::Lines(lines) => lines.iter().map(|l| l.name.clone()).collect(),
        crate::panel::Body::Heat(_) => Vec::new(),
    }
}

#[test]
fn series_are_drawn_each_by_label_or_together() {
    let run = run();
    let name = "vllm:request_success_total";
    let lines = |lines| {
        names_of(
            &panels(
                &run,
                &[name],
                &choice(Layout::Grid, lines, Distribution::Quantiles),
            )[0],
        )
        .len()
    };
    assert_eq!(lines(Lines::Each), 4);
    assert_eq!(lines(Lines::By(vec!["finished_reason".into()])), 2);
    assert_eq!(lines(Lines::Together), 1);
    let mut some = Choice::default();
    some.labels.push(("engine".into(), "1".into()));
    assert_eq!(names_of(&panels(&run, &[name], &some)[0]).len(), 2);
}

#[test]
fn what_does_not_combine_is_refused_with_a_way_out() {
    let mut run = run();
    for gpu in 0..2 {
        let labels = format!(r#"{{"gpu":"{gpu}"}}"#);
        run.series
            .push(series("some_info", &labels, MetricType::Gauge, "", |_| 1.0));
    }
    let together = choice(Layout::Grid, Lines::Together, Distribution::Quantiles);
    let error =
        chart::metric::picture(&View::of(&Analysis::of(&run)), &["some_info"], &together).unwrap_err();
    assert!(error.to_string().contains("leave out --together"), "{error}");
}

#[test]
fn overlaid_metrics_share_an_axis_or_their_maximum() {
    let run = run();
    let overlay = choice(Layout::Overlay, Lines::Together, Distribution::Quantiles);
    let same = panels(
        &run,
        &["vllm:generation_tokens_total", "vllm:prompt_tokens_total"],
        &overlay,
    );
    assert_eq!(
        (same.len(), &same[0].quantity),
        (1, &crate::axis::Quantity::PerSecond("tokens".into()))
    );
    let different = panels(
        &run,
        &["vllm:num_requests_running", "vllm:kv_cache_usage_perc"],
        &overlay,
    );
    assert_eq!(different[0].quantity, crate::axis::Quantity::Ratio);
    assert!(
        names_of(&different[0])[0].contains("mean"),
        "{:?}",
        names_of(&different[0])
    );
    let heat = choice(Layout::Overlay, Lines::Each, Distribution::Heatmap);
    let names = ["vllm:time_to_first_token_seconds", "vllm:num_requests_running"];
    let error = chart::metric::picture(&View::of(&Analysis::of(&run)), &names, &heat).unwrap_err();
    assert!(matches!(error, Error::NotOverlaid { .. }));
}

#[test]
fn the_time_in_which_no_overlaid_metric_has_a_reading_is_marked() {
    let mut run = run();
    // Each begins later and ends earlier than the run; the marks are where neither has a reading.
    for (name, from, to) in [("made_up_watts", 12, 40), ("made_up_celsius", 15, 45)] {
        let mut sampled = series(name, r#"{"gpu":"0"}"#, MetricType::Gauge, "", |i| i as f64);
        let mut def = (*sampled.def).clone();
        def.endpoint_url = "".into();
        sampled.def = std::sync::Arc::new(def);
        let kept = START + from * S..=START + to * S;
        (sampled.timestamps_ns, sampled.values) = (sampled.timestamps_ns.iter().copied())
            .zip(sampled.values.iter().copied())
            .filter(|(t, _)| kept.contains(t))
            .unzip();
        sampled.phases = Vec::new();
        run.series.push(sampled);
    }
    vllm_metrics::derive::series::sort(&mut run.series);
    let overlay = choice(Layout::Overlay, Lines::Each, Distribution::Quantiles);
    let missing = |names: &[&str]| -> Option<Vec<(i64, i64)>> {
        let analysis = Analysis::of(&run);
        let frame = &View::of(&analysis).frame;
        let panel = &panels(&run, names, &overlay)[0];
        panel.read.map(|read| read.missing(frame))
    };
    let both = missing(&["made_up_watts", "made_up_celsius"]).unwrap();
    let [(_, first), (last, _)] = both[..] else {
        panic!("{both:?}")
    };
    assert_eq!((first, last), (START + 12 * S, START + 45 * S));
    // What is scraped is marked by the gaps of its source.
    assert_eq!(missing(&["made_up_watts", "vllm:num_requests_running"]), None);
}

#[test]
fn histograms_are_bands_or_heat_maps() {
    let run = run();
    let name = ["vllm:time_to_first_token_seconds"];
    assert_eq!(
        names_of(&panels(&run, &name, &Choice::default())[0]),
        ["p50", "p99", "p10 to p90"]
    );
    let heat = choice(Layout::Grid, Lines::Each, Distribution::Heatmap);
    let panels = panels(&run, &name, &heat);
    let crate::panel::Body::Heat(heat) = &panels[0].body else {
        panic!()
    };
    // Ten observations per second and engine, half of them in the first bucket.
    let observed: f64 = heat.columns.iter().flat_map(|(.., counts)| counts).sum();
    assert_eq!(observed, 2.0 * 10.0 * 48.0, "those of the gap are in no column");
    assert_eq!(heat.bounds, [0.1, 0.5, f64::INFINITY]);
}

#[test]
fn every_theme_clock_and_format_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = run();
    run.batches = (0..5)
        .map(|i| vllm_metrics::BatchRow {
            batch_id: i,
            issued_ns: START + i as i64 * 10 * S,
            done_ns: (i < 4).then_some(START + (i as i64 * 10 + 5) * S),
            requests: 8,
            output_tokens: Some(100),
            failed: 0,
        })
        .collect();
    for (theme, ground) in [
        (Theme::Light, "#ffffff"),
        (Theme::Dark, "#14181f"),
        (Theme::ColorBlind, "#ffffff"),
    ] {
        let path = folder.path().join(format!("{theme:?}.svg"));
        let options = PlotOptions {
            theme,
            clock: Clock::Utc,
            batches: true,
            title: Some("My title".into()),
            size_inches: Some((8.0, 5.0)),
            ..PlotOptions::default()
        };
        plot(
            &Analysis::of(&run),
            &["vllm:num_requests_running"],
            &path,
            &options,
        )
        .unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        for wanted in [
            ground,
            "My title",
            "12:00:10",
            "time of day (UTC)",
            "width=\"800\" height=\"500\"",
        ] {
            assert!(svg.contains(wanted), "{theme:?}: {wanted}");
        }
    }
    assert_eq!(Theme::from_name("color-blind"), Some(Theme::ColorBlind));
    assert_eq!(Theme::from_name("pink"), None);
}
