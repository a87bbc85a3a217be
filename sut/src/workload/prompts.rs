//! Converts the plan's dataset to request bodies before the test.

use anyhow::anyhow;
use bytes::Bytes;
use vllm_client::RequestBody;
use vllm_sim::ReferenceAnswer;

use crate::exit::Fail;
use crate::plan::{DatasetPlan, Generation, Plan};
use crate::server::Server;
use mlperf_dataset::{Columns, Dataset, OUTPUT_IDS_COLUMNS, Prompt, Synthetic};

/// Reads or generates the dataset, limited to `--num-samples`.
///
/// # Errors
/// [`crate::exit::Exit::Usage`] when the file cannot be used or has too few samples.
pub(crate) fn load(plan: &Plan) -> Result<Dataset, Fail> {
    let mut dataset = match &plan.dataset {
        DatasetPlan::Synthetic => {
            let made = Synthetic {
                seed: plan.seed,
                ..Synthetic::default()
            };
            Synthetic {
                samples: plan.num_samples.unwrap_or(made.samples),
                ..made
            }
            .build()
        }
        DatasetPlan::File {
            path,
            input_column,
            input_ids_column,
            output_column,
        } => {
            let columns = Columns {
                input: input_column.clone(),
                input_ids: input_ids_column.clone(),
                output: output_column.clone(),
            };
            Dataset::load(path, &columns).map_err(Fail::usage)?
        }
    };
    for note in &plan.dataset_notes {
        tracing::warn!("--dataset-config: {note}");
    }
    if let Some(wanted) = plan.dataset_samples
        && wanted != dataset.prompts.len()
    {
        tracing::warn!(
            "--dataset-config: total_sample_count is {wanted}, and {} has {} samples",
            dataset.origin,
            dataset.prompts.len()
        );
    }
    if let Some(wanted) = plan.num_samples {
        let there = dataset.prompts.len();
        if there < wanted {
            return Err(Fail::usage(anyhow!(
                "--num-samples {wanted}: {} has only {there} samples",
                dataset.origin
            )));
        }
        dataset.prompts.truncate(wanted);
    }
    if dataset.prompts.is_empty() {
        return Err(Fail::usage(anyhow!("{} has no samples", dataset.origin)));
    }
    Ok(dataset)
}

/// The simulator's answer to each prompt.
///
/// # Errors
/// [`crate::exit::Exit::Usage`] when a sample has no token ids, or no reference token ids.
pub(crate) fn references(dataset: &Dataset) -> Result<Vec<ReferenceAnswer>, Fail> {
    let answer = |index: usize, prompt: &Prompt| {
        let ids =
            |ids: &[i32]| -> Option<Vec<u32>> { ids.iter().map(|id| u32::try_from(*id).ok()).collect() };
        let output = prompt
            .reference_ids
            .as_deref()
            .filter(|output| !output.is_empty());
        let (Some(prompt_token_ids), Some(output_token_ids)) = (ids(&prompt.token_ids), output.and_then(ids))
        else {
            return Err(Fail::usage(anyhow!(
                "sample {index} of {} has no reference token ids for the simulator to answer with; they are read from \
                 a column named {}",
                dataset.origin,
                OUTPUT_IDS_COLUMNS.join(", ")
            )));
        };
        Ok(ReferenceAnswer {
            prompt_token_ids,
            output_token_ids,
        })
    };
    let prompts = dataset.prompts.iter().enumerate();
    prompts.map(|(index, prompt)| answer(index, prompt)).collect()
}

/// One body per sample.
///
/// # Errors
/// [`crate::exit::Exit::Usage`] when a prompt and its answer do not fit the served model.
pub(crate) fn bodies(plan: &Plan, dataset: &Dataset, server: &Server) -> Result<Vec<Bytes>, Fail> {
    let sampling = &plan.generation;
    let mut bodies = Vec::with_capacity(dataset.prompts.len());
    for (index, prompt) in dataset.prompts.iter().enumerate() {
        let tokens = prompt.token_ids.len() as u64 + u64::from(sampling.max_tokens);
        if let Some(limit) = server.max_model_len
            && tokens > limit
        {
            return Err(Fail::usage(anyhow!(
                "sample {index} of {} has {} prompt tokens, and with --max-tokens {} that is more than the {limit} \
                 that {} was started with (--max-model-len)",
                dataset.origin,
                prompt.token_ids.len(),
                sampling.max_tokens,
                server.model
            )));
        }
        let body = match (&prompt.text, prompt.token_ids.is_empty()) {
            (Some(text), true) => RequestBody::from_text(&server.model, text),
            (None, true) => {
                return Err(Fail::usage(anyhow!(
                    "sample {index} of {} is empty",
                    dataset.origin
                )));
            }
            _ => RequestBody::from_token_ids(&server.model, &prompt.token_ids),
        };
        bodies.push(sampling.apply(body).build());
    }
    Ok(bodies)
}

/// For each sample, the number of prompt tokens and the most tokens of its answer. A text prompt counts as
/// its bytes divided by four, since weights only affect the choice of a server.
pub(crate) fn weights(plan: &Plan, dataset: &Dataset) -> Vec<u64> {
    let most = u64::from(plan.generation.max_tokens);
    let prompt = |prompt: &Prompt| match prompt.token_ids.len() {
        0 => prompt.text.as_ref().map_or(0, |text| text.len() / 4),
        ids => ids,
    };
    dataset.prompts.iter().map(|p| prompt(p) as u64 + most).collect()
}

/// The data for requests with several prompts. They are assembled when LoadGen has chosen the samples of a
/// request, so unlike single requests they cannot be prepared before the test.
#[derive(Debug)]
pub(crate) struct BatchPrompts {
    /// Model name in requests.
    pub(crate) model: String,
    /// Token ids by sample.
    pub(crate) prompts: Vec<Vec<i32>>,
    /// How answers are generated.
    pub(crate) generation: Generation,
}

/// Prepares requests with several prompts.
///
/// # Errors
/// [`crate::exit::Exit::Usage`] when a prompt has no token ids: texts cannot be sent together.
pub(crate) fn batch_prompts(plan: &Plan, dataset: &Dataset, server: &Server) -> Result<BatchPrompts, Fail> {
    if let Some(index) = dataset
        .prompts
        .iter()
        .position(|prompt| prompt.token_ids.is_empty())
    {
        return Err(Fail::usage(anyhow!(
            "--batch-size {}: sample {index} of {} has no token ids; send one prompt a request, or a dataset of ids",
            plan.batch_size,
            dataset.origin
        )));
    }
    Ok(BatchPrompts {
        model: server.model.clone(),
        prompts: dataset
            .prompts
            .iter()
            .map(|prompt| prompt.token_ids.clone())
            .collect(),
        generation: plan.generation.clone(),
    })
}
