//! `sut alerts`: checks alert rules, exports them, and evaluates them over a stored run.

use std::path::Path;

use anyhow::Context;
use run_alerts::{RuleFile, over_run, prometheus};
use vllm_metrics::store::read_run;

use crate::cli::{AlertsAction, AlertsArgs};
use crate::console::print;
use crate::exit::{Exit, Fail};
use crate::plan::words;

/// Name of the group in an exported file.
const GROUP: &str = "recorder";

/// # Errors
/// [`Fail`] with the exit status and the message for the user.
pub(super) fn run(args: &AlertsArgs) -> Result<Exit, Fail> {
    match &args.action {
        AlertsAction::Check { rules } => {
            for rule in &read(rules)?.rules {
                print(&format!(
                    "  {:<9} {:<28} {}\n",
                    rule.severity.as_str(),
                    rule.name,
                    rule.condition
                ));
            }
            Ok(Exit::Valid)
        }
        AlertsAction::Export { rules, output } => {
            let text = prometheus::rule_file(&read(rules)?, GROUP);
            match output {
                Some(path) => std::fs::write(path, text).with_context(|| path.display().to_string())?,
                None => print(&text),
            }
            Ok(Exit::Valid)
        }
        AlertsAction::Replay { rules, run, interval } => {
            let rules = read(rules)?;
            let every = words::parse_duration(&interval.0)
                .map_err(|why| Fail::usage(anyhow::anyhow!("--interval {}: {why}", interval.0)))?;
            let run = read_run(run).map_err(Fail::usage)?;
            let changes = over_run(&rules, &run, every);
            for change in &changes {
                let secs = (change.transition.at_ns - run.manifest.started_ns) as f64 / 1e9;
                print(&format!("  {secs:>9.1} s  {}\n", change.message()));
            }
            let fired = changes.iter().filter(|change| change.begins_to_fire()).count();
            print(&format!(
                "  {} rules, {} changes, fired {fired} times\n",
                rules.rules.len(),
                changes.len()
            ));
            Ok(if fired > 0 { Exit::NotValid } else { Exit::Valid })
        }
    }
}

fn read(path: &Path) -> Result<RuleFile, Fail> {
    RuleFile::read(path).map_err(Fail::usage)
}
