//! The network between us and the server, and between servers.
//!
//! Connections that fail, are reset or are cut short are transport faults; a server that is merely busy connects quickly
//! and answers slowly. Transfers of KV blocks between servers are counted by the server.

use serde::{Deserialize, Serialize};

use super::{Observation, Predictor};
use crate::forecast::{Assessment, Condition, FailureType, Horizons, Prediction, Severity};
use crate::numeric::ewma::Ewma;
use crate::snapshot::Probe;
use crate::{Evidence, Source, Time};

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Usual time to connect, in seconds.
    usual_connect: Option<Ewma>,
    #[serde(skip)]
    live: Option<Live>,
    #[serde(skip)]
    probes: u64,
    #[serde(skip)]
    observed_secs: f64,
}

#[derive(Debug, Clone, PartialEq)]
struct Live {
    health_at: Option<Time>,
    metrics_at: Option<Time>,
    faults: Ewma,
    connect: Ewma,
    transfers: Option<f64>,
    transfer_failures: Ewma,
    last_fault: Option<String>,
}

impl Predictor for Network {
    fn failure_type(&self) -> FailureType {
        FailureType::Network
    }

    fn observe(&mut self, seen: &Observation<'_>) -> Assessment {
        let p = &seen.parameters.network;
        self.observed_secs += seen.dt_secs;
        let live = self.live.get_or_insert_with(|| Live {
            health_at: None,
            metrics_at: None,
            faults: Ewma::new(p.fault_secs),
            connect: Ewma::new(p.fault_secs),
            transfers: None,
            transfer_failures: Ewma::new(4.0 * p.fault_secs),
            last_fault: None,
        });
        let health = seen.snapshot.http.health.if_fresh();
        let metrics = seen.snapshot.http.metrics.if_fresh();
        let mut new: Vec<Probe> = Vec::with_capacity(2);
        new.extend(health.filter(|probe| live.health_at.is_none_or(|at| probe.at > at)));
        new.extend(metrics.filter(|probe| live.metrics_at.is_none_or(|at| probe.at > at)));
        live.health_at = health.map(|probe| probe.at).or(live.health_at);
        live.metrics_at = metrics.map(|probe| probe.at).or(live.metrics_at);
        for probe in &new {
            self.probes += 1;
            let faulty = probe.outcome.is_transport_fault();
            live.faults.add(f64::from(u8::from(faulty)), 1.0);
            if faulty {
                live.last_fault = Some(probe.outcome.describe());
            }
            if let Some(secs) = probe.connect_secs {
                live.connect.add(secs, 1.0);
                // Slow probes are kept out of the baseline.
                let usual = self.usual_connect.get_or_insert_with(|| Ewma::new(p.usual_secs));
                if usual
                    .mean()
                    .is_none_or(|mean| secs < (p.slow_factor * mean).max(p.slow_floor_secs))
                {
                    usual.add(secs, 1.0);
                }
            }
        }
        if let Some(total) = seen.snapshot.engine.kv_transfer_failures_total.if_fresh() {
            if let Some(before) = live.transfers
                && seen.dt_secs > 0.0
            {
                live.transfer_failures
                    .add((total - before).max(0.0) / seen.dt_secs, seen.dt_secs);
            }
            live.transfers = Some(total);
        }

        let transfer_failures_per_minute = live.transfer_failures.mean().unwrap_or(0.0) * 60.0;
        let transfers_fail = transfer_failures_per_minute > p.transfer_failures_per_minute;
        if (self.probes as f64) < p.min_probes && !transfers_fail {
            return Prediction::needs("probes", self.probes as f64, p.min_probes).into();
        }
        let faults = live.faults.mean().unwrap_or(0.0) * live.faults.weight();
        let (connect, usual) = (
            live.connect.mean().unwrap_or(0.0),
            self.usual_connect.and_then(|u| u.mean()).unwrap_or(0.0),
        );
        let slow_at = (p.slow_factor * usual).max(p.slow_floor_secs);
        let is_slow = connect > slow_at;
        let mut evidence = Vec::new();
        if faults > 0.0 {
            evidence.push(Evidence::number(
                Source::Http,
                "share of failed connections",
                faults,
                "",
            ));
            evidence.extend(
                live.last_fault
                    .clone()
                    .map(|text| Evidence::text(Source::Http, text)),
            );
        }
        evidence.push(Evidence::number(
            Source::Http,
            "time to connect",
            connect * 1e3,
            "ms",
        ));
        evidence.push(Evidence::number(
            Source::Model,
            "usual time to connect",
            usual * 1e3,
            "ms",
        ));
        if transfers_fail {
            evidence.push(Evidence::number(
                Source::Metrics,
                "failed transfers between servers",
                transfer_failures_per_minute,
                "/min",
            ));
        }
        let is_bad = faults > p.fault_ratio || is_slow || transfers_fail;
        let condition = is_bad.then(|| Condition {
            failure_type: FailureType::Network,
            severity: Severity::Degraded,
            evidence: evidence.clone(),
            advice: Some("check the network; the server itself may be well".into()),
        });
        // The probability of a lasting failure is unknown; the share of failed connections stands in for it.
        let share = (faults / p.fault_ratio.max(1e-6)).min(1.0);
        let probability = if is_bad {
            Horizons::all(0.95)
        } else {
            Horizons::all(share * share * 0.9)
        };
        let basis = (self.probes, self.observed_secs);
        let prediction = seen.forecast(FailureType::Network, probability, None, evidence, basis);
        Assessment {
            prediction,
            condition,
        }
    }
}
