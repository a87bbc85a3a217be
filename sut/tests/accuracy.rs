//! ROUGE against scores that the Python packages gave for the same texts.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::path::Path;

use sut::accuracy::{Punkt, Sentences, rouge, rouge_report};

#[derive(serde::Deserialize)]
struct Case {
    reference: String,
    answer: String,
    stemmed: [f64; 4],
    plain: [f64; 4],
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("data/accuracy/rouge.json")).unwrap()
}

#[test]
fn agrees_with_rouge_score() {
    for case in cases() {
        for (stemmed, expected) in [(true, case.stemmed), (false, case.plain)] {
            let got = rouge(&case.reference, &case.answer, stemmed);
            let got = [got.rouge1, got.rouge2, got.rouge_l, got.rouge_lsum];
            for (a, b) in got.iter().zip(expected) {
                assert!(
                    (a - b).abs() < 1e-12,
                    "{got:?} {expected:?}\n{}\n---\n{}",
                    case.reference,
                    case.answer
                );
            }
        }
    }
}

#[test]
fn means_are_in_percent() {
    let cases = cases();
    let report = rouge_report(
        cases.iter().map(|c| (c.reference.as_str(), c.answer.as_str())),
        None,
    );
    assert_eq!(report.sentences, Sentences::Lines);
    let mean = cases.iter().map(|c| c.stemmed[3]).sum::<f64>() / cases.len() as f64 * 100.0;
    assert!((report.mean_percent.rouge_lsum - mean).abs() < 1e-9);
    assert_eq!(report.gen_num, cases.len());
    assert_eq!(
        report.gen_len,
        cases
            .iter()
            .map(|c| c.answer.trim().chars().count())
            .sum::<usize>()
    );
}

#[derive(serde::Deserialize)]
struct Cut {
    text: String,
    sentences: Vec<String>,
}

#[test]
fn sentences_agree_with_nltk() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/accuracy/punkt_tab");
    let punkt = Punkt::load(&folder).unwrap();
    let cuts: Vec<Cut> = serde_json::from_str(include_str!("data/accuracy/sentences.json")).unwrap();
    assert!(cuts.len() > 300);
    for cut in cuts {
        assert_eq!(punkt.sentences(&cut.text), cut.sentences, "{:?}", cut.text);
    }
}

#[test]
fn a_missing_model_says_how_to_get_it() {
    let error = Punkt::find(Some("/no/such:/nor/this"), None).map(drop);
    // A machine that has the model in a usual place is fine too.
    if let Err(error) = error {
        let text = error.to_string();
        assert!(
            text.contains("/nor/this/") || text.contains("/nor/this,"),
            "{text}"
        );
        assert!(text.contains("nltk.download"), "{text}");
    }
}
