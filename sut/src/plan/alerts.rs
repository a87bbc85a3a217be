//! Alert rules to be evaluated while a record is made.

use std::time::Duration;

use anyhow::anyhow;
use run_alerts::{Alerting, Receivers, RuleFile, Summary, WatchOptions};
use vllm_metrics::{EndpointConfig, FinishedRun, Session};

use super::words;
use crate::cli::RecordingArgs;
use crate::exit::Fail;

/// Shortest time between two evaluations; vLLM's whole page is read once a second at most.
const SHORTEST: Duration = Duration::from_secs(1);

/// Rules and receivers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AlertPlan {
    rules: RuleFile,
    receivers: Receivers,
    /// Time between evaluations.
    every: Duration,
    /// Longest time between two samples of a series.
    interval: Duration,
}

impl AlertPlan {
    /// Resolves the flags; adds problems to `wrong`.
    pub(super) fn resolve(
        args: &RecordingArgs,
        interval: Duration,
        endpoints: &[EndpointConfig],
        wrong: &mut Vec<String>,
    ) -> Option<Self> {
        let receivers = Receivers {
            webhooks: args.alert_webhook.clone(),
            alertmanagers: args.alertmanager.clone(),
        };
        for (flag, urls) in [
            ("--alert-webhook", &receivers.webhooks),
            ("--alertmanager", &receivers.alertmanagers),
        ] {
            for url in urls {
                wrong.extend(words::url_problem(flag, url));
            }
        }
        let Some(path) = &args.alert_rules else {
            if receivers != Receivers::default() {
                wrong.push("--alert-webhook and --alertmanager have no effect without --alert-rules".into());
            }
            return None;
        };
        let rules = RuleFile::read(path)
            .map_err(|error| wrong.push(format!("--alert-rules {error}")))
            .ok()?;
        let every = interval.max(SHORTEST);
        let own = endpoints
            .iter()
            .flat_map(|endpoint| [endpoint.interval_secs, endpoint.full_interval_secs])
            .flatten()
            .filter_map(|secs| Duration::try_from_secs_f64(secs).ok());
        Some(Self {
            rules,
            receivers,
            every,
            interval: own.fold(every, Duration::max),
        })
    }

    pub(super) fn start(&self, session: &Session) -> Result<Alerting, Fail> {
        for rule in &self.rules.rules {
            session.fact(format!("alert_rule.{}", rule.name), rule.condition.to_string());
        }
        let options = WatchOptions {
            every: self.every,
            interval: self.interval,
            receivers: self.receivers.clone(),
        };
        Alerting::start(&session.recorder(), &self.rules, &options)
            .map_err(|error| Fail::from(anyhow!(error)))
    }
}

/// A session with the alerts that watch it.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(super) session: Session,
    pub(super) alerts: Option<Alerting>,
}

impl Recording {
    /// Finishes the alerts, then the record; logs what the alerts did.
    pub(crate) fn finish(self) -> Result<FinishedRun, vllm_metrics::Error> {
        match self.alerts.map(Alerting::finish) {
            Some(Ok(summary)) => log(&summary),
            Some(Err(error)) => tracing::warn!("{error}"),
            None => {}
        }
        self.session.finish()
    }
}

impl std::ops::Deref for Recording {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

fn log(summary: &Summary) {
    tracing::info!(
        "alerts: {} evaluations, fired {} times, resolved {} times; {} notifications delivered",
        summary.evaluations,
        summary.fired,
        summary.resolved,
        summary.delivered
    );
    if !summary.firing.is_empty() {
        tracing::warn!("alerts that fire at the end: {}", summary.firing.join(", "));
    }
    if !summary.without_data.is_empty() {
        tracing::warn!(
            "rules without data at the end: {}",
            summary.without_data.join(", ")
        );
    }
    if summary.not_delivered > 0 {
        tracing::warn!(
            "{} notifications could not be delivered; the last error: {}",
            summary.not_delivered,
            summary.last_error.as_deref().unwrap_or("unknown")
        );
    }
    if summary.dropped_samples > 0 {
        tracing::warn!(
            "alerts missed {} samples: evaluation was too slow",
            summary.dropped_samples
        );
    }
}
