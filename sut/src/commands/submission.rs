//! `sut submission`: lays out stored runs as MLCommons' submission checker expects them.

use mlperf_submission::{Division, Request, lay_out};

use crate::cli::{DivisionArg, SubmissionArgs};
use crate::console::print;
use crate::exit::{Exit, Fail};

/// Lays out a submission.
///
/// # Errors
/// [`Exit::Usage`] with everything that is missing or unfit.
pub(super) fn run(args: SubmissionArgs) -> Result<Exit, Fail> {
    let request = Request {
        runs: args.runs,
        out: args.out,
        division: match args.division {
            DivisionArg::Closed => Division::Closed,
            DivisionArg::Open => Division::Open,
        },
        submitter: args.submitter,
        system: args.system,
        facts: args.facts,
        calibration: args.calibration,
        source: args.source,
        allow_unfit: args.allow_unfit,
    };
    let laid_out = lay_out(&request).map_err(Fail::usage)?;
    for mark in &laid_out.marks {
        print(&format!("{mark}\n"));
    }
    print(&format!(
        "laid out {} files in {}\n  the whole accuracy logs stay in the runs' folders: keep them, MLCommons may ask for \
         them\n  now run MLCommons' checker: scripts/check-submission CHECKOUT {}\n",
        laid_out.files,
        laid_out.folder.display(),
        request.out.display()
    ));
    Ok(Exit::Valid)
}
