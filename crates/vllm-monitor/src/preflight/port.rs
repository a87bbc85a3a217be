//! The port that the server would listen on.

use super::{Facts, Finding};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    vec![match &facts.port {
        None => Finding::unknown("port", "whether the port is free was not checked"),
        Some(port) if port.is_free => Finding::pass("port", format!("{} is free", port.port)),
        Some(port) => {
            let holder = port.holder.as_deref().unwrap_or("another process");
            Finding::blocks("port", format!("{} is held by {holder}", port.port))
                .way_out("end that process, or choose another --port")
        }
    }]
}

#[cfg(test)]
mod tests {
    use super::super::{Outcome, PortFacts};
    use super::*;

    #[test]
    fn free_held_and_not_known() {
        let with = |port| {
            check(&Facts {
                port,
                ..Facts::default()
            })
            .remove(0)
            .outcome
        };
        assert_eq!(with(None), Outcome::Unknown);
        assert_eq!(
            with(Some(PortFacts {
                port: 8000,
                is_free: true,
                holder: None
            })),
            Outcome::Pass
        );
        assert_eq!(
            with(Some(PortFacts {
                port: 8000,
                is_free: false,
                holder: None
            })),
            Outcome::Fail
        );
    }
}
