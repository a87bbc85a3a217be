//! From counters to snapshots, and from the monitor's state to what is published.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use monitor_acting::adapter;
use vllm_monitor::lifecycle::Health;
use vllm_monitor::snapshot::OwnRequests;
use vllm_monitor::{
    Decision, Evidence, FailureType, Monitor, Probe, ProbeOutcome, Signal, SnapshotBuilder, StaleAfter,
    State, Time,
};

use super::{Shared, WatchConfig, lock};
use crate::latency::Latencies;
use crate::message::FinishReason;
use crate::status::{Counters, EngineStatus, PredictionStatus, Status};
use crate::tally::{EngineTally, Tally};

/// Age from which on a count of requests in flight says nothing, in seconds: its source asks twice a second.
const IN_FLIGHT_SECS: f64 = 5.0;

pub(super) struct Observer {
    monitor: Monitor,
    state: State,
    builder: SnapshotBuilder,
    target: String,
}

impl Observer {
    pub(super) fn new(config: WatchConfig) -> Self {
        let mut builder = SnapshotBuilder::new(config.target.as_str(), StaleAfter::default());
        let limits = config.limits;
        builder.limits(limits.max_running, limits.max_queued, limits.max_model_len_tokens);
        if let Some(version) = &config.version {
            builder.version(version);
        }
        if let (Some(blocks), Some(tokens)) = (limits.kv_blocks, limits.kv_block_tokens) {
            let (blocks, tokens) = (blocks.to_string(), tokens.to_string());
            let labels = [
                ("num_gpu_blocks", blocks.as_str()),
                ("block_size", tokens.as_str()),
            ];
            builder.cache_config(&labels, Time::ZERO);
        }
        Self {
            monitor: Monitor::new(config.settings),
            state: State::default(),
            builder,
            target: config.target,
        }
    }

    /// One snapshot, one step of the monitor.
    pub(super) fn evaluate(&mut self, now: Time, tally: &Tally, shared: &Shared) -> Vec<Decision> {
        let builder = &mut self.builder;
        // This process holds the counters, so they are never older than now: an engine that stands still shows as
        // counters that do not move, never as stale ones.
        for (index, engine) in &tally.engines {
            put_engine(builder, &index.to_string(), engine, now);
        }
        builder.sample(
            "vllm:admission_rejections_total",
            &[],
            shared.rejections.load(Ordering::Relaxed) as f64,
            now,
        );
        let asleep = shared.asleep.load(Ordering::Relaxed);
        builder.sample(
            "vllm:engine_sleep_state",
            &[("sleep_state", "weights_offloaded")],
            f64::from(u8::from(asleep)),
            now,
        );
        builder.process_alive(true, now);
        let status = if shared.engine_errored.load(Ordering::Relaxed) {
            503
        } else {
            200
        };
        builder.health(Probe {
            at: now,
            outcome: ProbeOutcome::Status(status),
            connect_secs: None,
            first_byte_secs: None,
        });
        builder.own(own_requests(now, shared));
        builder.page_complete(now);
        let snapshot = builder.build(now);
        let decisions = self.monitor.step(&mut self.state, &snapshot);
        if let Some(target) = self.state.target(&self.target) {
            let at = monitor_acting::Time::from_millis(now.as_nanos().div_euclid(1_000_000));
            let horizon_secs = self.monitor.settings().parameters.alarm.horizon_secs;
            let situation = adapter::situation(&snapshot, target, at, horizon_secs, None);
            *lock(&shared.situation) = Some(situation);
        }
        decisions
    }

    pub(super) fn status(&self, now_ns: i64, tally: &Tally, shared: &Shared) -> Status {
        let counters = Counters::of(tally);
        let engines: Vec<EngineStatus> = tally
            .engines
            .iter()
            .map(|(index, engine)| EngineStatus::of(*index, engine))
            .collect();
        let running: u64 = engines.iter().map(|engine| u64::from(engine.running)).sum();
        let waiting: u64 = engines.iter().map(|engine| u64::from(engine.waiting)).sum();
        let (duration_secs, durations) = tally.engines.values().fold((0.0, 0), |(secs, count), engine| {
            (secs + engine.durations.sum, count + engine.durations.count)
        });
        let features = &self.monitor.settings().features;
        let target = self.state.target(&self.target);
        let errored = shared.engine_errored.load(Ordering::Relaxed);
        let failed = target.is_some_and(|target| target.health() == Health::Failed);
        let own = own_requests(Time::from_nanos(now_ns), shared)
            .in_flight
            .if_fresh();
        let mut finished = BTreeMap::new();
        for reason in FinishReason::ALL {
            let count = tally
                .engines
                .values()
                .map(|engine| engine.finished[reason as usize])
                .sum();
            finished.insert(reason.as_str(), count);
        }
        Status {
            monitor_active: shared.is_listening(),
            engine_attached: !tally.engines.is_empty(),
            target: self.target.clone(),
            timestamp_ns: now_ns,
            state: target
                .map_or("NOT_STARTED", |target| target.state().as_str())
                .to_owned(),
            state_reasons: target.map_or_else(Vec::new, |target| {
                target
                    .lifecycle()
                    .reasons()
                    .iter()
                    .map(Evidence::to_string)
                    .collect()
            }),
            healthy: !errored && !failed,
            active_requests: own.map_or(running + waiting, |in_flight| in_flight as u64),
            num_running_requests: running,
            num_waiting_requests: waiting,
            kv_cache_usage: engines
                .iter()
                .map(|engine| engine.kv_cache_usage)
                .reduce(f64::max),
            tokens_generated: counters.generation_tokens,
            completed_requests: counters.completed_requests,
            error_requests: counters.error_requests,
            avg_step_duration_ms: (durations > 0).then(|| duration_secs * 1e3 / durations as f64),
            mitigation_in_progress: shared.acting.load(Ordering::Relaxed),
            predictive_detection_enabled: features.enable_predictive,
            continuous_learning_enabled: features.enable_learning,
            auto_mitigation_enabled: features.enable_auto_mitigation,
            counters,
            finished_requests: finished,
            engines,
            inter_token_latency: merged(tally, |engine| &engine.inter_token).summary(),
            time_to_first_token: merged(tally, |engine| &engine.first_token).summary(),
            predictions: target.map_or_else(Vec::new, |target| {
                let each = target.assessments().iter();
                each.map(|(failure_type, assessment)| PredictionStatus::of(*failure_type, assessment))
                    .collect()
            }),
            alerts: target.map_or_else(Vec::new, |target| {
                let firing = target.firing_alerts().into_iter();
                firing
                    .map(|(failure_type, kind)| format!("{failure_type} {kind:?}").to_lowercase())
                    .collect()
            }),
            prediction_accuracy: target.map_or_else(BTreeMap::new, |target| {
                FailureType::ALL
                    .into_iter()
                    .filter_map(|failure_type| {
                        Some((failure_type.as_str(), target.score(failure_type).accuracy()?))
                    })
                    .collect()
            }),
            dropped_messages: shared.dropped.load(Ordering::Relaxed),
            refused_values: shared.refused.load(Ordering::Relaxed)
                + tally
                    .engines
                    .values()
                    .map(|engine| engine.inter_token.refused() + engine.first_token.refused())
                    .sum::<u64>(),
            faults: shared.faults.load(Ordering::Relaxed),
            last_fault: lock(&shared.last_fault).clone(),
            silenced: shared.silenced.load(Ordering::Relaxed),
            record: None,
        }
    }
}

