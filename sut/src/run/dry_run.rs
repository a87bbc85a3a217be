//! What `--dry-run` shows.

use mlperf_loadgen::Scenario;

use super::prepare::Prepared;
use crate::console::print;
use crate::exit::Fail;
use crate::plan::words::without_credentials;
use crate::recorder;

/// Prints the plan and asks the metrics endpoints.
pub(super) fn show(prepared: &Prepared) -> Result<(), Fail> {
    let load = &prepared.workload.load;
    let mut text = format!(
        "plan (nothing is sent):\n{}\n\nLoadGen:\n{:#?}\n",
        shown(prepared),
        load.settings
    );
    text.push_str(&format!("\nLoadGen will work with:\n{:#?}\n", load.effective));
    text.push_str(&format!("\ndataset: {}\n", prepared.workload.dataset.origin));
    text.push_str(&format!(
        "prefix caching of the server: {:?}\n",
        prepared.target.caching
    ));
    if load.settings.scenario == Scenario::Server {
        text.push_str("arrivals: Poisson, fixed by the round's seed\n");
    }
    for remark in &load.remarks {
        text.push_str(&format!("remark: {remark}\n"));
    }
    for remark in &load.unofficial {
        text.push_str(&format!("not official: {remark}\n"));
    }
    print(&text);
    if let Some(metrics) = &prepared.plan.metrics {
        for line in recorder::probe(metrics, &prepared.subject())? {
            let line = line.unwrap_or_else(|why| format!("NO METRICS: {why}"));
            print(&format!("metrics: {line}\n"));
        }
    }
    Ok(())
}

/// The plan without the key and without the credentials of any URL.
fn shown(prepared: &Prepared) -> String {
    let mut plan = prepared.plan.clone();
    plan.api_key = plan.api_key.map(|_| "(redacted)".to_owned());
    without_credentials(&format!("{plan:#?}"))
}
