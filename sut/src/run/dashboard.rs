//! The report, served while the run goes on.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use run_dashboard::{Dashboard, Options};
use vllm_metrics::Session;

use super::counting::{Counting, LoadProgress};
use crate::exit::Fail;
use crate::live;
use crate::plan::DashboardPlan;
use crate::shutdown::{Shutdown, ShutdownReason};

/// Longest wait at the end for open pages to load the report.
const PATIENCE: Duration = Duration::from_secs(60);

/// The run's counts, once there are any: the dashboard is started before the load.
pub(super) type SharedCounting = Arc<Mutex<Option<Counting>>>;

/// Begins to serve a session.
///
/// # Errors
/// [`crate::exit::Exit::Usage`] if the address cannot be bound.
pub(super) fn start(
    plan: &DashboardPlan,
    session: &Session,
    counting: &SharedCounting,
) -> Result<Dashboard, Fail> {
    let mut options = Options::new(plan.address);
    options.hosts.clone_from(&plan.hosts);
    let counting = Arc::clone(counting);
    let progress = move || {
        let mut counting = counting.lock().unwrap_or_else(PoisonError::into_inner);
        match counting.as_mut() {
            Some(counting) => sentences(&counting.progress()),
            None => vec!["The load has not begun.".to_owned()],
        }
    };
    let dashboard = Dashboard::start(
        &options,
        live::subscribe(session),
        session.manifest(),
        Box::new(progress),
    )
    .map_err(|error| Fail::usage(anyhow!("--dashboard-port: {error}")))?;
    tracing::info!("dashboard: {}", dashboard.url());
    Ok(dashboard)
}

fn sentences(progress: &LoadProgress) -> Vec<String> {
    let mut sentences = Vec::new();
    if !progress.forecast.is_empty() {
        sentences.push(format!("Forecast: {}.", progress.forecast));
    }
    let left = progress.left.map_or_else(String::new, |left| {
        format!(", about {:.0} s left", left.as_secs_f64())
    });
    sentences.push(format!(
        "{} of {} queries answered, {} of them failed{left}.",
        progress.done(),
        progress.total(),
        progress.failed
    ));
    sentences
}

/// Offers the report to the open pages, and stops serving.
pub(super) fn finish(dashboard: Dashboard, report: Option<PathBuf>, shutdown: &Shutdown) {
    // A user who stops the run does not want to wait.
    let stopped =
        || shutdown.now.is_cancelled() || matches!(shutdown.reason(), Some(ShutdownReason::Signal(_)));
    if report.is_some() && dashboard.clients() > 0 && !stopped() {
        tracing::info!(
            "dashboard: {} pages are open; it ends when each has loaded the report, after {} s, or with Ctrl-C",
            dashboard.clients(),
            PATIENCE.as_secs()
        );
    }
    let served = dashboard.finish(report, PATIENCE, stopped);
    tracing::info!("dashboard: {served}");
}
