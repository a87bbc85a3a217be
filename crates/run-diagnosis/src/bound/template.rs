//! Sentences of the rule table with quantities in braces.

use serde::Deserialize;
use serde::de::value::{Error, StrDeserializer};

use super::quantity::Quantity;

/// Fills in every `{quantity}`; `Err` names the quantities without a value.
pub(super) fn fill(template: &str, value: impl Fn(Quantity) -> Option<f64>) -> Result<String, Vec<Quantity>> {
    let mut filled = String::new();
    let mut missing = Vec::new();
    for part in parts(template) {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::Name(name) => match quantity(name) {
                Some(quantity) => match value(quantity) {
                    Some(value) => filled.push_str(&quantity.print(value)),
                    None => missing.push(quantity),
                },
                None => filled.push_str(name),
            },
        }
    }
    if missing.is_empty() {
        Ok(filled)
    } else {
        Err(missing)
    }
}

/// What is wrong with a template.
pub(super) fn problem(template: &str) -> Option<String> {
    parts(template).into_iter().find_map(|part| match part {
        Part::Name(name) if quantity(name).is_none() => {
            Some(format!("by_how_much has no quantity {{{name}}}"))
        }
        _ => None,
    })
}

enum Part<'a> {
    Text(&'a str),
    Name(&'a str),
}

fn parts(template: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    for (i, piece) in template.split(['{', '}']).enumerate() {
        parts.push(if i % 2 == 0 {
            Part::Text(piece)
        } else {
            Part::Name(piece)
        });
    }
    parts
}

fn quantity(name: &str) -> Option<Quantity> {
    Quantity::deserialize(StrDeserializer::<Error>::new(name)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_filled_in_with_their_units() {
        let filled = fill(
            "from {running} to {clock_loss_ratio}.",
            |quantity| match quantity {
                Quantity::Running => Some(48.0),
                _ => Some(0.12),
            },
        );
        assert_eq!(filled.unwrap(), "from 48 to 12 %.");
        assert_eq!(fill("{running}", |_| None).unwrap_err(), [Quantity::Running]);
        assert_eq!(
            problem("{nothing} else").unwrap(),
            "by_how_much has no quantity {nothing}"
        );
    }
}
