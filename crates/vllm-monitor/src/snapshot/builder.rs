//! Folds series values, probes and process facts into snapshots. Live scrape, replay and simulator all use it.

use std::collections::HashMap;
use std::sync::Arc;

use vllm_metrics::catalog::Version;

use super::facts::Facts;
use super::names::{canonical, expected};
use super::series::{Combine, Field, ROWS, Row};
use super::{Gpu, Member, Snapshot, Totals, XidCount};
use crate::{Absence, Signal, Time};

/// Ages from which on values are stale, in seconds, by where they come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StaleAfter {
    /// Pages of metrics.
    pub engine_secs: f64,
    /// Probes of other routes.
    pub probe_secs: f64,
    /// GPU, host and process samplers.
    pub sampler_secs: f64,
}

impl Default for StaleAfter {
    /// 5 s, 10 s and 20 s: several of their usual intervals.
    fn default() -> Self {
        Self {
            engine_secs: 5.0,
            probe_secs: 10.0,
            sampler_secs: 20.0,
        }
    }
}

/// Series remembered, those of no use included. A page of vLLM 0.32 has about 430.
const MOST_SERIES: usize = 20_000;

/// A series that the builder knows. Valid for the builder that gave it only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesRef(usize);

/// The newest value of one series, for one row of the table.
#[derive(Debug)]
struct Known {
    row: &'static Row,
    /// Place in `members` or `gpus`.
    place: usize,
    /// The series has an older name: it counts only where the newest name is absent.
    is_alias: bool,
    xid: u64,
    value: f64,
    at: Option<Time>,
    /// What the counter had reached before its resets.
    offset: f64,
}

/// Makes the snapshots of one target.
///
/// ```
/// use vllm_monitor::{SnapshotBuilder, StaleAfter, Time};
///
/// let mut builder = SnapshotBuilder::new("http://localhost:8000", StaleAfter::default());
/// let scraped = Time::from_secs_f64(10.0);
/// builder.sample("vllm:num_requests_running", &[("engine", "0")], 3.0, scraped);
/// builder.sample("vllm:gpu_cache_usage_perc", &[], 0.4, scraped); // an older name
/// builder.page_complete(scraped);
///
/// let snapshot = builder.build(Time::from_secs_f64(10.5));
/// assert_eq!(snapshot.engine.running.if_fresh(), Some(3.0));
/// assert_eq!(snapshot.engine.kv_usage_ratio.age_secs(), Some(0.5));
/// ```
#[derive(Debug)]
pub struct SnapshotBuilder {
    target: Arc<str>,
    pub(super) stale_after: StaleAfter,
    /// By name and labels: places in `groups`, or nothing for a series that means nothing here.
    index: HashMap<String, Option<usize>>,
    /// The rows that one series feeds, as places in `known`.
    groups: Vec<Vec<usize>>,
    known: Vec<Known>,
    key: String,
    engines: Vec<Arc<str>>,
    gpus: Vec<Arc<str>>,
    lost_gpus: Vec<Arc<str>>,
    process_start: Option<f64>,
    pub(super) kv_capacity_tokens: Option<(f64, Time)>,
    pub(super) kv_block_tokens: Option<(f64, Time)>,
    pub(super) page_at: Option<Time>,
    pub(super) version: Option<Arc<str>>,
    pub(super) missing: Vec<Arc<str>>,
    checked_version: bool,
    /// Facts that are not series; kept as they were given.
    pub(super) facts: Facts,
}

impl SnapshotBuilder {
    /// A builder that knows nothing yet.
    pub fn new(target: impl Into<Arc<str>>, stale_after: StaleAfter) -> Self {
        Self {
            target: target.into(),
            stale_after,
            index: HashMap::new(),
            groups: Vec::new(),
            known: Vec::new(),
            key: String::new(),
            engines: Vec::new(),
            gpus: Vec::new(),
            lost_gpus: Vec::new(),
            process_start: None,
            kv_capacity_tokens: None,
            kv_block_tokens: None,
            page_at: None,
            version: None,
            missing: Vec::new(),
            checked_version: false,
            facts: Facts::default(),
        }
    }

    /// The series of this name and labels; `None` if it means nothing to the monitor. Ask once and keep the answer:
    /// [`SnapshotBuilder::put`] is then a store.
    pub fn series(&mut self, name: &str, labels: &[(&str, &str)]) -> Option<SeriesRef> {
        self.key.clear();
        self.key.push_str(name);
        for (label, value) in labels {
            self.key.push('\0');
            self.key.push_str(label);
            self.key.push('\0');
            self.key.push_str(value);
        }
        if let Some(known) = self.index.get(self.key.as_str()) {
            return known.map(SeriesRef);
        }
        let group = self.intern(name, labels);
        if self.index.len() >= MOST_SERIES {
            // A server's label sets may grow without bound; unused series are looked up again when they recur.
            self.index.retain(|_, known| known.is_some());
        }
        self.index.insert(self.key.clone(), group);
        group.map(SeriesRef)
    }

