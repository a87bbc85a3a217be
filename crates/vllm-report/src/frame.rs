//! Common to all panels of a picture: the time span, the phases, and the gaps in the data.

use std::collections::BTreeMap;
use std::sync::Arc;

use vllm_metrics::RunData;
use vllm_metrics::derive::align;

/// A section of the run named by the harness.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Phase {
    /// Its name; empty before the first mark.
    pub(crate) name: Arc<str>,
    /// Its first sample.
    pub(crate) start_ns: i64,
    /// Start of the next phase, or the end of the run.
    pub(crate) end_ns: i64,
}

/// Samples taken together over the run: of one endpoint, or of one sampler of this machine.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cadence {
    /// As in the series' definition.
    pub(crate) source: Arc<str>,
    /// As in the series' definition; empty for samplers.
    pub(crate) endpoint_url: Arc<str>,
    /// Times with any sample, ascending.
    pub(crate) timestamps_ns: Vec<i64>,
    /// Times of the series with the most samples. They show the usual distance: a source that writes its series one
    /// after another has several times within a millisecond, then none until the next interval.
    of_one_series_ns: Vec<i64>,
}

impl Cadence {
    /// Usual distance of samples of one series; `None` with fewer than two.
    pub(crate) fn interval_ns(&self) -> Option<i64> {
        align::median_interval_ns(&self.of_one_series_ns)
    }
}

/// Number of times needed to derive their usual distance: in a run shorter than a few intervals, the scrapes
/// at the edges are closer together than the ticks.
const ENOUGH_TIMES: usize = 8;

/// Time, phases and gaps of one run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// Origin of elapsed time.
    pub(crate) start_ns: i64,
    /// End of the axis, later than the start.
    pub(crate) end_ns: i64,
    /// In time order.
    pub(crate) phases: Vec<Phase>,
    /// Every endpoint and sampler.
    pub(crate) cadences: Vec<Cadence>,
    /// Intervals in which no endpoint answered.
    pub(crate) gaps: Vec<(i64, i64)>,
    /// Configured time between scrapes.
    configured_ns: Option<i64>,
}

impl Frame {
    /// Collects the samples, phases and events of a run.
    pub(crate) fn of(run: &RunData) -> Self {
        let cadences = cadences(run);
        let times = || {
            let samples = cadences
                .iter()
                .flat_map(|c| [c.timestamps_ns.first(), c.timestamps_ns.last()])
                .flatten()
                .copied();
            let requests = run
                .requests
                .iter()
                .flat_map(|r| [Some(r.issued_ns), r.done_ns])
                .flatten();
            samples.chain(requests)
        };
        let first = times().min();
        let start_ns = match (run.manifest.started_ns, first) {
            (0, first) => first.unwrap_or(0),
            (started, Some(first)) => started.min(first),
            (started, None) => started,
        };
        let end_ns = times()
            .chain(run.manifest.ended_ns)
            .max()
            .unwrap_or(start_ns)
            .max(start_ns + 1_000_000);
        let configured_ns = run
            .manifest
            .facts
            .get("metrics.interval_secs")
            .and_then(|secs| secs.parse::<f64>().ok())
            .map(|secs| (secs * 1e9) as i64);
        let mut frame = Self {
            start_ns,
            end_ns,
            phases: phases(run, end_ns),
            cadences,
            gaps: Vec::new(),
            configured_ns,
        };
        frame.gaps = frame.without_any_endpoint();
        frame
    }

    /// Configured time between scrapes; measured for a record without the setting.
    pub(crate) fn told_interval_ns(&self) -> Option<i64> {
        self.configured_ns.or_else(|| self.scrape_interval_ns())
    }

    /// The usual distance of these times; for few times, at least the configured one.
    pub(crate) fn usual_interval_ns(&self, timestamps_ns: &[i64]) -> Option<i64> {
        let median = align::median_interval_ns(timestamps_ns);
        if timestamps_ns.len() < ENOUGH_TIMES {
            median.max(self.configured_ns)
        } else {
            median
        }
    }

    /// Intervals without samples: from the due time of the first missing sample to the next sample, or to the
    /// end of the run.
    pub(crate) fn gaps_of(&self, cadence: &Cadence) -> Vec<(i64, i64)> {
        let times = &cadence.timestamps_ns;
        let (Some(interval), Some(&last)) = (self.usual_interval_ns(&cadence.of_one_series_ns), times.last())
        else {
            return Vec::new();
        };
        let between = times.windows(2).map(|pair| (pair[0], pair[1]));
        between
            .chain([(last, self.end_ns)])
            .filter(|(from, to)| to - from > align::longest_step_ns(interval))
            .map(|(from, to)| (from + interval, to))
            .collect()
    }

