//! The most important numbers, each with its definition and where it comes from.
//!
//! Figures over the whole run are read from the summary, those of the steady window from the window; nothing is
//! computed here.

use report_page::model::{Figure, Limit, Quantity, Relation};
use serde_json::Value;

use crate::analysis::Analysis;

pub(super) fn of(analysis: &Analysis<'_>) -> Vec<Figure> {
    let mut figures = load_generator(analysis);
    figures.extend(window(analysis));
    figures.extend(client(analysis));
    figures.extend(goodput(analysis));
    figures.extend(energy(analysis));
    figures
}

fn figure(name: &str, unit: &str, definition: &str, source: &str, quantity: Quantity) -> Figure {
    Figure {
        name: name.to_owned(),
        quantity,
        unit: unit.to_owned(),
        definition: definition.to_owned(),
        source: source.to_owned(),
        interval: None,
        limit: None,
    }
}

/// The load generator's own figures come first: they are the official ones.
fn load_generator(analysis: &Analysis<'_>) -> Vec<Figure> {
    analysis
        .judged
        .iter()
        .flat_map(|judged| &judged.figures)
        .map(|own| Figure {
            limit: limit(analysis, own.name.strip_prefix(OF_LOADGEN).unwrap_or(&own.name)),
            ..figure(
                &own.name,
                &own.unit,
                &own.definition,
                "LoadGen; the official result",
                Quantity::measured(own.value),
            )
        })
        .collect()
}

/// What the names of the load generator's figures begin with.
const OF_LOADGEN: &str = "LoadGen: ";

/// The limit on a latency, by its name.
fn limit(analysis: &Analysis<'_>, name: &str) -> Option<Limit> {
    let facts = &analysis.run.facts;
    let value = match name {
        "p99 time to first token" => facts.ttft_limit_secs,
        "p99 time per output token" => facts.tpot_limit_secs,
        _ => None,
    };
    value.map(|value| Limit {
        relation: Relation::AtMost,
        value,
    })
}

/// Whether the load generator has this figure. A limit then stands at its figure, which is the one judged: it counts
/// from the scheduled time, the client's from sending.
fn is_judged(analysis: &Analysis<'_>, name: &str) -> bool {
    analysis
        .judged
        .iter()
        .flat_map(|judged| &judged.figures)
        .any(|own| own.name.strip_prefix(OF_LOADGEN) == Some(name))
}

/// Whole run and steady window, one after the other.
fn window(analysis: &Analysis<'_>) -> Vec<Figure> {
    let source = "client";
    let definition = |name: &str| match name {
        "output token throughput" => {
            "Output tokens of completed requests that arrived in that time, per second of it: the first token of a \
             request at its time, the others evenly from then to its last. The whole run is the time from the first \
             request issued to the last answer."
        }
        name if name.ends_with("time to first token") => {
            "From sending a request to its first content token; requests issued in that time."
        }
        name if name.ends_with("time per output token") => {
            "(done − first token) / (output tokens − 1); requests issued in that time."
        }
        _ => "From sending a request to its last token; requests issued in that time.",
    };
    // The verdict has the others.
    let sentences = analysis.window.sentences().into_iter().next().unwrap_or_default();
    let why_none = sentences.split_once(". ").map_or(&*sentences, |(first, _)| first);
    let mut figures = Vec::new();
    for found in &analysis.window.figures {
        let unit = if found.unit == "s" { "seconds" } else { found.unit };
        for (where_, value) in [("whole run", found.whole_run), ("steady window", found.window)] {
            // Without a window one figure says so for all of them.
            if where_ == "steady window" && analysis.window.span.is_none() {
                continue;
            }
            let quantity = value.map_or_else(|| Quantity::absent("no request has it"), Quantity::measured);
            figures.push(Figure {
                limit: limit(analysis, found.name).filter(|_| !is_judged(analysis, found.name)),
                ..figure(
                    &format!("{}, {where_}", capital(found.name)),
                    unit,
                    definition(found.name),
                    source,
                    quantity,
                )
            });
        }
    }
    if analysis.window.span.is_none() {
        figures.push(figure(
            "Steady window",
            "seconds",
            "The stretch of the run whose figures describe the server, without its start and its drain.",
            source,
            Quantity::absent(why_none),
        ));
    }
    figures
}

fn client(analysis: &Analysis<'_>) -> Vec<Figure> {
    let requests = &analysis.summary["requests"];
    if requests.is_null() {
        return vec![figure(
            "Requests",
            "requests",
            "Requests that the harness recorded.",
            "client",
            Quantity::absent("the record has no requests"),
        )];
    }
    let number = |value: &Value, missing: &str| {
        value
            .as_f64()
            .map_or_else(|| Quantity::absent(missing), Quantity::measured)
    };
    let count = |name: &str, key: &str, definition: &str| {
        figure(
            name,
            "requests",
            definition,
            "client",
            number(&requests[key], "not recorded"),
        )
    };
    vec![
        count("Requests completed", "completed", "Answered in full."),
        count(
            "Requests failed",
            "failed",
            "Answered with an error or not at all.",
        ),
        match analysis.is_growing {
            true => figure(
                "Requests unfinished",
                "requests",
                "Not answered when the record ended.",
                "client",
                Quantity::absent("known when the run has ended"),
            ),
            false => count(
                "Requests unfinished",
                "unfinished",
                "Not answered when the record ended.",
            ),
        },
        figure(
            "Output tokens",
            "tokens",
            "Output tokens of all completed requests.",
            "client",
            number(&requests["output_tokens"], "no request says how many it had"),
        ),
    ]
}

fn goodput(analysis: &Analysis<'_>) -> Option<Figure> {
    let goodput = &analysis.summary["goodput"];
    let value = goodput["requests_per_second"].as_f64()?;
    Some(figure(
        "Goodput",
        "requests/s",
        "Completed requests per second that met every latency limit, from the first request sent to the last one done.",
        "client",
        Quantity::measured(value),
    ))
}

fn energy(analysis: &Analysis<'_>) -> Vec<Figure> {
    let energy = &analysis.summary["energy"];
    let unavailable = energy["unavailable"].as_str();
    [
        (
            "Energy per output token",
            "joules",
            "joules_per_output_token",
            "Energy of the GPUs between the first request issued and the last one answered, over the output tokens.",
        ),
        (
            "Energy of the run",
            "joules",
            "energy_joules",
            "Energy of the GPUs between the first request issued and the last one answered.",
        ),
    ]
    .into_iter()
    .map(|(name, unit, key, definition)| {
        let value = energy[key]["value"].as_f64();
        let error = energy[key]["error"].as_f64();
        let quantity = match (value, unavailable) {
            (Some(value), _) => Quantity::measured(value),
            (None, Some(why)) => Quantity::absent(why),
            (None, None) => Quantity::absent("no tokens were counted"),
        };
        Figure {
            interval: value.zip(error).map(|(value, error)| (value - error, value + error)),
            ..figure(name, unit, definition, "GPU", quantity)
        }
    })
    .collect()
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}
