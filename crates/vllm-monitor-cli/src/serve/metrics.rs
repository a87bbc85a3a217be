//! The page of `/metrics`. A value that is not known is a missing row.

mod plugins;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use exposition::{FamilyHeader, Format, Kind, Role, SampleLine, WriteError, Writer};
use vllm_monitor::lifecycle::State as LifecycleState;
use vllm_monitor::{AlertKind, FailureType, HORIZONS_SECS, Prediction, Snapshot, TargetState};

use crate::acting::ActingStatus;
use crate::hub::{Hub, TargetView};
use crate::plugins::PluginsStatus;

/// One target's name, view and core state.
struct Row<'a> {
    name: &'a str,
    view: &'a TargetView,
    state: Option<&'a TargetState>,
}

impl Row<'_> {
    fn snapshot(&self) -> Option<&Snapshot> {
        self.view.snapshot.as_deref()
    }
}

/// Writes families and skips those without a row.
struct Page(Writer);

impl Page {
    fn rows<L: AsRef<str>>(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        rows: impl IntoIterator<Item = (Vec<(&'static str, L)>, f64)>,
    ) -> Result<(), WriteError> {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return Ok(());
        }
        self.0.family(&FamilyHeader {
            help: Some(help),
            ..FamilyHeader::new(name, kind)
        })?;
        for (labels, value) in rows {
            let labels: Vec<(&str, &str)> = labels
                .iter()
                .map(|(name, value)| (*name, value.as_ref()))
                .collect();
            self.0.sample(&SampleLine {
                labels: &labels,
                ..SampleLine::new(Role::Value, value)
            })?;
        }
        Ok(())
    }

    /// One row for each target that has the value.
    fn each(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        rows: &[Row<'_>],
        value: impl Fn(&Row<'_>) -> Option<f64>,
    ) -> Result<(), WriteError> {
        let rows = rows
            .iter()
            .filter_map(|row| Some((vec![("target", row.name)], value(row)?)));
        self.rows(name, kind, help, rows)
    }

    /// One row for each target and failure type that has the value.
    fn each_type(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        rows: &[Row<'_>],
        value: impl Fn(&TargetState, FailureType) -> Option<f64>,
    ) -> Result<(), WriteError> {
        let mut all = Vec::new();
        for row in rows {
            let Some(state) = row.state else { continue };
            for failure_type in FailureType::ALL {
                if let Some(value) = value(state, failure_type) {
                    let labels = vec![("target", row.name), ("failure_type", failure_type.as_str())];
                    all.push((labels, value));
                }
            }
        }
        self.rows(name, kind, help, all)
    }

    fn one(&mut self, name: &str, kind: Kind, help: &str, value: f64) -> Result<(), WriteError> {
        self.rows::<&str>(name, kind, help, [(Vec::new(), value)])
    }

    fn total(&mut self, name: &str, help: &str, counter: &AtomicU64) -> Result<(), WriteError> {
        self.one(name, Kind::Counter, help, counter.load(Ordering::Relaxed) as f64)
    }
}

/// The whole page in the text format.
///
/// # Errors
/// Only if a family of this module is not well-formed.
pub fn page(hub: &Hub, acting: &ActingStatus, plugins: &PluginsStatus) -> Result<String, WriteError> {
    let mut page = Page(Writer::new(Format::Text));
    hub.read(|state, views| {
        let rows: Vec<Row<'_>> = views
            .iter()
            .map(|(name, view): (&Arc<str>, _)| Row {
                name,
                view,
                state: state.target(name),
            })
            .collect();
        seed_names(&mut page, hub, &rows)?;
        states(&mut page, &rows)?;
        forecasts(&mut page, &rows)?;
        accuracy(&mut page, &rows)?;
        tasks(&mut page, &rows)
    })?;
    actions(&mut page, acting)?;
    self::plugins::families(&mut page, plugins)?;
    own(&mut page, hub)?;
    Ok(page.0.finish())
}

fn seed_names(page: &mut Page, hub: &Hub, rows: &[Row<'_>]) -> Result<(), WriteError> {
    page.each(
        "vllm:monitor_active_requests",
        Kind::Gauge,
        "Requests that the target runs and queues.",
        rows,
        |row| {
            let engine = &row.snapshot()?.engine;
            (engine.running + engine.waiting).if_fresh()
        },
    )?;
    page.each(
        "vllm:monitor_tokens_generated",
        Kind::Counter,
        "Tokens generated since observing began, across restarts of the target.",
        rows,
        |row| row.snapshot()?.engine.generation_tokens_total.last(),
    )?;
    page.total(
        "vllm:monitor_mitigation_triggered",
        "Actions that were begun.",
        &hub.totals.mitigations,
    )?;
    page.each_type(
        "vllm:monitor_prediction_accuracy",
        Kind::Gauge,
        "Share of resolved forecasts at 60 s that were on the right side of one half.",
        rows,
        |state, failure_type| state.score(failure_type).accuracy(),
    )
}

fn actions(page: &mut Page, acting: &ActingStatus) -> Result<(), WriteError> {
    let flag = |holds: bool| f64::from(u8::from(holds));
    page.one(
        "vllm:monitor_mitigation_in_progress",
        Kind::Gauge,
        "1 while an action is under way or in effect.",
        flag(acting.is_under_way()),
    )?;
    page.one(
        "vllm:monitor_acting_enabled",
        Kind::Gauge,
        "1 if actions are carried out: acting is turned on, without kill switch or tripped breaker.",
        flag(acting.acts),
    )?;
    page.one(
        "vllm:monitor_breaker_tripped",
        Kind::Gauge,
        "1 if the breaker tripped; it is reset by hand.",
        flag(acting.breaker.is_some()),
    )?;
    page.rows(
        "vllm:monitor_action_supported",
        Kind::Gauge,
        "1 if the target supports the action.",
        acting.actions.iter().map(|action| {
            let labels = vec![
                ("target", action.target.as_str()),
                ("action", action.action.as_str()),
            ];
            (labels, flag(action.supported))
        }),
    )?;
    page.rows(
        "vllm:monitor_action_confidence",
        Kind::Gauge,
        "Probability that the best action against a failure is better than doing nothing, as learned.",
        acting.best.iter().map(|best| {
            let labels = vec![
                ("target", best.target.as_str()),
                ("failure", best.failure.as_str()),
                ("action", best.action.as_str()),
            ];
            (labels, best.confidence)
        }),
    )
}

fn states(page: &mut Page, rows: &[Row<'_>]) -> Result<(), WriteError> {
    let known = rows.iter().filter_map(|row| Some((row.name, row.state?)));
    let state_rows = known.clone().flat_map(|(name, target)| {
        LifecycleState::ALL.into_iter().map(move |state| {
            let labels = vec![("target", name), ("state", state.as_str())];
            (labels, f64::from(u8::from(target.state() == state)))
        })
    });
    page.rows(
        "vllm:monitor_state",
        Kind::Gauge,
        "1 for the state in which the target is, 0 for the others.",
        state_rows,
    )?;
    page.each(
        "vllm:monitor_observed",
        Kind::Gauge,
        "1 if there is fresh data about the target.",
        rows,
        |row| Some(f64::from(u8::from(!row.state?.lifecycle().is_unobserved()))),
    )?;
    let side_rows = known.clone().flat_map(|(name, target)| {
        let side = target.lifecycle().side_states();
        [
            ("paused", side.paused),
            ("sleeping", side.sleeping),
            ("scaling", side.scaling),
            ("compiling", side.compiling),
        ]
        .map(|(word, holds)| {
            (
                vec![("target", name), ("side_state", word)],
                f64::from(u8::from(holds)),
            )
        })
    });
    page.rows(
        "vllm:monitor_side_state",
        Kind::Gauge,
        "1 while the target makes no progress for a reason that is no failure.",
        side_rows,
    )?;
    let alert_rows = known.flat_map(|(name, target)| {
        let firing = target.firing_alerts();
        FailureType::ALL.into_iter().flat_map(move |failure_type| {
            let firing = firing.clone();
            [AlertKind::Predicted, AlertKind::Present].map(|kind| {
                let labels = vec![
                    ("target", name),
                    ("failure_type", failure_type.as_str()),
                    ("kind", kind.as_str()),
                ];
                (
                    labels,
                    f64::from(u8::from(firing.contains(&(failure_type, kind)))),
                )
            })
        })
    });
    page.rows(
        "vllm:monitor_alert",
        Kind::Gauge,
        "1 while an alert is active.",
        alert_rows,
    )
}

fn forecasts(page: &mut Page, rows: &[Row<'_>]) -> Result<(), WriteError> {
    let mut probabilities = Vec::new();
    let mut times = Vec::new();
    for row in rows {
        let Some(state) = row.state else { continue };
        for (failure_type, assessment) in state.assessments() {
            let Prediction::Forecast(forecast) = &assessment.prediction else {
                continue;
            };
            let labels = |name: &'static str, value: String| {
                vec![
                    ("target", row.name.to_owned()),
                    ("failure_type", failure_type.as_str().to_owned()),
                    (name, value),
                ]
            };
            for (horizon, p) in HORIZONS_SECS.iter().zip(forecast.probability.as_array()) {
                probabilities.push((labels("horizon_seconds", horizon.to_string()), p));
            }
            if let Some(time) = forecast.time_to_failure {
                let quantiles = [
                    ("0.1", Some(time.p10_secs)),
                    ("0.5", Some(time.p50_secs)),
                    ("0.9", time.p90_secs),
                ];
                times.extend(
                    quantiles.into_iter().filter_map(|(quantile, secs)| {
                        Some((labels("quantile", quantile.to_owned()), secs?))
                    }),
                );
            }
        }
    }
    page.rows(
        "vllm:monitor_failure_probability",
        Kind::Gauge,
        "Probability that the failure begins within the horizon. No row: not enough data, or it does not apply.",
        probabilities,
    )?;
    page.rows(
        "vllm:monitor_time_to_failure_seconds",
        Kind::Gauge,
        "When the failure begins, if it is to be expected.",
        times,
    )
}

fn accuracy(page: &mut Page, rows: &[Row<'_>]) -> Result<(), WriteError> {
    let mut by_horizon: [Vec<_>; 3] = Default::default();
    for row in rows {
        let Some(state) = row.state else { continue };
        for failure_type in FailureType::ALL {
            for (horizon, scores) in HORIZONS_SECS.iter().zip(&state.score(failure_type).horizons) {
                let values = [scores.brier(), scores.skill(), scores.calibration_error()];
                for (rows, value) in by_horizon.iter_mut().zip(values) {
                    let labels = vec![
                        ("target", row.name.to_owned()),
                        ("failure_type", failure_type.as_str().to_owned()),
                        ("horizon_seconds", horizon.to_string()),
                    ];
                    rows.extend(value.map(|value| (labels, value)));
                }
            }
        }
    }
    let [brier, skill, error] = by_horizon;
    page.rows(
        "vllm:monitor_forecast_brier_score",
        Kind::Gauge,
        "Mean squared difference of probability and outcome over resolved forecasts.",
        brier,
    )?;
    page.rows(
        "vllm:monitor_forecast_skill",
        Kind::Gauge,
        "Brier skill against always forecasting the base rate; 1 is perfect, 0 no better.",
        skill,
    )?;
    page.rows(
        "vllm:monitor_forecast_calibration_error",
        Kind::Gauge,
        "Expected calibration error over ten bins.",
        error,
    )?;
    type Count = fn(&vllm_monitor::predict::score::ForecastScore) -> f64;
    let counters: [(&str, &str, Count); 5] = [
        ("vllm:monitor_failures_total", "Failures that began.", |score| {
            score.onsets
        }),
        (
            "vllm:monitor_failures_predicted_total",
            "Failures that began at least 5 s after an alarm.",
            |score| score.predicted,
        ),
        (
            "vllm:monitor_alarms_total",
            "Alarms of a predicted failure.",
            |score| score.alarms,
        ),
        (
            "vllm:monitor_false_alarms_total",
            "Alarms without a failure within 120 s.",
            |score| score.false_alarms,
        ),
        (
            "vllm:monitor_forecasts_dropped_total",
            "Forecasts that could not be resolved because the target stopped or was not observed.",
            |score| score.dropped,
        ),
    ];
    for (name, help, count) in counters {
        page.each_type(name, Kind::Counter, help, rows, |state, failure_type| {
            Some(count(state.score(failure_type)))
        })?;
    }
    page.each_type(
        "vllm:monitor_false_alarms_per_healthy_hour",
        Kind::Gauge,
        "False alarms per hour in which nothing was wrong.",
        rows,
        |state, failure_type| state.score(failure_type).false_alarms_per_healthy_hour(),
    )?;
    page.each_type(
        "vllm:monitor_alarm_lead_seconds",
        Kind::Gauge,
        "Median time from an alarm to its failure.",
        rows,
        |state, failure_type| {
            let leads = &state.score(failure_type).leads;
            leads.quantile(0.5).filter(|_| leads.total() > 0.0)
        },
    )
}

fn tasks(page: &mut Page, rows: &[Row<'_>]) -> Result<(), WriteError> {
    page.each(
        "vllm:monitor_last_step_timestamp_seconds",
        Kind::Gauge,
        "When the target was evaluated last, in seconds since the Unix epoch.",
        rows,
        |row| Some(row.snapshot()?.time.as_nanos() as f64 / 1e9),
    )?;
    page.each(
        "vllm:monitor_metrics_age_seconds",
        Kind::Gauge,
        "Age of the newest page of metrics at the newest evaluation.",
        rows,
        |row| {
            let snapshot = row.snapshot()?;
            Some(snapshot.time.secs_since(snapshot.engine.sampled_at?))
        },
    )?;
    let mut probes = Vec::new();
    for row in rows {
        let Some(snapshot) = row.snapshot() else { continue };
        for (route, probe) in [
            ("health", snapshot.http.health),
            ("metrics", snapshot.http.metrics),
        ] {
            let Some(probe) = probe.if_fresh() else { continue };
            for (part, secs) in [
                ("connect", probe.connect_secs),
                ("first_byte", probe.first_byte_secs),
            ] {
                let labels = vec![("target", row.name), ("route", route), ("part", part)];
                probes.extend(secs.map(|secs| (labels, secs)));
            }
        }
    }
    page.rows(
        "vllm:monitor_probe_seconds",
        Kind::Gauge,
        "Times of the newest probe of a route.",
        probes,
    )?;
    type Count = fn(&crate::hub::Counts) -> u64;
    let counters: [(&str, &str, Count); 8] = [
        (
            "vllm:monitor_target_steps_total",
            "Evaluations of the target.",
            |c| c.steps,
        ),
        (
            "vllm:monitor_missed_ticks_total",
            "Evaluations that were left out because one was late.",
            |c| c.missed_ticks,
        ),
        ("vllm:monitor_pages_total", "Pages of metrics read.", |c| c.pages),
        (
            "vllm:monitor_bad_lines_total",
            "Lines of metrics pages that could not be read.",
            |c| c.bad_lines,
        ),
        (
            "vllm:monitor_bad_pages_total",
            "Answers of /metrics without any sample.",
            |c| c.bad_pages,
        ),
        (
            "vllm:monitor_lost_samples_total",
            "Batches of GPU or host samples that were lost.",
            |c| c.lost_samples,
        ),
        ("vllm:monitor_canaries_total", "Canary requests sent.", |c| {
            c.canaries
        }),
        (
            "vllm:monitor_panics_total",
            "Evaluations that panicked: a defect of the monitor.",
            |c| c.panics,
        ),
    ];
    for (name, help, count) in counters {
        page.each(name, Kind::Counter, help, rows, |row| {
            Some(count(&row.view.counts) as f64)
        })?;
    }
    Ok(())
}

fn own(page: &mut Page, hub: &Hub) -> Result<(), WriteError> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64());
    if let Some(age) = hub.oldest_step_secs() {
        page.one(
            "vllm:monitor_last_full_pass_timestamp_seconds",
            Kind::Gauge,
            "Every target has been evaluated since this time, in seconds since the Unix epoch.",
            now - age,
        )?;
    }
    let totals = &hub.totals;
    page.total(
        "vllm:monitor_steps_total",
        "Evaluations of all targets.",
        &totals.steps,
    )?;
    page.one(
        "vllm:monitor_step_seconds_total",
        Kind::Counter,
        "Time spent in evaluations.",
        totals.step_nanos.load(Ordering::Relaxed) as f64 / 1e9,
    )?;
    page.total(
        "vllm:monitor_log_lines_total",
        "Lines written to the event log.",
        &totals.journal_lines,
    )?;
    page.total(
        "vllm:monitor_log_lines_lost_total",
        "Lines of the event log that could not be written.",
        &totals.journal_lost,
    )?;
    page.total(
        "vllm:monitor_state_saves_total",
        "Saves of what was learned.",
        &totals.saves,
    )?;
    page.total(
        "vllm:monitor_state_saves_failed_total",
        "Saves that failed.",
        &totals.saves_failed,
    )?;
    page.total(
        "vllm:monitor_notifications_total",
        "Notifications delivered.",
        &totals.notified.delivered,
    )?;
    page.total(
        "vllm:monitor_notifications_failed_total",
        "Notifications that could not be delivered.",
        &totals.notified.failed,
    )?;
    page.one(
        "vllm:monitor_uptime_seconds",
        Kind::Gauge,
        "How long the monitor has been running.",
        hub.uptime().as_secs_f64(),
    )?;
    let cost = OwnCost::read();
    if let Some(secs) = cost.cpu_secs {
        page.one(
            "vllm:monitor_cpu_seconds_total",
            Kind::Counter,
            "CPU time of the monitor.",
            secs,
        )?;
    }
    if let Some(bytes) = cost.resident_bytes {
        page.one(
            "vllm:monitor_resident_memory_bytes",
            Kind::Gauge,
            "Memory of the monitor.",
            bytes,
        )?;
    }
    let settings = hub.monitor().settings();
    page.rows(
        "vllm:monitor_info",
        Kind::Gauge,
        "Always 1; the labels are versions.",
        [(
            vec![
                ("version", env!("CARGO_PKG_VERSION").to_owned()),
                ("model_version", settings.model_version.clone()),
            ],
            1.0,
        )],
    )
}

/// CPU time and memory of this process.
struct OwnCost {
    cpu_secs: Option<f64>,
    resident_bytes: Option<f64>,
}

impl OwnCost {
    fn read() -> Self {
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).ok();
        let secs = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        let resident_bytes = std::fs::read_to_string("/proc/self/status")
            .ok()
            .and_then(|text| {
                let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
                let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
                Some(kib * 1024.0)
            });
        Self {
            cpu_secs: usage.map(|usage| secs(usage.user_time()) + secs(usage.system_time())),
            resident_bytes,
        }
    }
}
