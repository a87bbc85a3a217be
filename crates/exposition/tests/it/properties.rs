//! Properties: what is written is read back; no bytes make the parser panic; numbers are read exactly.

use exposition::{Event, Family, Format, Kind, Page, Parser, Point, PointExemplar, Role, format_float};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

fn metric_name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z_:][a-zA-Z0-9_:]{0,40}",
        1 => "\\PC{1,12}".prop_filter("a name must not be a family's with a suffix", |s| !s.is_empty()),
        1 => Just("with\\escape\"s\nand lines".to_owned()),
    ]
}

fn labels() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![4 => "[a-zA-Z_][a-zA-Z0-9_]{0,12}", 1 => "\\PC{1,6}"];
    let value =
        prop_oneof![4 => "[a-z0-9./ -]{0,20}", 2 => any::<String>(), 1 => Just("\\\"\n\\n,}=".to_owned())];
    btree_map(name, value, 0..4).prop_map(|map| map.into_iter().collect())
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u32>().prop_map(f64::from),
        proptest::num::f64::ANY,
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(f64::NAN),
        Just(-0.0),
    ]
    // The format has one NaN.
    .prop_map(|v| if v.is_nan() { f64::NAN } else { v })
}

fn kinds(format: Format) -> Vec<Kind> {
    match format {
        Format::OpenMetrics => Kind::ALL.to_vec(),
        // Kinds that the text format can express; the others are written as the closest one.
        Format::Text => vec![
            Kind::Counter,
            Kind::Gauge,
            Kind::Histogram,
            Kind::Summary,
            Kind::Unknown,
        ],
    }
}

fn roles(kind: Kind, format: Format) -> Vec<Role> {
    match (kind, format) {
        (Kind::Counter, Format::OpenMetrics) => vec![Role::Total, Role::Created],
        (Kind::Counter, Format::Text) => vec![Role::Value, Role::Created],
        (Kind::Gauge | Kind::StateSet | Kind::Unknown, _) => vec![Role::Value],
        (Kind::Histogram, _) => vec![Role::Bucket, Role::Sum, Role::Count, Role::Created],
        (Kind::GaugeHistogram, _) => vec![Role::Bucket, Role::Sum, Role::Count],
        (Kind::Summary, _) => vec![Role::Quantile, Role::Sum, Role::Count, Role::Created],
        (Kind::Info, _) => vec![Role::Info],
    }
}

fn point(kind: Kind, format: Format) -> impl Strategy<Value = Point> {
    let exemplar = (labels(), value(), option::of(any::<i64>())).prop_map(|(labels, value, timestamp_ns)| {
        PointExemplar {
            labels,
            value,
            timestamp_ns,
        }
    });
    let exemplar = match format {
        Format::OpenMetrics => option::of(exemplar).boxed(),
        Format::Text => Just(None).boxed(),
    };
    let timestamp_ns = match format {
        Format::OpenMetrics => any::<i64>().boxed(),
        Format::Text => (-9_223_372_036_854i64..=9_223_372_036_854)
            .prop_map(|ms| ms * 1_000_000)
            .boxed(),
    };
    (
        proptest::sample::select(roles(kind, format)),
        labels(),
        value(),
        option::of(timestamp_ns),
        exemplar,
    )
        .prop_map(|(role, labels, value, timestamp_ns, exemplar)| Point {
            role,
            labels,
            value,
            timestamp_ns,
            exemplar,
        })
}

fn family(format: Format) -> impl Strategy<Value = Family> {
    proptest::sample::select(kinds(format)).prop_flat_map(move |kind| {
        let unit = option::of("[a-z]{1,8}");
        (
            metric_name(),
            option::of(any::<String>()),
            unit,
            vec(point(kind, format), 0..5),
        )
            .prop_map(move |(name, help, unit, points)| {
                let name = match &unit {
                    Some(unit) => format!("{name}_{unit}"),
                    None => name,
                };
                // A help text of one line is all that either format has.
                let help = help.map(|h| h.replace('\r', " "));
                Family {
                    name,
                    kind,
                    help,
                    unit,
                    points,
                }
            })
    })
}

