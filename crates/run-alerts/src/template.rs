//! Texts with `{{value}}` and `{{label}}`.

use std::fmt::Write as _;

use run_diagnosis::alerts::Labels;

/// A text with places for the value and for labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value,
    Label(String),
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, behind) = after
                .split_once("}}")
                .ok_or_else(|| format!("{{{{{after} has no closing }}}}"))?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(match name.trim() {
                "value" => Part::Value,
                name if is_label_name(name) => Part::Label(name.to_owned()),
                other => {
                    return Err(format!(
                        "{{{{{other}}}}} is neither value nor the name of a label"
                    ));
                }
            });
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        Ok(Self { parts })
    }

    /// The text for one alert; a label that it does not have is empty, as in Prometheus.
    pub(crate) fn render(&self, labels: &Labels, value: f64) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value => out.push_str(&shown(value)),
                Part::Label(name) => out.push_str(labels.get(name).map_or("", String::as_str)),
            }
        }
        out
    }

    /// The same text in the templates of Prometheus.
    pub(crate) fn prometheus(&self) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value => out.push_str("{{ $value | humanize }}"),
                Part::Label(name) => {
                    let _ = write!(out, "{{{{ $labels.{name} }}}}");
                }
            }
        }
        out
    }
}

pub(crate) fn is_label_name(name: &str) -> bool {
    let fits = |(at, c): (usize, char)| c.is_ascii_alphabetic() || c == '_' || (at > 0 && c.is_ascii_digit());
    !name.is_empty() && name.chars().enumerate().all(fits)
}

/// A value with four significant digits.
pub(crate) fn shown(value: f64) -> String {
    if !value.is_finite() || value == 0.0 || !(1e-4..1e9).contains(&value.abs()) {
        return if value == 0.0 || !value.is_finite() {
            value.to_string()
        } else {
            format!("{value:.3e}")
        };
    }
    let digits = 3 - (value.abs().log10().floor() as i32);
    let text = format!("{value:.*}", usize::try_from(digits).unwrap_or(0));
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_written_for_prometheus() {
        let template = Template::parse("engine {{engine}}: {{ value }} of {{none}}.").unwrap();
        let labels = Labels::from([("engine".to_owned(), "0".to_owned())]);
        assert_eq!(template.render(&labels, 0.951_234), "engine 0: 0.9512 of .");
        assert_eq!(
            template.prometheus(),
            "engine {{ $labels.engine }}: {{ $value | humanize }} of {{ $labels.none }}."
        );
        assert!(Template::parse("{{engine").unwrap_err().contains("no closing"));
        assert!(Template::parse("{{a b}}").unwrap_err().contains("neither"));
    }

    #[test]
    fn values_have_four_digits() {
        for (value, text) in [
            (0.95, "0.95"),
            (12.3456, "12.35"),
            (123_456.0, "123456"),
            (0.0, "0"),
            (1e-9, "1.000e-9"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(shown(value), text);
        }
    }
}