    fn intern(&mut self, name: &str, labels: &[(&str, &str)]) -> Option<usize> {
        let (canonical_name, part, is_alias) = canonical(name);
        let label = |wanted: &str| {
            labels
                .iter()
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| *value)
        };
        let mut rows = Vec::new();
        for row in ROWS {
            let fits = row.name == canonical_name
                && row.part == part
                && row
                    .only
                    .is_none_or(|(name, values)| label(name).is_some_and(|v| values.contains(&v)));
            if !fits {
                continue;
            }
            let place = match row.field {
                Field::Gpu(_) | Field::Xid => place_of(&mut self.gpus, label("gpu").unwrap_or("")),
                // Before 0.8 there was one engine and no label for it.
                _ => place_of(&mut self.engines, label("engine").unwrap_or("0")),
            };
            let xid = label("xid").and_then(|code| code.parse().ok()).unwrap_or(0);
            rows.push(self.known.len());
            self.known.push(Known {
                row,
                place,
                is_alias,
                xid,
                value: 0.0,
                at: None,
                offset: 0.0,
            });
        }
        if rows.is_empty() {
            return None;
        }
        self.groups.push(rows);
        Some(self.groups.len() - 1)
    }

    /// A new value of a series.
    pub fn put(&mut self, series: SeriesRef, value: f64, at: Time) {
        let Some(group) = self.groups.get(series.0) else {
            return;
        };
        let mut restarted = false;
        for place in group {
            let known = &mut self.known[*place];
            if known.row.is_counter && known.at.is_some() && value < known.value {
                known.offset += known.value;
            }
            known.value = value;
            known.at = Some(at);
            if matches!(known.row.field, Field::ProcessStart) {
                restarted = self
                    .process_start
                    .is_some_and(|before| (before - value).abs() > 1.0);
                self.process_start = Some(value);
            }
        }
        if restarted {
            // A server that was busy before may be past its old counts within one interval.
            for known in &mut self.known {
                if known.row.is_counter && matches!(known.row.field, Field::Engine(_) | Field::Http(_)) {
                    known.offset += known.value;
                    known.value = 0.0;
                }
            }
        }
    }

    /// A new value of a series that is looked up each time. Returns whether the monitor has a use for it.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64, at: Time) -> bool {
        if name == "vllm:cache_config_info" || name == "vllm:cache_config" {
            self.cache_config(labels, at);
        }
        match self.series(name, labels) {
            Some(series) => {
                self.put(series, value, at);
                true
            }
            None => false,
        }
    }

    /// The labels of `vllm:cache_config_info`. [`SnapshotBuilder::sample`] calls it; those who use
    /// [`SnapshotBuilder::put`] call it once per process of the server.
    pub fn cache_config(&mut self, labels: &[(&str, &str)], at: Time) {
        let number = |wanted: &str| {
            let (_, value) = labels.iter().find(|(name, _)| *name == wanted)?;
            value.parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0)
        };
        let block = number("block_size");
        let blocks = number("num_gpu_blocks");
        // Hybrid models pack blocks differently, so the size in tokens is right where both are given.
        let capacity = number("kv_cache_size_tokens").or_else(|| Some(block? * blocks?));
        self.kv_block_tokens = block.map(|tokens| (tokens, at)).or(self.kv_block_tokens);
        self.kv_capacity_tokens = capacity.map(|tokens| (tokens, at)).or(self.kv_capacity_tokens);
    }

    /// A whole page of metrics has been given, read at `at`. Partial pages are not announced.
    pub fn page_complete(&mut self, at: Time) {
        self.page_at = Some(at);
        if !self.checked_version {
            self.check_expected();
        }
    }

    /// The answer of `/version`.
    pub fn version(&mut self, version: &str) {
        if self.version.as_deref() != Some(version) {
            self.version = Some(version.into());
            self.checked_version = false;
        }
    }

    fn check_expected(&mut self) {
        let Some(version) = self
            .version
            .as_deref()
            .and_then(|text| text.parse::<Version>().ok())
        else {
            return;
        };
        let seen = |name: &str| {
            self.known
                .iter()
                .any(|known| known.row.name == name && known.at.is_some())
        };
        self.missing = expected(version)
            .into_iter()
            .filter(|name| !seen(name))
            .map(Arc::from)
            .collect();
        self.checked_version = true;
    }

    /// The driver no longer finds a GPU, or finds it again.
    pub fn gpu_lost(&mut self, gpu: &str, lost: bool) {
        self.lost_gpus.retain(|known| &**known != gpu);
        if lost {
            self.lost_gpus.push(gpu.into());
            place_of(&mut self.gpus, gpu);
        }
    }

    /// The snapshot as of `now`. Marks of the log go into one snapshot only.
    pub fn build(&mut self, now: Time) -> Snapshot {
        let mut snapshot = Snapshot::empty(Arc::clone(&self.target), now);
        self.fill_absences(&mut snapshot);
        self.fill_series(&mut snapshot, now);
        self.fill_facts(&mut snapshot, now);
        snapshot
    }

    /// Until a series shows up, its field says why it is absent.
    fn fill_absences(&self, snapshot: &mut Snapshot) {
        let reason = match (self.page_at, self.facts.metrics) {
            (Some(_), _) => Absence::NotExported,
            (None, Some(_)) => Absence::NotYetObserved,
            (None, None) => Absence::NoSource,
        };
        for row in ROWS {
            match row.field {
                Field::Engine(slot) => *slot(&mut snapshot.engine) = Signal::Absent(reason),
                Field::Http(slot) => *slot(&mut snapshot.http) = Signal::Absent(reason),
                _ => {}
            }
        }
        snapshot.engine.kv_capacity_tokens = Signal::Absent(reason);
        snapshot.engine.kv_block_tokens = Signal::Absent(reason);
        snapshot.gpus = self
            .gpus
            .iter()
            .map(|index| Gpu {
                index: Arc::clone(index),
                lost: self.lost_gpus.contains(index),
                ..Gpu::default()
            })
            .collect();
        if self.engines.len() > 1 {
            let member = |engine: &Arc<str>| Member {
                engine: Arc::clone(engine),
                running: Signal::Absent(reason),
                waiting: Signal::Absent(reason),
                steps_total: Signal::Absent(reason),
                inter_token_latency: Totals::default(),
            };
            snapshot.engine.members = self.engines.iter().map(member).collect();
        }
    }

    fn fill_series(&self, snapshot: &mut Snapshot, now: Time) {
        let newest_names: Vec<&str> = self
            .known
            .iter()
            .filter(|k| !k.is_alias && k.at.is_some())
            .map(|k| k.row.name)
            .collect();
        for known in &self.known {
            let Some(at) = known.at else { continue };
            if known.is_alias && newest_names.contains(&known.row.name) {
                continue;
            }
            let longest = match known.row.field {
                Field::Gpu(_) | Field::Xid | Field::Host(_) | Field::Process(_) => {
                    self.stale_after.sampler_secs
                }
                _ => self.stale_after.engine_secs,
            };
            let value = known.value + known.offset;
            let signal = if known.value.is_finite() {
                Signal::aged(value, now.secs_since(at), longest)
            } else {
                Signal::Absent(Absence::Invalid)
            };
            let combine = known.row.combine;
            match known.row.field {
                Field::Engine(slot) => {
                    fold(slot(&mut snapshot.engine), signal, combine);
                    if let (Some(slot), Some(member)) =
                        (known.row.member, snapshot.engine.members.get_mut(known.place))
                    {
                        fold(slot(member), signal, combine);
                    }
                }
                Field::Http(slot) => fold(slot(&mut snapshot.http), signal, combine),
                Field::Host(slot) => fold(slot(&mut snapshot.host), signal, combine),
                Field::Process(slot) => fold(slot(&mut snapshot.process), signal, combine),
                Field::Gpu(slot) => fold(slot(&mut snapshot.gpus[known.place]), signal, combine),
                Field::Xid => {
                    snapshot.gpus[known.place].xids.push(XidCount {
                        code: known.xid,
                        total: value,
                    });
                }
                Field::ProcessStart | Field::CacheConfig => {}
            }
        }
    }
}

fn place_of(names: &mut Vec<Arc<str>>, name: &str) -> usize {
    names
        .iter()
        .position(|known| &**known == name)
        .unwrap_or_else(|| {
            names.push(name.into());
            names.len() - 1
        })
}

/// Takes one more series into a field.
fn fold(slot: &mut Signal<f64>, more: Signal<f64>, combine: Combine) {
    *slot = match (slot.is_absent(), combine) {
        (true, _) => more,
        (false, _) if more.is_absent() => more,
        (false, Combine::Sum) => *slot + more,
        (false, Combine::Largest) => slot.with(more, f64::max),
        (false, Combine::Newest) => {
            let age = |signal: &Signal<f64>| signal.age_secs().unwrap_or(f64::INFINITY);
            if age(&more) <= age(slot) { more } else { *slot }
        }
    };
}

#[cfg(test)]
#[path = "builder_tests.rs"]
mod tests;