fn page(format: Format) -> impl Strategy<Value = Page> {
    vec(family(format), 0..5).prop_map(|mut families| {
        // Distinct names, none of which is another one with a suffix; otherwise the page itself is ambiguous.
        for (i, family) in families.iter_mut().enumerate() {
            family.name = format!("f{i}_{}", family.name);
            while let Some(stem) = ["_total", "_info"]
                .iter()
                .find_map(|s| family.name.strip_suffix(s))
            {
                family.name = stem.to_owned();
                family.unit = None;
            }
        }
        Page { families }
    })
}

/// Compared as text, since NaN is not equal to itself; this also distinguishes -0 from 0.
fn check_round_trip(page: &Page, format: Format) -> Result<(), TestCaseError> {
    let written = page
        .write(format)
        .map_err(|e| TestCaseError::fail(e.to_string()))?;
    let (again, bad) = Page::parse(written.as_bytes(), format);
    prop_assert_eq!(bad, [], "{}", written);
    prop_assert_eq!(format!("{again:?}"), format!("{page:?}"), "{}", written);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn text_pages_survive(page in page(Format::Text)) {
        check_round_trip(&page, Format::Text)?;
    }

    #[test]
    fn openmetrics_pages_survive(page in page(Format::OpenMetrics)) {
        check_round_trip(&page, Format::OpenMetrics)?;
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..300), openmetrics: bool) {
        walk(&bytes, openmetrics)?;
    }

    #[test]
    fn no_nearly_right_text_makes_it_panic(
        text in "([a-z_]{0,3}[{]([a-z]{1,2}=\"[a-z\\\\\"]{0,3}\"[,} ]?){0,3}[}]? ?[-+0-9.eInfNa]{0,6} ?[0-9]{0,3}( # [{][}] 1)?\n?|# (TYPE|HELP|EOF|UNIT) ?[a-z\"]{0,3} ?[a-z]{0,3}\n){0,6}",
        openmetrics: bool,
    ) {
        walk(text.as_bytes(), openmetrics)?;
    }

    #[test]
    fn numbers_are_read_as_the_standard_library_does(
        digits in "[0-9]{1,21}",
        point in 0usize..22,
        exponent in option::of(-30i32..30),
        negative: bool,
    ) {
        let mut text = digits;
        if point < text.len() {
            text.insert(point, '.');
        }
        if let Some(exponent) = exponent {
            text.push_str(&format!("e{exponent:+03}"));
        }
        if negative {
            text.insert(0, '-');
        }
        check_number(&text)?;
    }

    #[test]
    fn every_double_is_read_back(value in proptest::num::f64::ANY) {
        check_number(&format_float(value))?;
        check_number(&format!("{value:e}"))?;
    }
}

fn check_number(text: &str) -> Result<(), TestCaseError> {
    let line = format!("a {text}");
    let expected: f64 = text.parse().expect("a number");
    match Parser::new(line.as_bytes(), Format::Text).next() {
        Some(Event::Sample(sample)) => prop_assert!(
            sample.value.to_bits() == expected.to_bits() || (sample.value.is_nan() && expected.is_nan()),
            "{}: {} is not {}",
            text,
            sample.value,
            expected
        ),
        other => prop_assert!(false, "{text}: {other:?}"),
    }
    Ok(())
}

/// Visits everything that a page yields; every line with content is accounted for at most once, in order.
fn walk(bytes: &[u8], openmetrics: bool) -> Result<(), TestCaseError> {
    let format = if openmetrics {
        Format::OpenMetrics
    } else {
        Format::Text
    };
    let mut last_line = 0;
    for event in Parser::new(bytes, format) {
        match event {
            Event::Sample(sample) => {
                prop_assert!(!sample.name.text().is_empty());
                prop_assert!(bytes.windows(sample.series.len()).any(|w| w == sample.series));
                for label in sample
                    .labels
                    .iter()
                    .chain(sample.exemplar().iter().flat_map(|e| e.labels))
                {
                    prop_assert!(!label.name.text().is_empty());
                    let _ = label.value();
                }
            }
            Event::Bad(error) => {
                prop_assert!(error.line > last_line);
                last_line = error.line;
                prop_assert!(!error.to_string().is_empty());
            }
            _ => {
                let _ = event.help_text();
            }
        }
    }
    Ok(())
}
