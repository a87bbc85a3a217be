//! Line by line: the result of each form of a line, and the error of each broken line.

use exposition::{Event, Format, Kind, LineError, Parser, Reason, Role, Sample};

fn events(page: &str, format: Format) -> Vec<Event<'_>> {
    Parser::new(page.as_bytes(), format).collect()
}

fn only_sample(line: &str, format: Format) -> Sample<'_> {
    let found = events(line, format);
    match found[0] {
        Event::Sample(sample) => sample,
        ref other => panic!("{line:?} gave {other:?}"),
    }
}

#[track_caller]
fn check(line: &str, name: &str, labels: &[(&str, &str)], value: f64, timestamp_ns: Option<i64>) {
    let sample = only_sample(line, Format::Text);
    assert_eq!(sample.name.text(), name);
    let found: Vec<_> = sample
        .labels
        .iter()
        .map(|l| (l.name.text().into_owned(), l.value().into_owned()))
        .collect();
    let found: Vec<_> = found.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(found, labels, "{line:?}");
    assert!(
        sample.value == value || (sample.value.is_nan() && value.is_nan()),
        "{line:?}: {}",
        sample.value
    );
    assert_eq!(sample.timestamp_ns, timestamp_ns, "{line:?}");
}

#[track_caller]
fn check_bad(line: &str, reason: Reason) {
    let page = format!("before 1\n{line}\nafter 2\n");
    let found = events(&page, Format::Text);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(matches!(found[0], Event::Sample(s) if s.value == 1.0));
    assert_eq!(
        found[1],
        Event::Bad(LineError {
            line: 2,
            reason,
            text: line.as_bytes()
        })
    );
    assert!(matches!(found[2], Event::Sample(s) if s.value == 2.0));
}

#[test]
fn usual_lines() {
    check("a 1", "a", &[], 1.0, None);
    check("a:b_c9 1.5\n", "a:b_c9", &[], 1.5, None);
    check("a{} 1", "a", &[], 1.0, None);
    check(
        "a{b=\"c\"} 1 1700000000123",
        "a",
        &[("b", "c")],
        1.0,
        Some(1_700_000_000_123_000_000),
    );
    check("a{b=\"c\",d=\"\"} -1", "a", &[("b", "c"), ("d", "")], -1.0, None);
    check("a{b=\"c\"} 1\r\n", "a", &[("b", "c")], 1.0, None);
}

#[test]
fn unusual_but_right_lines() {
    check("  \ta { b = \"c\" , } \t 1  ", "a", &[("b", "c")], 1.0, None);
    check("a{b=\"c\"}1", "a", &[("b", "c")], 1.0, None);
    check("a 1 -5", "a", &[], 1.0, Some(-5_000_000));
}

