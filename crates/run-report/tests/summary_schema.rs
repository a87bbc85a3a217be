//! The published JSON Schema of the summary against summaries of records with and without requests.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use run_report::{Analysis, AnalysisOptions, HarnessVerdict, OwnFigure, Validity};
use serde_json::Value;

/// The keywords of JSON Schema that the published schema uses; any other is an error.
fn check(schema: &Value, root: &Value, value: &Value, at: &str) -> Result<(), String> {
    for (keyword, rule) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$ref" => {
                let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                check(&root["$defs"][name], root, value, at)?;
            }
            "type" => {
                let types = match rule {
                    Value::Array(types) => types.clone(),
                    one => vec![one.clone()],
                };
                if !types.iter().any(|t| is(t.as_str().unwrap(), value)) {
                    return Err(format!("{at}: {value} is not of type {rule}"));
                }
            }
            "const" if rule != value => return Err(format!("{at}: {value} is not {rule}")),
            "enum" if !rule.as_array().unwrap().contains(value) => {
                return Err(format!("{at}: {value} is none of {rule}"));
            }
            "anyOf" => {
                let tried: Vec<String> = rule
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter_map(|schema| check(schema, root, value, at).err())
                    .collect();
                if tried.len() == rule.as_array().unwrap().len() {
                    return Err(format!("{at}: {}", tried.join(" / ")));
                }
            }
            "required" => {
                for key in rule.as_array().unwrap() {
                    if value.get(key.as_str().unwrap()).is_none() && value.is_object() {
                        return Err(format!("{at}: {key} is missing"));
                    }
                }
            }
            "properties" => {
                for (key, schema) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(key) {
                        check(schema, root, value, &format!("{at}.{key}"))?;
                    }
                }
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (key, value) in value.as_object().into_iter().flatten() {
                    if known.is_some_and(|known| known.contains_key(key)) {
                        continue;
                    }
                    if rule == &Value::Bool(false) {
                        return Err(format!("{at}: {key} is not in the schema"));
                    }
                    check(rule, root, value, &format!("{at}.{key}"))?;
                }
            }
            "items" => {
                for (i, value) in value.as_array().into_iter().flatten().enumerate() {
                    check(rule, root, value, &format!("{at}[{i}]"))?;
                }
            }
            "const" | "enum" | "$schema" | "$defs" | "title" | "description" => {}
            other => return Err(format!("{at}: the test does not know the keyword {other}")),
        }
    }
    Ok(())
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => false,
    }
}

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../docs/metrics_summary.schema.json")).unwrap()
}

fn assert_conforms(summary: &Value) {
    let schema = schema();
    if let Err(problem) = check(&schema, &schema, summary, "summary") {
        panic!("{problem}");
    }
}

#[test]
fn summaries_conform_to_the_published_schema() {
    let judged = HarnessVerdict {
        validity: Validity::Valid,
        result: "VALID".into(),
        reasons: vec![],
        interrupted: None,
        figures: vec![OwnFigure {
            name: "LoadGen: tokens per second".into(),
            value: 2.5,
            unit: "tokens/s".into(),
            definition: "As LoadGen counts them.".into(),
        }],
    };
    let record = support::record(300, 4.0);
    let options = AnalysisOptions {
        judged: Some(judged),
        ..AnalysisOptions::default()
    };
    let summary = Analysis::of(&record, options).summary;
    assert!(summary["requests"]["count"].as_u64().unwrap() > 1_000);
    assert!(summary["diagnosis"]["rules"].as_array().unwrap().len() > 10);
    assert_conforms(&summary);
    // What is not in the schema is noticed.
    let mut other = summary.clone();
    other["own_cost"]["dropped"]["samples"] = Value::from("none");
    assert!(check(&schema(), &schema(), &other, "summary").is_err());
    other = summary;
    other["unknown"] = Value::Null;
    assert!(check(&schema(), &schema(), &other, "summary").is_err());
}

#[test]
fn a_record_without_anything_conforms_too() {
    let record = vllm_metrics::RunData::default();
    assert_conforms(&Analysis::of(&record, AnalysisOptions::default()).summary);
}
