//! Parses and validates the return values of plugins.

use std::collections::BTreeMap;

use rhai::{Dynamic, Map};
use serde::{Deserialize, Serialize};

/// A failure that a plugin found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The plugin.
    pub plugin: String,
    /// Type of the failure: one of the monitor's own, or a new one.
    pub failure: String,
    /// Whether it is present; otherwise it is predicted.
    pub present: bool,
    /// Its probability, 0 to 1; 1 if it is present.
    pub probability: f64,
    /// Seconds until it occurs, if known.
    pub secs_to_failure: Option<f64>,
    /// The reason, in words.
    pub evidence: String,
}

/// Actions that must not be used now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veto {
    /// The plugin.
    pub plugin: String,
    /// The actions.
    pub actions: Vec<String>,
    /// Why.
    pub why: String,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The plugin.
    pub plugin: String,
    /// Title.
    pub title: String,
    /// Text.
    pub text: String,
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The plugin.
    pub plugin: String,
    /// The function.
    pub function: String,
    /// What went wrong.
    pub problem: String,
    /// Whether the plugin was quarantined for it.
    pub quarantined: bool,
}

/// Longest text in bytes; longer ones are truncated.
const LONGEST_TEXT: usize = 2000;

fn number(value: &Dynamic) -> Option<f64> {
    value
        .as_float()
        .ok()
        .or_else(|| value.as_int().ok().map(|n| n as f64))
        .filter(|n| n.is_finite())
}

/// A text of a map; `None` if it is absent or `()`.
fn text(map: &Map, key: &str) -> Result<Option<String>, String> {
    let Some(value) = map.get(key).filter(|value| !value.is_unit()) else {
        return Ok(None);
    };
    let mut text = value
        .clone()
        .into_string()
        .map_err(|found| format!("{key} is a text, not {found}"))?;
    if text.len() > LONGEST_TEXT {
        let end = (0..=LONGEST_TEXT)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        text.truncate(end);
    }
    Ok(Some(text))
}

/// A valid name of a metric part, a failure or a plugin: letters, digits and `_`, at most 100 bytes.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.as_bytes()[0].is_ascii_digit()
}

pub(crate) fn numbers(value: Dynamic, most: usize) -> Result<BTreeMap<String, f64>, String> {
    if value.is_unit() {
        return Ok(BTreeMap::new());
    }
    let map = value
        .try_cast::<Map>()
        .ok_or_else(|| "it returns a map of names to numbers".to_owned())?;
    if map.len() > most {
        return Err(format!("it returns {} values; the limit is {most}", map.len()));
    }
    let mut numbers = BTreeMap::new();
    for (name, value) in map {
        if !is_name(&name) {
            return Err(format!("{name:?} is not a name: letters, digits and _"));
        }
        // `()` is no value, and a text, such as `status: "ok"`, is not turned into a number.
        if value.is_unit() || value.is::<String>() || value.is_string() {
            continue;
        }
        let value = match value.as_bool() {
            Ok(value) => f64::from(u8::from(value)),
            Err(_) => number(&value).ok_or_else(|| format!("{name} is not a finite number"))?,
        };
        numbers.insert(name.to_string(), value);
    }
    Ok(numbers)
}

pub(crate) fn findings(plugin: &str, value: Dynamic, most: usize) -> Result<Vec<Finding>, String> {
    if value.is_unit() {
        return Ok(Vec::new());
    }
    let items = if value.is_array() {
        value.into_array().map_err(str::to_owned)?
    } else {
        vec![value]
    };
    if items.len() > most {
        return Err(format!(
            "it returns {} findings; the limit is {most}",
            items.len()
        ));
    }
    items
        .into_iter()
        .map(|item| {
            let map = item
                .try_cast::<Map>()
                .ok_or_else(|| "a finding is a map".to_owned())?;
            let failure = text(&map, "failure")?
                .filter(|name| is_name(name))
                .ok_or_else(|| "a finding has a failure: letters, digits and _".to_owned())?;
            let probability = match map.get("probability") {
                None => 1.0,
                Some(value) => number(value)
                    .filter(|p| (0.0..=1.0).contains(p))
                    .ok_or_else(|| "a probability is a number from 0 to 1".to_owned())?,
            };
            let secs_to_failure = map
                .get("secs_to_failure")
                .filter(|value| !value.is_unit())
                .map(|value| {
                    number(value)
                        .filter(|secs| *secs >= 0.0)
                        .ok_or_else(|| "secs_to_failure is a number of seconds, at least 0".to_owned())
                })
                .transpose()?;
            Ok(Finding {
                plugin: plugin.to_owned(),
                failure,
                present: !map.contains_key("probability"),
                probability,
                secs_to_failure,
                evidence: text(&map, "evidence")?.unwrap_or_default(),
            })
        })
        .collect()
}

pub(crate) fn veto(plugin: &str, value: Dynamic) -> Result<Option<Veto>, String> {
    if value.is_unit() {
        return Ok(None);
    }
    let map = value
        .try_cast::<Map>()
        .ok_or_else(|| "it returns a map with veto and why".to_owned())?;
    let actions = map
        .get("veto")
        .and_then(|veto| veto.clone().into_array().ok())
        .and_then(|veto| {
            veto.into_iter()
                .take(100)
                .map(|item| item.into_string().ok())
                .collect::<Option<Vec<_>>>()
        })
        .ok_or_else(|| "veto is an array of names of actions".to_owned())?;
    Ok(Some(Veto {
        plugin: plugin.to_owned(),
        actions,
        why: text(&map, "why")?.unwrap_or_default(),
    }))
}

pub(crate) fn message(plugin: &str, value: Dynamic) -> Result<Option<Message>, String> {
    if value.is_unit() {
        return Ok(None);
    }
    let map = value
        .try_cast::<Map>()
        .ok_or_else(|| "it returns a map with title and text".to_owned())?;
    Ok(Some(Message {
        plugin: plugin.to_owned(),
        title: text(&map, "title")?.ok_or_else(|| "a message has a title".to_owned())?,
        text: text(&map, "text")?.unwrap_or_default(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, Dynamic)]) -> Dynamic {
        entries
            .iter()
            .map(|(key, value)| ((*key).into(), value.clone()))
            .collect::<Map>()
            .into()
    }

    #[test]
    fn a_value_of_another_type_is_an_error_and_not_left_out() {
        let finding = |key, value| findings("p", map(&[("failure", "hang".into()), (key, value)]), 10);
        for value in [Dynamic::from(-1.0), "soon".into(), Dynamic::from(f64::NAN)] {
            let error = finding("secs_to_failure", value).expect_err("no number of seconds");
            assert!(error.contains("secs_to_failure"), "{error}");
        }
        let error = finding("evidence", Dynamic::from(3_i64)).expect_err("no text");
        assert!(error.contains("evidence"), "{error}");
        let vetoed = map(&[
            ("veto", Dynamic::from_array(vec![])),
            ("why", Dynamic::from(3_i64)),
        ]);
        assert!(veto("p", vetoed).expect_err("no text").contains("why"));
        let told = map(&[("title", "t".into()), ("text", Dynamic::from(true))]);
        assert!(message("p", told).expect_err("no text").contains("text"));

        // `()` is what a signal without a value gives.
        for key in ["secs_to_failure", "evidence"] {
            let found = finding(key, Dynamic::UNIT).expect("nothing is no error");
            assert_eq!((found[0].secs_to_failure, found[0].evidence.as_str()), (None, ""));
        }
    }
}
