//! `sut convert`: writes a stored run in another format.

use anyhow::anyhow;

use super::report::must_exist;
use crate::cli::ConvertArgs;
use crate::console::print;
use crate::exit::{Exit, Fail};

pub(super) fn run(args: &ConvertArgs) -> Result<Exit, Fail> {
    must_exist(&args.run)?;
    let made = !args.output_dir.exists();
    std::fs::create_dir_all(&args.output_dir).map_err(|error| {
        Fail::usage(anyhow!(
            "--output-dir {}: cannot make the folder: {error}",
            args.output_dir.display()
        ))
    })?;
    let converted = vllm_metrics::store::convert(&args.run, args.to.into(), &args.output_dir);
    if converted.is_err() && made {
        // Removes the folder only if it is empty and was created by this command.
        let _kept = std::fs::remove_dir(&args.output_dir);
    }
    let (written, notes) = converted.map_err(Fail::usage)?;
    for note in notes {
        tracing::warn!("{note}");
    }
    for path in written.all {
        print(&format!("{}\n", path.display()));
    }
    Ok(Exit::Valid)
}