#[test]
fn label_values_may_hold_anything() {
    check(
        r#"a{b="x,y",c="}",d="a b",e="=\"\\\n"} 1"#,
        "a",
        &[("b", "x,y"), ("c", "}"), ("d", "a b"), ("e", "=\"\\\n")],
        1.0,
        None,
    );
    check("a{b=\"größe ü\"} 1", "a", &[("b", "größe ü")], 1.0, None);
    check(r#"a{b="\d"} 1"#, "a", &[("b", r"\d")], 1.0, None);
}

#[test]
fn quoted_names() {
    check(r#"{"my.name"} 1"#, "my.name", &[], 1.0, None);
    check(
        r#"{"my \"name\"","a.b"="c",d="e"} 1"#,
        "my \"name\"",
        &[("a.b", "c"), ("d", "e")],
        1.0,
        None,
    );
    let page = "# TYPE \"my.name\" histogram\n{\"my.name_bucket\",le=\"1\"} 2\n";
    let found = events(page, Format::Text);
    assert!(matches!(found[1], Event::Sample(s) if s.role == Role::Bucket && s.kind == Kind::Histogram));
}

#[test]
fn numbers() {
    for (text, value) in [
        ("0", 0.0),
        ("0.0", 0.0),
        ("+5", 5.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("1.7952775999899886e+09", 1.795_277_599_989_988_6e9),
        ("123456789012345678901234567890", 1.234_567_890_123_456_8e29),
        (
            "0.00000000000000000000000012345678901234567",
            1.234_567_890_123_456_7e-25,
        ),
        ("1e400", f64::INFINITY),
        ("5e-324", 5e-324),
        ("+Inf", f64::INFINITY),
        ("inf", f64::INFINITY),
        ("-Inf", f64::NEG_INFINITY),
        ("NaN", f64::NAN),
        ("nan", f64::NAN),
    ] {
        check(&format!("a {text}"), "a", &[], value, None);
    }
    assert!(only_sample("a -0.0", Format::Text).value.is_sign_negative());
}

#[test]
fn junk_costs_itself_only() {
    check_bad("{a=\"b\"} 1", Reason::Name);
    check_bad("9a 1", Reason::Name);
    check_bad("= 1", Reason::Name);
    check_bad("a", Reason::Value);
    check_bad("a{b=\"c\"}", Reason::Value);
    check_bad("a one", Reason::Value);
    check_bad("a 1x", Reason::Value);
    check_bad("a 1e", Reason::Value);
    check_bad("a-b 1", Reason::Value);
    check_bad("a{1=\"c\"} 1", Reason::LabelName);
    check_bad("a{=\"c\"} 1", Reason::LabelName);
    check_bad("a{,b=\"c\"} 1", Reason::LabelName);
    check_bad("a{b:c=\"c\"} 1", Reason::LabelSyntax);
    check_bad("a{b} 1", Reason::LabelSyntax);
    check_bad("a{b=c} 1", Reason::LabelSyntax);
    check_bad("a{b=\"c\" d=\"e\"} 1", Reason::LabelSyntax);
    check_bad("a{b=\"c\"", Reason::LabelSyntax);
    check_bad("a{\"b\"} 1", Reason::LabelSyntax);
    check_bad("a{b=\"c} 1", Reason::Unterminated);
    check_bad("a{b=\"c\\\"} 1", Reason::Unterminated);
    check_bad("a 1 2.5", Reason::Timestamp);
    check_bad("a 1 now", Reason::Timestamp);
    check_bad("a 1 9223372036854775807", Reason::Timestamp);
    check_bad("a 1 2 3", Reason::Trailing);
    check_bad("a 1 # nothing", Reason::Exemplar);
    check_bad("# TYPE", Reason::MetadataName);
    check_bad("# TYPE a-b gauge", Reason::MetadataName);
    check_bad("# TYPE a gadget", Reason::Type);
    check_bad("# TYPE a", Reason::Type);
    check_bad("# TYPE a gauge twice", Reason::Type);
    check_bad("  % Total    % Received % Xferd", Reason::Name);
}

#[test]
fn text_that_is_not_utf8_is_bad() {
    let found: Vec<_> = Parser::new(b"a{b=\"\xff\"} 1\na 1\n# HELP a \xff\n", Format::Text).collect();
    assert!(matches!(
        found[0],
        Event::Bad(LineError {
            line: 1,
            reason: Reason::Encoding,
            ..
        })
    ));
    assert!(matches!(found[1], Event::Sample(_)));
    assert!(matches!(
        found[2],
        Event::Bad(LineError {
            line: 3,
            reason: Reason::Encoding,
            ..
        })
    ));
}

#[test]
fn comments_and_blank_lines_yield_nothing_but_count() {
    let found = events("\n \t\r\n# a remark\n#\n# EOF\n?\n", Format::Text);
    assert_eq!(
        found,
        [Event::Bad(LineError {
            line: 6,
            reason: Reason::Name,
            text: b"?"
        })]
    );
}

#[test]
fn metadata() {
    let page = "# HELP a  two spaces, a \\\\ and a \\n break\n#TYPE a gauge\n  # TYPE\ta\t counter \n# UNIT a_seconds seconds\n# HELP a";
    let found = events(page, Format::Text);
    assert_eq!(
        found[0].help_text().as_deref(),
        Some(" two spaces, a \\ and a \n break")
    );
    assert!(matches!(
        found[1],
        Event::Type {
            kind: Kind::Gauge,
            ..
        }
    ));
    assert!(matches!(
        found[2],
        Event::Type {
            kind: Kind::Counter,
            ..
        }
    ));
    assert!(matches!(found[3], Event::Unit { unit: b"seconds", .. }));
    assert_eq!(found[4].help_text().as_deref(), Some(""));
}

#[test]
fn openmetrics_seconds_exemplars_and_end() {
    let page = "\
# TYPE req counter
req_total{a=\"b\"} 17 1520879607.789 # {trace_id=\"x,}\"} 0.5 1520879607
req_created{a=\"b\"} 1520872607.123
# TYPE size gaugehistogram
size_bucket{le=\"+Inf\"} 3 # {} 9
size_gcount 3
size_gsum 2e9
# TYPE build info
build_info{v=\"1\"} 1
# TYPE mode stateset
mode{mode=\"on\"} 1
# TYPE x unknown
x 1 1.5e9
# EOF
";
    let found = events(page, Format::OpenMetrics);
    assert_eq!(found.last(), Some(&Event::Eof));
    let samples: Vec<Sample<'_>> = found
        .into_iter()
        .filter_map(|e| match e {
            Event::Sample(sample) => Some(sample),
            _ => None,
        })
        .collect();
    let roles: Vec<_> = samples
        .iter()
        .map(|s| (s.family.text().into_owned(), s.kind, s.role))
        .collect();
    let expected = [
        ("req", Kind::Counter, Role::Total),
        ("req", Kind::Counter, Role::Created),
        ("size", Kind::GaugeHistogram, Role::Bucket),
        ("size", Kind::GaugeHistogram, Role::Count),
        ("size", Kind::GaugeHistogram, Role::Sum),
        ("build", Kind::Info, Role::Info),
        ("mode", Kind::StateSet, Role::Value),
        ("x", Kind::Unknown, Role::Value),
    ];
    assert_eq!(roles, expected.map(|(f, k, r)| (f.to_owned(), k, r)));
    assert_eq!(samples[0].timestamp_ns, Some(1_520_879_607_789_000_000));
    let exemplar = samples[0].exemplar().expect("an exemplar");
    assert_eq!(exemplar.labels.get("trace_id").as_deref(), Some("x,}"));
    assert_eq!(
        (exemplar.value, exemplar.timestamp_ns),
        (0.5, Some(1_520_879_607_000_000_000))
    );
    let exemplar = samples[2].exemplar().expect("an exemplar");
    assert!(exemplar.labels.is_empty());
    assert_eq!((exemplar.value, exemplar.timestamp_ns), (9.0, None));
    assert_eq!(samples[7].timestamp_ns, Some(1_500_000_000_000_000_000));
}

#[test]
fn openmetrics_pages_must_end_and_end_only_once() {
    let missing = events("a 1\n", Format::OpenMetrics);
    assert_eq!(
        missing[1],
        Event::Bad(LineError {
            line: 2,
            reason: Reason::MissingEof,
            text: b""
        })
    );
    let after = events("a 1\n# EOF\n\nb 2\n", Format::OpenMetrics);
    assert_eq!(
        after[2],
        Event::Bad(LineError {
            line: 4,
            reason: Reason::AfterEof,
            text: b"b 2"
        })
    );
    assert_eq!(after.len(), 3);
}

#[test]
fn formats_are_recognised() {
    assert_eq!(
        Format::from_content_type("application/openmetrics-text; version=1.0.0"),
        Format::OpenMetrics
    );
    assert_eq!(
        Format::from_content_type("text/plain; version=0.0.4; charset=utf-8"),
        Format::Text
    );
    assert_eq!(Format::detect(b"a 1\n# EOF\n"), Format::OpenMetrics);
    assert_eq!(Format::detect(b"# EOF"), Format::OpenMetrics);
    assert_eq!(Format::detect(b"a 1\n"), Format::Text);
    for format in [Format::Text, Format::OpenMetrics] {
        assert_eq!(Format::from_content_type(format.content_type()), format);
    }
}

#[test]
fn a_byte_order_mark_costs_no_line() {
    let page = "\u{feff}up 1\n\u{feff}down 2\n";
    let events: Vec<_> = Parser::new(page.as_bytes(), Format::Text).collect();
    assert!(matches!(&events[0], Event::Sample(sample) if sample.series == b"up"));
    assert!(matches!(&events[1], Event::Bad(error) if error.line == 2));
    let commented = "\u{feff}# TYPE a counter\na 1\n";
    let sample = Parser::new(commented.as_bytes(), Format::Text)
        .find_map(|event| match event {
            Event::Sample(sample) => Some(sample),
            _ => None,
        })
        .expect("a sample");
    assert_eq!(sample.kind, Kind::Counter);
}

#[test]
fn a_name_that_stands_twice_is_found() {
    let page = b"f{a=\"1\",b=\"2\",a=\"2\"} 4\ng{a=\"1\",b=\"1\"} 4\n";
    let twice: Vec<_> = Parser::new(page, Format::Text)
        .filter_map(|event| match event {
            Event::Sample(sample) => Some(sample.labels.duplicate().map(|name| name.text().into_owned())),
            _ => None,
        })
        .collect();
    assert_eq!(twice, [Some("a".to_owned()), None]);
}
