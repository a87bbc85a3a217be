//! GPUs and their driver.

use super::{Facts, Finding};

/// First driver of the R525 branch, the oldest that vLLM's CUDA 12 builds run on.
const OLDEST_DRIVER: u32 = 525;
/// vLLM's kernels need at least Volta.
const OLDEST_CAPABILITY: (u32, u32) = (7, 0);

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(gpus) = &facts.gpus else {
        return vec![Finding::unknown(
            "gpu",
            "GPUs could not be queried: the driver's library cannot be loaded",
        )];
    };
    if gpus.is_empty() {
        return vec![Finding::pass(
            "gpu",
            "no GPU: only a CPU build of vLLM can serve here",
        )];
    }
    let mut findings = Vec::new();
    match facts
        .driver_version
        .as_deref()
        .map(|v| (v, v.split('.').next().and_then(|n| n.parse::<u32>().ok())))
    {
        Some((text, Some(branch))) if branch < OLDEST_DRIVER => findings.push(
            Finding::blocks("driver", format!("driver {text} is older than {OLDEST_DRIVER}"))
                .way_out("install a newer driver; vLLM's CUDA 12 kernels do not load on this one"),
        ),
        Some((text, Some(_))) => findings.push(Finding::pass("driver", format!("driver {text}"))),
        Some((text, None)) => {
            findings.push(Finding::unknown(
                "driver",
                format!("driver version `{text}` is not understood"),
            ));
        }
        None => findings.push(Finding::unknown("driver", "the driver did not give its version")),
    }
    for gpu in gpus {
        let named = |text: String| format!("GPU {} ({}): {text}", gpu.index, gpu.name);
        if let Some(capability) = gpu.compute_capability
            && capability < OLDEST_CAPABILITY
        {
            let text = format!(
                "compute capability {}.{} is below 7.0",
                capability.0, capability.1
            );
            findings.push(
                Finding::blocks("gpu", named(text)).way_out("use a GPU of the Volta generation or newer"),
            );
        }
        if gpu.remap_pending == Some(true) {
            findings.push(
                Finding::advice("gpu", named("a row remap waits for a reset".into())).way_out(
                    "reset the GPU before it serves: nvidia-smi --gpu-reset -i N, with nothing running on it",
                ),
            );
        }
        if let Some(errors) = gpu.uncorrected_errors.filter(|errors| *errors > 0) {
            findings.push(
                Finding::advice(
                    "gpu",
                    named(format!("{errors} memory errors could not be corrected")),
                )
                .way_out("reset the GPU; have it inspected if they recur"),
            );
        }
    }
    let names: Vec<&str> = gpus.iter().map(|gpu| gpu.name.as_str()).collect();
    if names.windows(2).any(|pair| pair[0] != pair[1]) {
        findings.push(
            Finding::advice("gpu", format!("different GPUs: {}", names.join(", "))).way_out(
                "tensor parallelism runs at the pace of the slowest; choose with CUDA_VISIBLE_DEVICES",
            ),
        );
    } else {
        findings.push(Finding::pass("gpu", format!("{} × {}", gpus.len(), names[0])));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::{GpuFacts, Outcome};
    use super::*;

    fn gpu(index: u32) -> GpuFacts {
        GpuFacts {
            index,
            name: "H100".into(),
            total_bytes: 80e9,
            free_bytes: 80e9,
            compute_capability: Some((9, 0)),
            remap_pending: Some(false),
            uncorrected_errors: Some(0),
            processes: Vec::new(),
        }
    }

    fn outcomes(gpus: Vec<GpuFacts>, driver: &str) -> Vec<(Outcome, String)> {
        let facts = Facts {
            gpus: Some(gpus),
            driver_version: Some(driver.into()),
            ..Facts::default()
        };
        check(&facts).into_iter().map(|f| (f.outcome, f.what)).collect()
    }

    #[test]
    fn good_gpus_pass() {
        assert!(
            outcomes(vec![gpu(0), gpu(1)], "580.65.06")
                .iter()
                .all(|(o, _)| *o == Outcome::Pass)
        );
    }

    #[test]
    fn each_problem_is_named() {
        let bad = GpuFacts {
            name: "P100".into(),
            compute_capability: Some((6, 0)),
            remap_pending: Some(true),
            uncorrected_errors: Some(3),
            ..gpu(1)
        };
        let found = outcomes(vec![gpu(0), bad], "470.1");
        for words in [
            "driver 470.1",
            "6.0 is below 7.0",
            "row remap",
            "3 memory errors",
            "different GPUs",
        ] {
            assert!(
                found
                    .iter()
                    .any(|(o, what)| *o == Outcome::Fail && what.contains(words)),
                "{words}: {found:?}"
            );
        }
        assert_eq!(check(&Facts::default())[0].outcome, Outcome::Unknown);
    }
}
