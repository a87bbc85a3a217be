//! Checks, before load is sent, whether the run can be official: LoadGen's effective settings and the
//! server's against the rules. Each violation is an error with `--official`, otherwise a remark.

use anyhow::anyhow;
use mlperf_loadgen::{EffectiveSettings, Mode};
use vllm_client::PrefixCaching;

use super::Load;
use crate::exit::Fail;
use crate::plan::Plan;
use crate::server::Server;

/// The differences between the rules and both LoadGen's effective settings and the requests to the server.
pub(super) fn settings(plan: &Plan, effective: &EffectiveSettings) -> Vec<String> {
    let mut found: Vec<String> = match plan.benchmark.differences(plan.scenario, effective) {
        Ok(differences) => differences.iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    };
    let (asked, longest) = (plan.generation.max_tokens, plan.generation.rules_max_tokens);
    if asked != longest {
        found.push(format!(
            "answers have at most {asked} tokens (--max-tokens), where the rules have {longest}"
        ));
    }
    if let Some(path) = plan
        .audit_config
        .as_ref()
        .filter(|_| effective.mode == Mode::Performance)
    {
        found.push(format!(
            "the audit configuration {} is in effect (--audit-config)",
            path.display()
        ));
    }
    found
}

/// Reports what keeps the run from being official, and refuses the run if it has to be official.
///
/// # Errors
/// [`crate::exit::Exit::Usage`] with every obstacle, one per line, if `--official` was given and there is
/// any.
pub(crate) fn check(
    plan: &Plan,
    load: &mut Load,
    server: &Server,
    caching: PrefixCaching,
) -> Result<(), Fail> {
    let mut obstacles = load.unofficial.clone();
    if server.simulated() {
        obstacles.push("the server is a simulator".into());
    }
    if let Some(what) = caching_obstacle(caching) {
        obstacles.push(what.into());
    }
    if plan.official && !obstacles.is_empty() {
        return Err(Fail::usage(anyhow!(
            "nothing was sent, because --official was given and the run cannot be one:\n  - {}",
            obstacles.join("\n  - ")
        )));
    }
    if caching == PrefixCaching::On {
        let what = "prefix caching is on; MLPerf does not allow it: serve with --no-enable-prefix-caching";
        tracing::warn!("{what}");
        load.remarks.push(what.into());
    }
    if !load.unofficial.is_empty() && !server.simulated() {
        tracing::warn!("this cannot be an official run: {}", load.unofficial.join("; "));
    }
    Ok(())
}

fn caching_obstacle(caching: PrefixCaching) -> Option<&'static str> {
    match caching {
        PrefixCaching::Off => None,
        PrefixCaching::On => Some("prefix caching is on: serve with --no-enable-prefix-caching"),
        PrefixCaching::Unknown => Some(
            "the server does not report whether prefix caching is off: its metrics page has no \
             vllm:cache_config_info with enable_prefix_caching",
        ),
    }
}
