//! Derived data of one run, each computed once.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use run_model::{RunData, SeriesData};

use super::Figures;
#[cfg(feature = "expressions")]
use crate::derive::CustomMetric;
use crate::derive::goodput::Limits;
use crate::derive::histogram::{self, Histogram};
use crate::derive::join::{self, Joined};
use crate::derive::{self, exporters};

/// A run with everything derived from it. Each part is computed on first use, and only once. Two analyses are
/// equal if their runs are.
///
/// ```
/// use run_analysis::view::Analysis;
/// use run_model::RunData;
///
/// # let run = RunData::default();
/// let analysis = Analysis::of(&run);
/// let whole = analysis.whole();
/// if let Some(rate) = whole.engine.generation_tokens_per_second {
///     println!("{rate:.0} tokens/s");
/// }
/// assert_eq!(analysis.named("vllm:num_requests_running").count(), 0);
/// ```
pub struct Analysis<'a> {
    run: Cow<'a, RunData>,
    by_name: HashMap<Arc<str>, Vec<usize>>,
    histograms: OnceLock<Vec<Histogram>>,
    joined: OnceLock<Joined>,
    gpus: OnceLock<Vec<SeriesData>>,
    deployment: OnceLock<Vec<SeriesData>>,
}

impl<'a> Analysis<'a> {
    /// Creates an analysis of `run`. Only its series' names are read now.
    pub fn of(run: &'a RunData) -> Self {
        Self::new(Cow::Borrowed(run))
    }

    fn new(run: Cow<'a, RunData>) -> Self {
        let mut by_name: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        for (index, series) in run.series.iter().enumerate() {
            by_name
                .entry(Arc::clone(&series.def.metric_name))
                .or_default()
                .push(index);
        }
        Self {
            run,
            by_name,
            histograms: OnceLock::new(),
            joined: OnceLock::new(),
            gpus: OnceLock::new(),
            deployment: OnceLock::new(),
        }
    }

    /// The run.
    pub fn run(&self) -> &RunData {
        &self.run
    }

    /// Returns every series of a metric, in the run's order.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &SeriesData> {
        let indices = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        indices.iter().map(|index| &self.run.series[*index])
    }

    /// Every histogram of the run, assembled from its `_bucket`, `_sum` and `_count` series.
    pub fn histograms(&self) -> &[Histogram] {
        self.histograms.get_or_init(|| histogram::collect(&self.run))
    }

    /// Every histogram of a family.
    pub fn family(&self, name: &str) -> impl Iterator<Item = &Histogram> {
        self.histograms().iter().filter(move |h| h.name == name)
    }

    /// The requests with the server's times, measured or estimated.
    pub fn joined(&self) -> &Joined {
        self.joined
            .get_or_init(|| join::server_times_with(&self.run, self.histograms()))
    }

    /// The series of GPU exporters under the GPU sampler's names.
    pub fn exported_gpus(&self) -> &[SeriesData] {
        self.gpus.get_or_init(|| exporters::mapped(&self.run))
    }

    /// Series of the whole deployment ([`totals`](crate::derive::totals)) and of the engine's steps ([`engine`](crate::derive::engine)).
    pub fn deployment(&self) -> &[SeriesData] {
        self.deployment
            .get_or_init(|| derive::deployment(&self.run, self.histograms()))
    }

    /// Derives all series as [`process`](crate::derive::process) does, and adds the requests if any of them
    /// gained estimated server times. Not kept: the result is larger than the run.
    pub fn derive(&self) -> RunData {
        let derived = derive::derive(
            &self.run,
            self.histograms(),
            self.exported_gpus(),
            self.deployment(),
        );
        derive::with_requests(derived, self.joined())
    }

    /// Like [`Analysis::derive`], with user-defined metrics.
    #[cfg(feature = "expressions")]
    pub fn derive_with(&self, custom: &[CustomMetric]) -> RunData {
        derive::with_custom(&self.run, self.derive(), custom)
    }

    /// Whether any data of the run was simulated.
    pub fn is_simulated(&self) -> bool {
        self.run.manifest.simulated
            || self
                .run
                .series
                .iter()
                .any(|series| series.def.source.ends_with("-simulated"))
    }

    /// Times of the first and last samples or requests of the run; `None` without any.
    pub fn span_ns(&self) -> Option<(i64, i64)> {
        let run = self.run();
        let samples = run
            .series
            .iter()
            .filter_map(|series| Some((*series.timestamps_ns.first()?, *series.timestamps_ns.last()?)));
        let requests = run
            .requests
            .iter()
            .map(|request| (request.issued_ns, request.done_ns.unwrap_or(request.issued_ns)));
        samples
            .chain(requests)
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Figures of the window from `from_ns` to `to_ns`. Goodput uses the limits in the run's facts.
    pub fn figures(&self, from_ns: i64, to_ns: i64) -> Figures {
        Figures::of(
            &self.run,
            from_ns,
            to_ns,
            Limits::of_manifest(&self.run.manifest).as_ref(),
        )
    }

    /// The figures of the whole run.
    pub fn whole(&self) -> Figures {
        let (from_ns, to_ns) = self.span_ns().unwrap_or_default();
        self.figures(from_ns, to_ns)
    }
}

impl Analysis<'static> {
    /// Like [`Analysis::of`], for a run that the analysis keeps.
    pub fn owning(run: RunData) -> Self {
        Self::new(Cow::Owned(run))
    }
}

impl PartialEq for Analysis<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.run == other.run
    }
}

impl fmt::Debug for Analysis<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Analysis")
            .field("stamp", &self.run.manifest.stamp)
            .field("series", &self.run.series.len())
            .field("requests", &self.run.requests.len())
            .finish_non_exhaustive()
    }
}
