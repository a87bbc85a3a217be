//! Whole pages from generated runs.

mod sample;

use report_page::model::{Page, Run, Validity};
use report_page::{Options, render, render_with};
use sample::{Shape, cases};

#[test]
fn the_same_input_gives_the_same_bytes() {
    for (name, page) in cases::ALL.into_iter().filter(|(name, _)| *name != "hour") {
        let render = || render(&page()).expect(name);
        assert!(render() == render(), "{name}");
    }
}

#[test]
fn a_page_can_be_stored_as_json() {
    for make in [
        cases::empty,
        cases::one_request,
        cases::interrupted,
        cases::hostile,
    ] {
        let mut page = make();
        // Without the samples: serde_json reads some of their decimals with an error in the last bit.
        page.runs.iter_mut().for_each(|run| run.series.clear());
        let json = serde_json::to_string(&page).expect("it can be written");
        assert!(
            serde_json::from_str::<Page>(&json).expect("it can be read") == page,
            "{}",
            page.title
        );
    }
}

#[test]
fn recorded_text_never_becomes_markup() {
    let page = cases::hostile();
    let html = render(&page).expect("any text is allowed").html;
    // Everything before the first script element; what follows it are our scripts and blocks of base64.
    let text = html.split("<script").next().expect("split gives one");
    for wrong in ["<script", "<img src=x", "x='\"", "onload", "</script>"] {
        assert!(!text.contains(wrong), "{wrong} is in the page");
    }
    assert!(
        text.contains("{{ 7 * 7 }}"),
        "a recorded text was taken for a template"
    );
    assert!(html.contains("&lt;&#x2f;script&gt;"), "it is shown as text");
    let script_elements = html.matches("<script").count();
    let usual = render(&cases::usual()).expect("usual").html;
    assert_eq!(
        script_elements,
        usual.matches("<script").count(),
        "no element more than in a usual page"
    );
}

#[test]
fn nothing_is_loaded_from_anywhere() {
    let html = render(&cases::usual()).expect("usual").html;
    assert!(html.contains("default-src &#x27;none&#x27;") || html.contains("default-src 'none'"));
    let text = html.split("<script").next().expect("split gives one");
    for wrong in ["http://", "https://", "url(", "@import"] {
        assert!(!text.contains(wrong), "{wrong} in the page");
    }
}

#[test]
fn verdict_and_numbers_are_text() {
    let page = cases::interrupted();
    let html = render(&page).expect("interrupted").html;
    for text in [
        ">INVALID<",
        "INTERRUPTED",
        "SIGTERM after 1 min 30 s",
        "connection refused",
        "TTFT p99",
        "not evaluated: the run was interrupted",
    ] {
        assert!(html.contains(text), "{text} is missing");
    }
    let mut page = cases::interrupted();
    page.runs[0].verdict.validity = Validity::Aborted;
    let html = render(&page).expect("aborted").html;
    assert!(html.contains(">ABORTED<") && !html.contains(">INVALID<"));
    let page = cases::no_gpu();
    let html = render(&page).expect("no GPU").html;
    for text in ["SIMULATED", "this machine has no NVIDIA driver", "no GPU sampler"] {
        assert!(html.contains(text), "{text} is missing");
    }
}

#[test]
fn too_many_requests_are_sampled_and_the_reader_is_told() {
    let run = sample::run(
        "A",
        &Shape {
            requests: 3_000,
            seconds: 100,
            ..Shape::default()
        },
    );
    let options = Options {
        max_requests: 500,
        ..Options::default()
    };
    let page = sample::page("many", vec![run]);
    let rendered = render_with(&page, &options).expect("many");
    assert!(
        rendered.remarks[0].contains("of 3,000 requests are in this page"),
        "{:?}",
        rendered.remarks
    );
    assert!(rendered.html.contains("of 3,000 requests are in this page"));
    let all = render(&page).expect("many");
    assert!(all.remarks.is_empty());
    assert!(rendered.request_bytes * 4 < all.request_bytes);
}

#[test]
fn an_hour_of_a_server_fits() {
    let rendered = render(&cases::hour()).expect("an hour");
    assert!(rendered.html.len() <= 2_500_000, "{} bytes", rendered.html.len());
    assert!(
        rendered.remarks.is_empty(),
        "nothing was left out: {:?}",
        rendered.remarks
    );
    assert!(rendered.samples > 1_500_000, "{}", rendered.samples);
}

#[test]
fn a_day_stays_in_the_budget_and_says_what_was_left_out() {
    let rendered = render(&cases::day()).expect("a day");
    let budget = Options::default().max_run_bytes;
    let bytes = rendered.series_bytes + rendered.request_bytes;
    assert!(bytes <= budget, "{bytes} bytes of data, {budget} allowed");
    let said = "are drawn with the smallest, the largest and the last value";
    assert!(
        rendered.remarks.iter().any(|remark| remark.contains(said)),
        "{:?}",
        rendered.remarks
    );
    assert!(rendered.html.contains(said));
}

#[test]
fn an_empty_run_has_a_page() {
    let html = render(&Page {
        runs: vec![Run::default()],
        ..Page::default()
    })
    .expect("empty")
    .html;
    assert!(html.contains("RECORDED") && html.contains("No events were recorded"));
    render(&Page::default()).expect("not even a run");
}

#[test]
fn a_cause_is_listed_as_found_only_with_seconds_of_its_own() {
    let mut page = cases::usual();
    let start_ns = page.runs[0].origin_ns;
    let diagnosis = page.runs[0].diagnosis.as_mut().expect("the usual run has one");
    diagnosis.spans = vec![report_page::model::BoundSpan {
        start_ns,
        end_ns: start_ns + 1_000_000_000,
        rule: 3,
    }];
    diagnosis.rules[3].share_ratio = Some(1.0 / 300.0);
    diagnosis.rules[6].share_ratio = Some(0.0);
    let html = render(&page).expect("usual").html;
    assert!(html.contains("1 of 300 seconds"));
    assert!(html.contains("held only in seconds explained by an earlier rule"));
    assert!(!html.contains(">0 % of seconds</span> <span class=\"tag\">"));
    assert!(html.contains("does not apply") && html.contains("Would have ruled it out"));
}