    /// Endpoints that stopped delivering before the end of the run, each with the time since when.
    pub(crate) fn lost(&self) -> Vec<(Arc<str>, i64)> {
        let endpoints = self.cadences.iter().filter(|c| !c.endpoint_url.is_empty());
        endpoints
            .filter_map(|cadence| {
                let last = self.gaps_of(cadence).pop()?;
                (last.1 == self.end_ns).then(|| (Arc::clone(&cadence.endpoint_url), last.0))
            })
            .collect()
    }

    /// The intersection of the gaps of all endpoints.
    fn without_any_endpoint(&self) -> Vec<(i64, i64)> {
        self.cadences
            .iter()
            .filter(|cadence| !cadence.endpoint_url.is_empty())
            .map(|cadence| self.gaps_of(cadence))
            .reduce(|common, gaps| overlaps(&common, &gaps))
            .unwrap_or_default()
    }

    /// Length of the axis.
    pub(crate) fn duration_ns(&self) -> i64 {
        self.end_ns - self.start_ns
    }

    /// The usual distance between scrapes of an endpoint, the shortest of all endpoints.
    pub(crate) fn scrape_interval_ns(&self) -> Option<i64> {
        self.cadences
            .iter()
            .filter(|c| !c.endpoint_url.is_empty())
            .filter_map(|cadence| self.usual_interval_ns(&cadence.of_one_series_ns))
            .min()
    }
}

/// Intersection of two lists of intervals.
fn overlaps(a: &[(i64, i64)], b: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let mut common: Vec<(i64, i64)> = a
        .iter()
        .flat_map(|&(from, to)| b.iter().map(move |&(f, t)| (from.max(f), to.min(t))))
        .filter(|(from, to)| from < to)
        .collect();
    common.sort_unstable();
    common
}

fn cadences(run: &RunData) -> Vec<Cadence> {
    let mut all: BTreeMap<(Arc<str>, Arc<str>), Cadence> = BTreeMap::new();
    for series in &run.series {
        let def = &series.def;
        // `up` and the like are also written for failed scrapes.
        if !def.endpoint_url.is_empty() && &*def.source == "self" {
            continue;
        }
        // One scrape brings series of several sources; samplers have no endpoint and are grouped by source.
        let sampler = if def.endpoint_url.is_empty() {
            Arc::clone(&def.source)
        } else {
            Arc::from("")
        };
        let cadence = all
            .entry((Arc::clone(&def.endpoint_url), sampler))
            .or_insert_with(|| Cadence {
                source: Arc::clone(&def.source),
                endpoint_url: Arc::clone(&def.endpoint_url),
                timestamps_ns: Vec::new(),
                of_one_series_ns: Vec::new(),
            });
        if series.timestamps_ns.len() > cadence.of_one_series_ns.len() {
            cadence.of_one_series_ns.clone_from(&series.timestamps_ns);
        }
        // Most series of a scrape share their times, so the first one usually suffices.
        let times = &mut cadence.timestamps_ns;
        if *times != series.timestamps_ns {
            times.extend_from_slice(&series.timestamps_ns);
            times.sort();
            times.dedup();
        }
    }
    all.into_values().collect()
}

/// Phases as marked by the harness; in a run without marks, as stored with the samples.
fn phases(run: &RunData, end_ns: i64) -> Vec<Phase> {
    let marks = run.events.iter().filter(|e| &*e.kind == "phase").filter_map(|e| {
        let attributes: serde_json::Value = serde_json::from_str(&e.attributes).ok()?;
        Some((e.timestamp_ns, Arc::from(attributes.get("phase")?.as_str()?)))
    });
    let marked = in_turn(marks, end_ns);
    if !marked.is_empty() {
        return marked;
    }
    let carry = run
        .series
        .iter()
        .filter(|s| s.phases.iter().any(|(_, name)| !name.is_empty()));
    let Some(longest) = carry.max_by_key(|s| s.timestamps_ns.len()) else {
        return Vec::new();
    };
    let starts = longest
        .phases
        .iter()
        .filter_map(|(i, name)| Some((*longest.timestamps_ns.get(*i)?, Arc::clone(name))));
    in_turn(starts, end_ns)
}

fn in_turn(starts: impl Iterator<Item = (i64, Arc<str>)>, end_ns: i64) -> Vec<Phase> {
    let mut out: Vec<Phase> = Vec::new();
    for (start_ns, name) in starts {
        if let Some(last) = out.last_mut() {
            last.end_ns = start_ns;
        }
        out.push(Phase {
            name,
            start_ns,
            end_ns,
        });
    }
    out
}