fn merged(tally: &Tally, of: impl Fn(&EngineTally) -> &Latencies) -> Latencies {
    let mut all = Latencies::default();
    for engine in tally.engines.values() {
        all.merge(of(engine));
    }
    all
}

fn own_requests(now: Time, shared: &Shared) -> OwnRequests {
    let in_flight = shared.in_flight.load(Ordering::Relaxed);
    if in_flight < 0 {
        return OwnRequests::default();
    }
    let at = Time::from_nanos(shared.in_flight_at_ns.load(Ordering::Relaxed));
    let aged = |value: f64| Signal::aged(value, now.secs_since(at), IN_FLIGHT_SECS);
    OwnRequests {
        in_flight: aged(in_flight as f64),
        queued_prompt_tokens: aged(shared.queued_prompt_tokens.load(Ordering::Relaxed) as f64),
        ..OwnRequests::default()
    }
}

fn put_engine(builder: &mut SnapshotBuilder, index: &str, engine: &EngineTally, now: Time) {
    let labels = [("engine", index)];
    let last = &engine.last;
    for (name, value) in [
        ("vllm:num_requests_running", f64::from(last.running)),
        (
            "vllm:num_requests_waiting",
            f64::from(last.waiting + last.deferred),
        ),
        ("vllm:kv_cache_usage_perc", last.kv_usage_ratio),
        ("vllm_monitor_engine_steps_total", engine.steps as f64),
        (
            "vllm:iteration_tokens_total_count",
            engine.steps_with_output as f64,
        ),
        ("vllm:iteration_tokens_total_sum", engine.step_tokens as f64),
        ("vllm:num_preemptions_total", engine.preemptions as f64),
        ("vllm:prompt_tokens_total", engine.prompt_tokens as f64),
        ("vllm:prompt_tokens_cached_total", engine.cached_tokens as f64),
        ("vllm:generation_tokens_total", engine.generation_tokens as f64),
        ("vllm:corrupted_requests_total", engine.corrupted as f64),
        (
            "vllm:inter_token_latency_seconds_sum",
            engine.inter_token.sum_secs(),
        ),
        (
            "vllm:inter_token_latency_seconds_count",
            engine.inter_token.count() as f64,
        ),
        (
            "vllm:time_to_first_token_seconds_sum",
            engine.first_token.sum_secs(),
        ),
        (
            "vllm:time_to_first_token_seconds_count",
            engine.first_token.count() as f64,
        ),
        ("vllm:request_queue_time_seconds_sum", engine.queued.sum),
        (
            "vllm:request_queue_time_seconds_count",
            engine.queued.count as f64,
        ),
        ("vllm:request_inference_time_seconds_sum", engine.inference.sum),
        (
            "vllm:request_inference_time_seconds_count",
            engine.inference.count as f64,
        ),
        ("vllm:request_prompt_tokens_sum", engine.request_prompt_tokens.sum),
        (
            "vllm:request_prompt_tokens_count",
            engine.request_prompt_tokens.count as f64,
        ),
        (
            "vllm:request_generation_tokens_sum",
            engine.request_generation_tokens.sum,
        ),
        (
            "vllm:request_generation_tokens_count",
            engine.request_generation_tokens.count as f64,
        ),
    ] {
        builder.sample(name, &labels, value, now);
    }
    let deferred = [("engine", index), ("reason", "deferred")];
    builder.sample(
        "vllm:num_requests_waiting_by_reason",
        &deferred,
        f64::from(last.deferred),
        now,
    );
    for reason in FinishReason::ALL {
        let labels = [("engine", index), ("finished_reason", reason.as_str())];
        let count = engine.finished[reason as usize] as f64;
        builder.sample("vllm:request_success_total", &labels, count, now);
    }
}
