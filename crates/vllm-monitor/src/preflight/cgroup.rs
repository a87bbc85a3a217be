//! Memory and CPU that the container or unit grants.

use super::{Facts, Finding, ModelLocation, gib};

/// Host memory that a server needs besides the weights it reads: Python, libraries, buffers.
const BASE_BYTES: f64 = 6e9;
/// Cores below which the API process and the engine get in each other's way.
const FEWEST_CORES: f64 = 2.0;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(cgroup) = facts.cgroup else {
        return vec![Finding::unknown("cgroup", "the cgroup was not checked")];
    };
    let mut findings = Vec::new();
    // The largest file of the weights is in memory while it is read.
    let largest = match &facts.model {
        Some(ModelLocation::Here(model)) => model.largest_file_bytes,
        _ => 0.0,
    };
    let needed = BASE_BYTES + largest;
    match cgroup.memory_limit_bytes {
        None => findings.push(Finding::pass("cgroup", "no limit of memory")),
        Some(limit) => {
            let free = limit - cgroup.memory_used_bytes;
            let sum = format!(
                "{} limit − {} used = {} free; {} + {} for the largest file of weights = {} needed",
                gib(limit),
                gib(cgroup.memory_used_bytes),
                gib(free),
                gib(BASE_BYTES),
                gib(largest),
                gib(needed)
            );
            findings.push(if free < needed {
                Finding::advice("cgroup", sum)
                    .way_out("raise the memory limit, or workers may be killed while loading")
            } else {
                Finding::pass("cgroup", sum)
            });
        }
    }
    if let Some(cores) = cgroup.cpu_cores.filter(|cores| *cores < FEWEST_CORES) {
        findings.push(
            Finding::advice("cgroup", format!("{cores} CPU cores, {FEWEST_CORES} needed"))
                .way_out("raise the CPU quota: a throttled API process looks like a slow engine"),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::{CgroupFacts, Outcome};
    use super::*;

    #[test]
    fn a_tight_limit_is_advice_with_arithmetic() {
        let facts = |limit: Option<f64>, cores| Facts {
            cgroup: Some(CgroupFacts {
                memory_limit_bytes: limit,
                memory_used_bytes: 1e9,
                cpu_cores: cores,
            }),
            ..Facts::default()
        };
        assert_eq!(check(&facts(None, None))[0].outcome, Outcome::Pass);
        let tight = check(&facts(Some(4e9), Some(0.5)));
        assert_eq!(
            (tight[0].outcome, tight[1].outcome),
            (Outcome::Fail, Outcome::Fail)
        );
        assert!(tight[0].what.contains("2.79 GiB free"), "{}", tight[0].what);
    }
}
