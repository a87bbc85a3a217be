//! The metrics page against the recorded families of a real 0.32 page: names, types, labels, buckets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::{get, post, start};
use vllm_sim::{LEFT_OUT, MetricsStyle};

/// Name, type, label names (without `le`), bucket bounds.
type Families = BTreeMap<String, (String, BTreeSet<String>, Vec<String>)>;

fn recorded() -> Families {
    include_str!("data/vllm-0.32-families.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let list = |text: &str| {
                text.split(',')
                    .filter(|s| !s.is_empty())
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            (
                fields[0].to_owned(),
                (
                    fields[1].to_owned(),
                    list(fields[2]).into_iter().collect(),
                    list(fields[3]),
                ),
            )
        })
        .collect()
}

fn shown(page: &str) -> Families {
    let mut families = Families::new();
    let mut current = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            current = name.to_owned();
            families.insert(current.clone(), (kind.to_owned(), BTreeSet::new(), Vec::new()));
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(
                name.starts_with(current.as_str()),
                "sample {name} under family {current}"
            );
            let family = families.get_mut(&current).unwrap();
            let labels = line
                .split_once('{')
                .map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
            for label in labels.split("\",").filter(|l| !l.is_empty()) {
                let (name, value) = label.split_once("=\"").unwrap();
                let value = value.trim_end_matches('"').to_owned();
                if name != "le" {
                    family.1.insert(name.to_owned());
                } else if !family.2.contains(&value) {
                    family.2.push(value);
                }
            }
        }
    }
    families
}

#[test]
fn every_family_of_the_real_page_is_there_or_listed_as_left_out() {
    // The token buckets depend on the longest sequence; the recorded server had 2,048.
    let sim = start(|c| c.engine.max_model_len = 2048);
    assert_eq!(post(&sim, "/v1/completions", r#"{"prompt":[5,6,7]}"#).status, 200);
    let page = get(&sim, "/metrics");
    let (recorded, shown) = (recorded(), shown(page.text()));
    assert!(recorded.len() > 80);
    for (name, family) in &recorded {
        let left_out = LEFT_OUT.iter().any(|(left, _)| left == name);
        match shown.get(name) {
            Some(ours) => assert_eq!(ours, family, "family {name}"),
            None => assert!(left_out, "{name} is neither shown nor listed as left out"),
        }
        assert!(
            !(left_out && name.starts_with("vllm:")),
            "{name} must not be left out"
        );
    }
    let extra: Vec<_> = shown
        .keys()
        .filter(|name| !recorded.contains_key(*name))
        .collect();
    assert!(
        extra.is_empty(),
        "families that the real page does not have: {extra:?}"
    );
}

#[test]
fn each_family_has_one_help_and_one_type_line_before_its_samples() {
    let sim = start(|_| ());
    let page = get(&sim, "/metrics");
    assert_eq!(
        page.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let lines: Vec<&str> = page.text().lines().collect();
    let mut seen = BTreeSet::new();
    for (at, line) in lines.iter().enumerate() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap();
            assert!(seen.insert(name.to_owned()), "{name} twice");
            assert!(lines[at - 1].starts_with(&format!("# HELP {name} ")));
        }
    }
    assert!(page.text().ends_with('\n'));
}

#[test]
fn replicas_have_their_own_engine_label_and_share_the_work() {
    let sim = start(|c| c.replicas = 2);
    for _ in 0..3 {
        post(&sim, "/v1/completions", r#"{"prompt":[[5],[6],[7],[8]]}"#);
    }
    let page = support::metrics(&sim);
    let of =
        |engine: u32| page[&format!("vllm:generation_tokens_total{{engine=\"{engine}\",model_name=\"m\"}}")];
    assert_eq!(of(0) + of(1), 12.0 * 12.0);
    assert!(of(0) > 0.0);
    assert!(
        page.contains_key("vllm:admission_rejections_total{model_name=\"m\",reason=\"max_num_queued_reqs\"}")
    );
}

#[test]
fn the_page_can_speak_as_sglang_does() {
    let sim = start(|c| c.metrics_style = MetricsStyle::Sglang);
    post(&sim, "/v1/completions", r#"{"prompt":[5,6,7]}"#);
    let page = get(&sim, "/metrics");
    let text = page.text();
    assert!(
        text.contains("\nsglang:generation_tokens_total{model_name=\"m\"} 12.0\n"),
        "{text}"
    );
    assert!(!text.contains("engine=") && !text.contains("vllm:"));
    let at = |part: &str| text.find(part).unwrap();
    assert!(at("sglang:time_to_first_token_seconds_sum") < at("sglang:time_to_first_token_seconds_bucket"));
    let two = start(|c| (c.metrics_style, c.replicas) = (MetricsStyle::Sglang, 2));
    assert!(
        get(&two, "/metrics")
            .text()
            .contains("sglang:num_running_reqs{dp_rank=\"1\",model_name=\"m\"} 0.0\n")
    );
}

#[test]
fn a_strict_parser_reads_every_line_and_knows_every_kind() {
    for style in [MetricsStyle::Vllm, MetricsStyle::Sglang] {
        // Label values that need escapes.
        let sim = start(|c| (c.metrics_style, c.model) = (style, "a\"b\\c".to_owned()));
        let page = get(&sim, "/metrics");
        let mut samples = 0;
        for event in exposition::Parser::new(&page.body, exposition::Format::Text) {
            match event {
                exposition::Event::Sample(sample) => {
                    assert_ne!(sample.kind, exposition::Kind::Unknown);
                    if let Some(model) = sample.labels.get("model_name") {
                        assert_eq!(model, "a\"b\\c");
                    }
                    samples += 1;
                }
                exposition::Event::Bad(bad) => panic!("{bad:?}"),
                _ => {}
            }
        }
        assert!(samples > 50, "{samples}");
    }
}
