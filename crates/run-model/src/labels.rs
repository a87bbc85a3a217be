//! Parses and writes the label column: JSON object text with sorted keys.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Labels by name, in the order in which they are written.
pub type Labels = BTreeMap<String, String>;

/// Parses label text. Text that is not a JSON object of strings has no labels; its row is still valid.
pub fn parse(text: &str) -> Labels {
    if text.len() <= 2 {
        return Labels::new();
    }
    serde_json::from_str(text).unwrap_or_default()
}

/// Writes labels in the format of the label column.
pub fn write(labels: &Labels) -> Arc<str> {
    Arc::from(serde_json::to_string(labels).expect("a map of strings is always JSON"))
}

/// Returns the label text with one label added or replaced.
pub fn with(text: &str, name: &str, value: &str) -> Arc<str> {
    let mut labels = parse(text);
    labels.insert(name.to_owned(), value.to_owned());
    write(&labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_out_sorted_and_values_escaped() {
        let text = with(r#"{"model_name":"a\"b","engine":"0"}"#, "derived_from", "x");
        assert_eq!(&*text, r#"{"derived_from":"x","engine":"0","model_name":"a\"b"}"#);
        assert_eq!(parse(&text)["model_name"], "a\"b");
    }

    #[test]
    fn no_labels_is_an_empty_object() {
        assert_eq!(&*write(&parse("{}")), "{}");
        assert!(parse("not json").is_empty());
    }
}
