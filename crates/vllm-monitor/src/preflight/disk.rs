//! Room on the disks that are written to.

use super::{Change, Facts, Finding, gib};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(disks) = &facts.disks else {
        return vec![Finding::unknown("disk", "free space was not checked")];
    };
    disks
        .iter()
        .map(|disk| {
            let place = format!("{} in {}", disk.purpose, disk.path);
            if !disk.is_writable {
                return Finding::blocks("disk", format!("{place}: cannot be written to"))
                    .way_out("give the server's user the right to write there, or name another folder");
            }
            if !disk.exists {
                return Finding::advice("disk", format!("{place}: not there"))
                    .way_out("make the folder")
                    .fix(
                        Change::Folder {
                            path: disk.path.clone(),
                        },
                        true,
                        format!("remove {} if it is empty", disk.path),
                    );
            }
            let sum = format!(
                "{place}: {} free, {} needed",
                gib(disk.free_bytes),
                gib(disk.needed_bytes)
            );
            if disk.free_bytes < disk.needed_bytes {
                let lacking = gib(disk.needed_bytes - disk.free_bytes);
                Finding::blocks("disk", sum).way_out(format!(
                    "free {lacking}, or name another folder (HF_HOME, TMPDIR)"
                ))
            } else {
                Finding::pass("disk", sum)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{DiskFacts, Outcome};
    use super::*;

    #[test]
    fn room_lack_of_it_and_no_right() {
        let disk = |free: f64, is_writable| DiskFacts {
            purpose: "model cache".into(),
            path: "/cache".into(),
            free_bytes: free,
            needed_bytes: 10e9,
            exists: true,
            is_writable,
        };
        let facts = Facts {
            disks: Some(vec![disk(20e9, true), disk(5e9, true), disk(20e9, false)]),
            ..Facts::default()
        };
        let found = check(&facts);
        let outcomes: Vec<Outcome> = found.iter().map(|f| f.outcome).collect();
        assert_eq!(outcomes, [Outcome::Pass, Outcome::Fail, Outcome::Fail]);
        assert!(
            found[1]
                .way_out
                .as_deref()
                .is_some_and(|w| w.contains("4.66 GiB")),
            "{:?}",
            found[1]
        );
    }
}
