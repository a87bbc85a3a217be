//! `sut process`: writes the derived series of a stored run.

use std::path::Path;

use anyhow::anyhow;
use vllm_metrics::derive;
use vllm_metrics::store::{StoreFormat, read_run, write_run};

use super::report::must_exist;
use crate::cli::ProcessArgs;
use crate::console::print;
use crate::exit::{Exit, Fail};

pub(super) fn run(args: &ProcessArgs) -> Result<Exit, Fail> {
    must_exist(&args.run)?;
    let name = args.run.file_stem().unwrap_or_default().to_string_lossy();
    if name.ends_with("_processed") {
        return Err(Fail::usage(anyhow!(
            "{} holds derived series already: give the raw file, whose name has no _processed",
            args.run.display()
        )));
    }
    let format = match args.to {
        Some(format) => format.into(),
        None => StoreFormat::from_path(&args.run).ok_or_else(|| {
            Fail::usage(anyhow!(
                "{}: its name does not say which format to write: give it with --to",
                args.run.display()
            ))
        })?,
    };
    let run = read_run(&args.run).map_err(Fail::usage)?;
    for note in &run.notes {
        tracing::warn!("{note}");
    }
    let folder = match &args.output_dir {
        Some(folder) => folder.clone(),
        None if args.run.is_dir() => args.run.clone(),
        None => args.run.parent().unwrap_or(Path::new(".")).to_owned(),
    };
    std::fs::create_dir_all(&folder)
        .map_err(|error| Fail::usage(anyhow!("--output-dir {}: {error}", folder.display())))?;
    let written = write_run(&derive::process(&run), format, &folder, "_processed").map_err(Fail::usage)?;
    for path in written.all {
        print(&format!("{}\n", path.display()));
    }
    Ok(Exit::Valid)
}
