//! Whether the model is there and can be read.

use super::{Facts, Finding, ModelLocation, gib};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    match &facts.model {
        None => vec![Finding::unknown("model", "the model was not checked")],
        Some(ModelLocation::OnHub {
            name,
            is_online: true,
        }) => {
            vec![Finding::unknown(
                "model",
                format!("{name} is not here and will be fetched; its size is not known"),
            )]
        }
        Some(ModelLocation::OnHub {
            name,
            is_online: false,
        }) => vec![
            Finding::blocks(
                "model",
                format!("{name} is not here, and the hub must not be asked (HF_HUB_OFFLINE)"),
            )
            .way_out("fetch it first, or unset HF_HUB_OFFLINE"),
        ],
        Some(ModelLocation::Unusable { path, problem }) => {
            vec![
                Finding::blocks("model", format!("{path}: {problem}"))
                    .way_out("name a folder with config.json and weights"),
            ]
        }
        Some(ModelLocation::Here(model)) => {
            let mut findings = Vec::new();
            if model.config.is_none() {
                findings.push(
                    Finding::blocks(
                        "model",
                        format!("{}: no config.json that can be read", model.path),
                    )
                    .way_out("the folder is not complete: fetch the model again"),
                );
            }
            if !model.missing_files.is_empty() {
                let text = format!(
                    "{}: the index names files that are not there: {}",
                    model.path,
                    model.missing_files.join(", ")
                );
                findings.push(
                    Finding::blocks("model", text)
                        .way_out("the folder is not complete: fetch the model again"),
                );
            }
            if !model.broken_files.is_empty() {
                let text = format!("{}: {}", model.path, model.broken_files.join("; "));
                findings.push(Finding::blocks("model", text).way_out("fetch these files again"));
            }
            if findings.is_empty() {
                let weights = match model.weight_bytes {
                    Some(bytes) => format!("{} of weights in {} files", gib(bytes), model.weight_files),
                    None => "no safetensors files; the size of the weights is not known".to_owned(),
                };
                let outcome = format!("{}: {weights}", model.path);
                findings.push(match model.weight_bytes {
                    Some(_) => Finding::pass("model", outcome),
                    None => Finding::unknown("model", outcome),
                });
            }
            findings
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ModelFacts, Outcome};
    use super::*;

    fn outcome(model: Option<ModelLocation>) -> Outcome {
        check(&Facts {
            model,
            ..Facts::default()
        })
        .remove(0)
        .outcome
    }

    #[test]
    fn where_a_model_may_be() {
        let hub = |is_online| {
            Some(ModelLocation::OnHub {
                name: "a/b".into(),
                is_online,
            })
        };
        assert_eq!(outcome(None), Outcome::Unknown);
        assert_eq!(outcome(hub(true)), Outcome::Unknown);
        assert_eq!(outcome(hub(false)), Outcome::Fail);
        let unusable = ModelLocation::Unusable {
            path: "/m".into(),
            problem: "no such folder".into(),
        };
        assert_eq!(outcome(Some(unusable)), Outcome::Fail);
        let incomplete = ModelFacts {
            missing_files: vec!["model-2.safetensors".into()],
            ..ModelFacts::default()
        };
        assert_eq!(
            outcome(Some(ModelLocation::Here(Box::new(incomplete)))),
            Outcome::Fail
        );
    }
}
