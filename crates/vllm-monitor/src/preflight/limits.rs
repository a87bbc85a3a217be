//! Limits of the process: open files and locked memory.

use super::{Change, Facts, Finding, ParsedArguments};

/// Open files of a server without its connections: weights, libraries, pipes of its workers.
const BASE_FILES: u64 = 1024;
/// Connections and pipes for each request that may run.
const FILES_PER_REQUEST: u64 = 4;
/// `--max-num-seqs` of vLLM on large GPUs if it is not given.
const MOST_RUNNING: u64 = 1024;

pub(super) fn check(facts: &Facts, arguments: &ParsedArguments) -> Vec<Finding> {
    let Some(limits) = facts.limits else {
        return vec![Finding::unknown(
            "limits",
            "limits of the process were not checked",
        )];
    };
    let running = arguments
        .number("--max-num-seqs")
        .map_or(MOST_RUNNING, |n| n as u64);
    let needed = BASE_FILES + FILES_PER_REQUEST * running;
    let (soft, hard) = limits.open_files;
    let sum = format!("{soft} open files, {BASE_FILES} + {FILES_PER_REQUEST} × {running} = {needed} needed");
    let mut findings = vec![if soft >= needed {
        Finding::pass("limits", sum)
    } else if hard >= needed {
        Finding::advice("limits", sum)
            .way_out(format!("ulimit -n {needed}"))
            .fix(
                Change::OpenFiles { limit: needed },
                true,
                format!("ulimit -n {soft}"),
            )
    } else {
        Finding::advice("limits", format!("{sum}; the hard limit is {hard}"))
            .way_out("raise nofile in limits.conf or LimitNOFILE= of the unit, as root")
    }];
    let tensor_parallel = arguments.number("--tensor-parallel-size").unwrap_or(1.0);
    if let Some(locked) = limits.locked_bytes.filter(|_| tensor_parallel > 1.0)
        && locked < 1 << 30
    {
        findings.push(
            Finding::advice(
                "limits",
                format!("{locked} bytes of locked memory for several GPUs"),
            )
            .way_out("ulimit -l unlimited: links between GPUs pin memory"),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::{ArgumentTable, LimitFacts, Outcome};
    use super::*;

    fn with(open_files: (u64, u64), arguments: &[&str]) -> Finding {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let parsed = ArgumentTable::for_version(None).parse(&arguments);
        let limits = Some(LimitFacts {
            open_files,
            locked_bytes: None,
        });
        check(
            &Facts {
                limits,
                ..Facts::default()
            },
            &parsed,
        )
        .remove(0)
    }

    #[test]
    fn the_need_follows_the_batch() {
        assert_eq!(
            with((1024, 4096), &["--max-num-seqs", "16"]).outcome,
            Outcome::Fail
        );
        assert_eq!(with((65_536, 65_536), &[]).outcome, Outcome::Pass);
        let raised = with((1024, 65_536), &[]);
        assert!(
            raised
                .fix
                .is_some_and(|fix| fix.is_safe && fix.change == Change::OpenFiles { limit: 5120 })
        );
        assert!(with((1024, 1024), &[]).fix.is_none(), "the hard limit takes root");
    }
}
