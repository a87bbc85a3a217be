//! Compares ROUGE with scores of the Python packages for the same texts.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::path::Path;

use mlperf_accuracy::{
    AnswerFormat, Punkt, Sentences, Verdict, VerdictReport, find_answer, judge, rouge, rouge_report,
};

#[derive(serde::Deserialize)]
struct Case {
    reference: String,
    answer: String,
    stemmed: [f64; 4],
    plain: [f64; 4],
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("data/rouge.json")).unwrap()
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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/punkt_tab");
    let punkt = Punkt::load(&folder).unwrap();
    let cuts: Vec<Cut> = serde_json::from_str(include_str!("data/sentences.json")).unwrap();
    assert!(cuts.len() > 300);
    for cut in cuts {
        assert_eq!(punkt.sentences(&cut.text), cut.sentences, "{:?}", cut.text);
    }
}

#[test]
fn a_missing_model_says_how_to_get_it() {
    let error = Punkt::find(Some("/no/such:/nor/this"), None).map(drop);
    // The model may also be installed in a standard location.
    if let Err(error) = error {
        let text = error.to_string();
        assert!(
            text.contains("/nor/this/") || text.contains("/nor/this,"),
            "{text}"
        );
        assert!(text.contains("nltk.download"), "{text}");
    }
}

#[derive(serde::Deserialize)]
struct Answer {
    answer: String,
    plain: [Option<String>; 3],
    channels: [Option<String>; 3],
}

#[test]
fn answers_are_found_as_the_reference_finds_them() {
    let answers: Vec<Answer> = serde_json::from_str(include_str!("data/answers.json")).unwrap();
    assert!(answers.len() >= 500);
    let mut found = 0;
    for case in answers {
        for (format, expected) in [
            (AnswerFormat::Plain, case.plain),
            (AnswerFormat::Channels, case.channels),
        ] {
            for (part, expected) in ["gpqa", "mmlu_pro", "aime1983"].iter().zip(expected) {
                let got = find_answer(format, part, &case.answer);
                assert_eq!(got, expected, "{part} {format:?} {:?}", case.answer);
                found += usize::from(got.is_some());
            }
        }
    }
    assert!(found > 500, "{found}");
}

#[test]
fn only_what_can_be_compared_is_judged() {
    let mut report = VerdictReport::default();
    for (part, answer, truth, verdict) in [
        ("gpqa", "so ANSWER: B", Some("B"), Verdict::Right),
        ("gpqa", "so ANSWER: B", Some("b"), Verdict::Right),
        ("gpqa", "so ANSWER: B", None, Verdict::Wrong),
        ("gpqa", "no idea", Some("B"), Verdict::Wrong),
        ("AIME2024", "\\boxed{007}", Some("7"), Verdict::Right),
        ("aime", "Answer: 8", Some("x"), Verdict::Wrong),
        ("math500", "\\boxed{7}", Some("7"), Verdict::NotJudged),
        ("livecodebench", "```python\n```", Some("1"), Verdict::NotJudged),
        ("poems", "7", Some("7"), Verdict::NotJudged),
    ] {
        assert_eq!(
            judge(AnswerFormat::Plain, part, answer, truth),
            verdict,
            "{part} {answer}"
        );
        report.add(part, verdict);
    }
    let total = report.total();
    assert_eq!((total.right, total.wrong, total.not_judged), (3, 3, 3));
    assert_eq!(total.exact_match_percent(), Some(50.0));
    assert_eq!(report.parts["math500"].exact_match_percent(), None);
}
