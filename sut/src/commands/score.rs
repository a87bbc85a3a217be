//! `sut score`: scores a stored accuracy run again.

use anyhow::anyhow;
use mlperf_accuracy::{ANSWERS, CheckedFigure, read_texts, score_folder};
use mlperf_dataset::{Columns, Dataset};
use mlperf_rules::{BenchmarkSpec, RunRecord};

use crate::cli::ScoreArgs;
use crate::console::print;
use crate::exit::{Exit, Fail};

/// Scores a run again, for example after the sentence model was installed, and rewrites its `accuracy.txt`.
///
/// # Errors
/// [`Exit::Usage`] when the folder or the dataset cannot be used.
pub(super) fn run(args: &ScoreArgs) -> Result<Exit, Fail> {
    let record = RunRecord::read(&args.run).map_err(Fail::usage)?;
    let spec = BenchmarkSpec::named(&record.benchmark).map_err(Fail::usage)?;
    let columns = Columns {
        output: args.output_column.clone(),
        ..Columns::default()
    };
    let mut dataset = Dataset::load(&args.dataset_path, &columns).map_err(Fail::usage)?;
    if dataset.prompts.len() < record.samples {
        return Err(Fail::usage(anyhow!(
            "{} has {} samples, and the run had {}: it is not the run's dataset",
            dataset.origin,
            dataset.prompts.len(),
            record.samples
        )));
    }
    dataset.prompts.truncate(record.samples);
    let path = args.run.join(ANSWERS);
    let texts = read_texts(&path).map_err(|error| Fail::usage(anyhow!("{}: {error}", path.display())))?;
    let scored = score_folder(&spec, &dataset, &args.run, &texts);
    print(&format!("{}\n", scored.word()));
    for line in scored
        .figures
        .iter()
        .map(CheckedFigure::words)
        .chain(scored.remarks.iter().cloned())
    {
        print(&format!("  {line}\n"));
    }
    Ok(Exit::counting(scored.counts()))
}
