//! `sut submission`: from runs to the tree that MLCommons' submission checker wants (round v6.1).
//!
//! Nothing is invented: what a run's records do not know and no person has told is an error that names it. Runs that
//! are not fit are refused, and what is laid out of simulated or unfit runs says so in every file that can say it.

mod args;
mod facts;
mod files;
mod fitness;
mod logs;
mod marks;
mod outcomes;
mod readme;
mod runs;
mod tree;

use anyhow::anyhow;

pub use args::{Division, SubmissionArgs};

use crate::benchmark::BenchmarkSpec;
use crate::exit::{Exit, Fail};
use crate::report;
use marks::Mark;

/// Lays out a submission.
///
/// # Errors
/// [`Exit::Usage`] with everything that is missing or not fit; nothing has been written then.
pub fn run(args: &SubmissionArgs) -> Result<Exit, Fail> {
    for (flag, name) in [("--submitter", &args.submitter), ("--system", &args.system)] {
        check_name(flag, name)?;
    }
    let (found, runs) = runs::find(&args.runs)?;
    let spec = BenchmarkSpec::named(&runs.benchmark).map_err(Fail::usage)?;
    let reasons = fitness::reasons(&runs, &spec, args.division);
    if !reasons.is_empty() && !args.allow_unfit {
        return Err(Fail::usage(anyhow!(
            "these runs are not fit for a {} submission (--allow-unfit lays them out all the same, and marks them):\n  \
             - {}",
            args.division.as_str(),
            reasons.join("\n  - ")
        )));
    }
    let marks: Vec<Mark> = [marks::simulated(&found), marks::unfit(&reasons)]
        .into_iter()
        .flatten()
        .collect();
    let facts = facts::gather(args, &found, &marks)?;
    let tree = tree::Tree::new(args, &spec, &runs, &facts, &marks)?;
    let files = tree.files();
    files.check()?;
    let written = files.write()?;
    for mark in &marks {
        report::print(&format!("{}\n", mark.line()));
    }
    report::print(&format!(
        "laid out {} files of {} in {}\n  the whole accuracy logs stay in the runs' folders: keep them, MLCommons may ask \
         for them\n  now run MLCommons' checker: scripts/check-submission CHECKOUT {}\n",
        written,
        tree.benchmark_folder().display(),
        args.out.display(),
        args.out.display()
    ));
    Ok(Exit::Valid)
}

fn check_name(flag: &str, name: &str) -> Result<(), Fail> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._+- ".contains(c);
    if name.is_empty() || name.starts_with('.') || name.trim() != name || !name.chars().all(good) {
        return Err(Fail::usage(anyhow!(
            "{flag} {name:?}: it becomes the name of a folder, so letters, digits and . _ + - only"
        )));
    }
    Ok(())
}
