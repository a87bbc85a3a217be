//! ROUGE against scores that the Python packages gave for the same texts.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use sut::accuracy::{rouge, rouge_report};

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
    let report = rouge_report(cases.iter().map(|c| (c.reference.as_str(), c.answer.as_str())));
    let mean = cases.iter().map(|c| c.stemmed[3]).sum::<f64>() / cases.len() as f64 * 100.0;
    assert!((report.mean_percent.rouge_lsum - mean).abs() < 1e-9);
    assert_eq!(report.gen_num, cases.len());
    assert_eq!(
        report.gen_len,
        cases.iter().map(|c| c.answer.chars().count()).sum::<usize>()
    );
}
