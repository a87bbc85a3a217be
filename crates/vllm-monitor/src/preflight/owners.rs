//! Other supervisors that restart the server: two of them would interfere.

use super::{Facts, Finding};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(owners) = &facts.owners else {
        return vec![Finding::unknown(
            "owner",
            "whether something else restarts the server was not checked",
        )];
    };
    let mut findings: Vec<Finding> = owners
        .iter()
        .map(|owner| {
            let what = format!("{} restarts the server ({})", owner.kind, owner.policy);
            if owner.kind == "systemd" && owner.policy.contains("on-failure") {
                Finding::advice("owner", what).way_out(
                    "vLLM ends with code 0 when its engine dies, so on-failure does not restart it: use Restart=always, \
                     or start it through vllm-monitor, which ends with the right code",
                )
            } else {
                Finding::advice("owner", what).way_out("leave restarts to one of the two")
            }
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::pass("owner", "nothing else restarts the server"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::{Outcome, Owner};
    use super::*;

    #[test]
    fn systemd_on_failure_is_explained() {
        let owner = Owner {
            kind: "systemd".into(),
            policy: "Restart=on-failure".into(),
        };
        let found = check(&Facts {
            owners: Some(vec![owner]),
            ..Facts::default()
        });
        assert_eq!(found[0].outcome, Outcome::Fail);
        assert!(found[0].way_out.as_deref().is_some_and(|w| w.contains("code 0")));
        assert_eq!(
            check(&Facts {
                owners: Some(Vec::new()),
                ..Facts::default()
            })[0]
                .outcome,
            Outcome::Pass
        );
    }
}
