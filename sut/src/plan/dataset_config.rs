//! `--dataset-config`: the columns of a dataset and the length of its answers, from a YAML file as other MLPerf
//! harnesses have them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::cli::RunArgs;

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(rename = "name")]
    _name: Option<String>,
    #[serde(rename = "description")]
    _description: Option<String>,
    #[serde(default)]
    fields: Fields,
    file_format: Option<String>,
    total_sample_count: Option<usize>,
    #[serde(default)]
    model_specific: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Fields {
    input_column: Option<String>,
    input_ids_column: Option<String>,
    output_column: Option<String>,
    input_lens_column: Option<String>,
}

/// What the file says apart from flags.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Described {
    /// Number of samples that the dataset should have.
    pub(super) samples: Option<usize>,
    /// Keys without effect, one sentence each.
    pub(super) ignored: Vec<String>,
}

/// Reads the file and sets the flags that it gives and the command line does not.
///
/// # Errors
/// A description of the problem, without any line of the file.
pub(super) fn apply(path: &Path, args: &mut RunArgs) -> Result<Described, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let raw: Raw = serde_saphyr::from_str(&text)
        .map_err(|error| format!("{}: {}", path.display(), error.without_snippet()))?;
    let mut ignored = Vec::new();
    for (flag, column) in [
        (&mut args.input_column, raw.fields.input_column),
        (&mut args.input_ids_column, raw.fields.input_ids_column),
        (&mut args.output_column, raw.fields.output_column),
    ] {
        *flag = flag.take().or(column);
    }
    if raw.fields.input_lens_column.is_some() {
        ignored.push("fields.input_lens_column has no effect: prompts are counted".to_owned());
    }
    if let Some(format) = raw.file_format {
        ignored.push(format!(
            "file_format {format} has no effect: the dataset's name decides"
        ));
    }
    for (key, value) in raw.model_specific {
        let tokens = value.as_u64().and_then(|tokens| u32::try_from(tokens).ok());
        match (key.as_str(), tokens) {
            ("max_tokens", Some(tokens)) => args.max_tokens = args.max_tokens.or(Some(tokens)),
            ("max_tokens", None) => {
                return Err(format!(
                    "{}: model_specific.max_tokens is no number",
                    path.display()
                ));
            }
            _ => ignored.push(format!("model_specific.{key} has no effect")),
        }
    }
    Ok(Described {
        samples: raw.total_sample_count,
        ignored,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str, mut args: RunArgs) -> Result<(RunArgs, Described), String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.yaml");
        std::fs::write(&path, text).unwrap();
        let described = apply(&path, &mut args)?;
        Ok((args, described))
    }

    #[test]
    fn columns_and_lengths_are_taken_and_flags_win() {
        let text = "
name: cnn_eval
description: news
fields: {input_column: text, input_ids_column: tok, output_column: summary, input_lens_column: len}
file_format: json
total_sample_count: 13368
model_specific: {max_tokens: 128, default_model_name: org/m}
";
        let given = RunArgs {
            output_column: Some("mine".into()),
            ..RunArgs::default()
        };
        let (args, described) = applied(text, given).unwrap();
        assert_eq!(args.input_column.as_deref(), Some("text"));
        assert_eq!(args.output_column.as_deref(), Some("mine"));
        assert_eq!((args.max_tokens, described.samples), (Some(128), Some(13368)));
        let named = described.ignored.join("\n");
        for key in ["input_lens_column", "file_format", "default_model_name"] {
            assert!(named.contains(key), "{key} is not in {named}");
        }
    }

    #[test]
    fn mistakes_are_named_without_the_text() {
        for (text, told) in [
            ("feilds: {}\n", "feilds"),
            ("model_specific: {max_tokens: many}\n", "max_tokens"),
            ("total_sample_count: canary\n", "d.yaml"),
        ] {
            let error = applied(text, RunArgs::default()).unwrap_err();
            assert!(
                error.contains(told) && !error.contains("canary\n"),
                "{text}: {error}"
            );
        }
    }
}
