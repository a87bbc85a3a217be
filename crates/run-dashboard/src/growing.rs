//! The page of a run that goes on, and what is appended to it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use report_page::model::{Completeness, Kind, Live, Page, Reason, Request, Series, Span, Validity, Verdict};
use report_page::{Appended, AppendedColumns, Update};
use run_report::{Analysis, AnalysisOptions};
use tokio::sync::oneshot;
use vllm_metrics::view::LiveView;
use vllm_metrics::{Manifest, Subscription};

use crate::hub::Hub;
use crate::{StatusLines, thread_cpu};

/// How much of the run a page shows.
const KEEP: Duration = Duration::from_secs(3600);
/// The worker is busy for at most one part in this many.
const SHARE: u32 = 50;
/// Longest time between two looks at the queue, so that it does not fill up.
const TAKE_EVERY: Duration = Duration::from_millis(500);
/// Size of an update above which pages load again instead: a page has its own bound.
const MOST_UPDATE_BYTES: usize = 1 << 20;
/// Shortest time between two loads of a page because of series that are new.
const RELOAD_EVERY: Duration = Duration::from_secs(30);

/// What the worker is asked for.
#[derive(Debug)]
pub(crate) enum Command {
    /// The page as of now.
    Page(oneshot::Sender<Result<Bytes, String>>),
    /// The run has ended; the report, if one was written.
    Finish(Option<PathBuf>),
}

/// Follows the run on a thread of its own.
pub(crate) struct Worker {
    subscription: Subscription,
    view: LiveView,
    status_lines: StatusLines,
    hub: Arc<Hub>,
    every: Duration,
    next: Instant,
    page: Growing,
    rendered: Option<(u64, Bytes)>,
}

impl Worker {
    pub(crate) fn new(
        subscription: Subscription,
        manifest: Manifest,
        status_lines: StatusLines,
        hub: Arc<Hub>,
        every: Duration,
    ) -> Self {
        let mut view = LiveView::new(KEEP);
        view.describe(manifest);
        Self {
            subscription,
            view,
            status_lines,
            hub,
            every,
            next: Instant::now(),
            page: Growing::default(),
            rendered: None,
        }
    }

    /// Runs until the end of the run, and returns the CPU time that it took.
    pub(crate) fn run(mut self, commands: &Receiver<Command>) -> Duration {
        loop {
            self.take();
            let wait = if self.hub.clients() > 0 {
                self.next
                    .saturating_duration_since(Instant::now())
                    .min(TAKE_EVERY)
            } else {
                TAKE_EVERY
            };
            match commands.recv_timeout(wait) {
                Ok(Command::Page(reply)) => {
                    self.take();
                    let page = self.rendered();
                    // The browser may be gone.
                    let _gone = reply.send(page);
                }
                Ok(Command::Finish(report)) => {
                    self.take();
                    if self.hub.clients() > 0 {
                        self.update();
                    }
                    self.hub.end(report);
                    return thread_cpu();
                }
                Err(RecvTimeoutError::Timeout) => {
                    if self.hub.clients() > 0 && Instant::now() >= self.next {
                        self.update();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return thread_cpu(),
            }
        }
    }

    fn take(&mut self) {
        self.view.apply_all(&self.subscription.try_take());
        let dropped = self.subscription.dropped();
        self.hub
            .count_missed(dropped.samples + dropped.rows + dropped.events);
    }

    /// Analyses the run as far as it is known.
    fn analyse<T>(&mut self, with: impl FnOnce(&mut Self, Page) -> T) -> T {
        let began = Instant::now();
        let options = AnalysisOptions {
            is_growing: true,
            ..AnalysisOptions::default()
        };
        let analysis = Analysis::of(self.view.data(), options);
        let mut page = run_report::page(&[&analysis], None);
        drop(analysis);
        if let Some(run) = page.runs.first_mut() {
            run.completeness = Completeness::Running;
            run.verdict = Verdict {
                validity: Validity::Pending,
                reasons: Reason::listed((self.status_lines)().iter().map(String::as_str)),
            };
        }
        page.facts.push(
            "while the run goes on: its last hour; figures and curves of the client count a request once it has ended"
                .to_owned(),
        );
        let done = with(self, page);
        self.next = Instant::now() + self.every.max(began.elapsed() * SHARE);
        done
    }

    /// Appends to the open pages.
    fn update(&mut self) {
        self.analyse(|worker, page| match worker.page.step(&page) {
            Step::Append(update) => match update.to_json(&page) {
                Ok(json) if json.len() <= MOST_UPDATE_BYTES => worker.hub.update(&json),
                Ok(_) => worker.hub.reload(),
                Err(error) => tracing::warn!("the dashboard has no update: {error}"),
            },
            Step::Reload => worker.hub.reload(),
        });
    }

    /// The page as of now. One that was just made is used again.
    fn rendered(&mut self) -> Result<Bytes, String> {
        let tick = self.hub.tick();
        if let Some((of_tick, html)) = &self.rendered
            && *of_tick == tick
            && Instant::now() < self.next
        {
            return Ok(html.clone());
        }
        // Pages that are open already receive what this one begins with.
        if self.hub.clients() > 0 {
            self.update();
        } else {
            self.hub.advance();
        }
        self.analyse(|worker, mut page| {
            let tick = worker.hub.tick();
            worker.page.begin(&page);
            page.live = Some(Live {
                events_url: format!("events?after={tick}"),
            });
            let rendered = report_page::render(&page).map_err(|error| error.to_string())?;
            let html = Bytes::from(rendered.html);
            worker.rendered = Some((tick, html.clone()));
            Ok(html)
        })
    }
}

/// What to send to the open pages.
#[derive(Debug, PartialEq)]
enum Step {
    Append(Update),
    Reload,
}

/// What the open pages hold: which series, and up to when.
#[derive(Debug, Default)]
struct Growing {
    /// By key.
    series: HashMap<String, Sent>,
    /// By identifier: its index in the pages, and the end of its newest interval there.
    histograms: HashMap<String, (usize, i64)>,
    requests: HashSet<Identity>,
    /// Whether the pages have rows for a steady window.
    has_steady: bool,
    reloaded: Option<Instant>,
}

/// What the open pages hold of one series.
#[derive(Debug)]
struct Sent {
    /// Its index in the pages.
    index: usize,
    /// All points of a series that is derived, since what arrives later may change them: the tokens of a long answer are
    /// known when it ends. Of what is sampled, the newest.
    points: VecDeque<(i64, f64)>,
    gaps: Vec<Span>,
}

impl Sent {
    fn of(index: usize, series: &Series) -> Self {
        let mut sent = Self {
            index,
            points: VecDeque::new(),
            gaps: series.gaps.clone(),
        };
        sent.add(series, 0);
        sent
    }

    fn add(&mut self, series: &Series, from: usize) {
        let new = series.timestamps_ns[from..].iter().copied();
        self.points.extend(new.zip(series.values[from..].iter().copied()));
        if series.kind != Kind::Derived {
            self.points.drain(..self.points.len().saturating_sub(1));
        }
    }

    /// What differs from what was sent. Before `complete_ns` the view has forgotten requests: there the pages know
    /// better.
    fn step(&mut self, series: &Series, complete_ns: i64) -> Option<Appended> {
        let times = &series.timestamps_ns;
        let newest_ns = self.points.back().map_or(i64::MIN, |(time, _)| *time);
        let (mut from, mut gone_ns) = (times.partition_point(|time| *time <= newest_ns), None);
        if series.kind == Kind::Derived {
            let forgotten = self.points.partition_point(|(time, _)| *time < complete_ns);
            self.points.drain(..forgotten);
            let first = times.partition_point(|time| *time < complete_ns);
            let now = times[first..].iter().zip(&series.values[first..]);
            let same = now
                .zip(&self.points)
                .take_while(|((time, value), (sent_time, sent))| {
                    *time == sent_time && value.to_bits() == sent.to_bits()
                });
            let same = same.count();
            gone_ns = self.points.get(same).map(|(time, _)| *time);
            self.points.truncate(same);
            from = first + same;
        }
        let from_ns = times.get(from).copied().into_iter().chain(gone_ns).min()?;
        self.add(series, from);
        Some(Appended {
            series: self.index,
            from_ns,
            timestamps_ns: times[from..].to_vec(),
            values: series.values[from..].to_vec(),
        })
    }
}

/// What distinguishes a request: its times.
type Identity = (i64, Option<i64>, Option<i64>, Option<i64>);

fn identity(request: &Request) -> Identity {
    (
        request.issued_ns,
        request.sent_ns,
        request.first_token_ns,
        request.done_ns,
    )
}

impl Growing {
    /// Pages begin with this one.
    fn begin(&mut self, page: &Page) {
        self.reloaded = Some(Instant::now());
        self.series.clear();
        self.histograms.clear();
        self.requests.clear();
        let Some(run) = page.runs.first() else { return };
        self.has_steady = run.steady.window.is_some();
        for (index, series) in run.series.iter().enumerate() {
            self.series.insert(series.key(), Sent::of(index, series));
        }
        for (index, histogram) in run.histograms.iter().enumerate() {
            let newest_ns = histogram.columns.last().map_or(i64::MIN, |column| column.end_ns);
            self.histograms.insert(histogram.id.clone(), (index, newest_ns));
        }
        self.requests.extend(run.requests.iter().map(identity));
    }

    /// What is new since the last step.
    fn step(&mut self, page: &Page) -> Step {
        let Some(run) = page.runs.first() else {
            return Step::Reload;
        };
        let complete_ns = run.span.end_ns.saturating_sub(KEEP.as_nanos() as i64);
        let mut appended = Vec::new();
        let mut series_gaps = Vec::new();
        // A page cannot add rows either.
        let mut is_new = self.has_steady != run.steady.window.is_some();
        for series in &run.series {
            match self.series.get_mut(&series.key()) {
                Some(sent) => {
                    appended.extend(sent.step(series, complete_ns));
                    if sent.gaps != series.gaps {
                        sent.gaps.clone_from(&series.gaps);
                        series_gaps.push((sent.index, series.gaps.clone()));
                    }
                }
                None => is_new = true,
            }
        }
        let mut histograms = Vec::new();
        for histogram in &run.histograms {
            let Some((index, newest_ns)) = self.histograms.get_mut(&histogram.id) else {
                is_new = true;
                continue;
            };
            let columns = &histogram.columns;
            let columns = &columns[columns.partition_point(|column| column.end_ns <= *newest_ns)..];
            let Some(last) = columns.last() else { continue };
            *newest_ns = last.end_ns;
            histograms.push(AppendedColumns {
                histogram: *index,
                columns: columns.to_vec(),
            });
        }
        // A page cannot add a series. Loading it again may wait: new series are rare after the first seconds.
        let is_due = self.reloaded.is_none_or(|at| at.elapsed() >= RELOAD_EVERY);
        // Tables of latencies have rows from the first answers on.
        let has_first_answers = self.requests.is_empty() && !run.requests.is_empty();
        if has_first_answers || (is_new && is_due) {
            self.reloaded = Some(Instant::now());
            return Step::Reload;
        }
        let requests: Vec<Request> = run
            .requests
            .iter()
            .filter(|request| self.requests.insert(identity(request)))
            .cloned()
            .collect();
        let current: HashSet<_> = run.requests.iter().map(identity).collect();
        // What the view has forgotten need not be known any more.
        self.requests.retain(|request| current.contains(request));
        Step::Append(Update {
            end_ns: run.span.end_ns,
            appended,
            histograms,
            requests,
            series_gaps,
        })
    }
}

#[cfg(test)]
mod tests {
    use report_page::model::{Histogram, HistogramColumn, Run};

    use super::*;

    fn page(names: &[&str], seconds: i64) -> Page {
        let times: Vec<i64> = (0..seconds).collect();
        let series = names.iter().map(|name| Series {
            name: (*name).to_owned(),
            values: times.iter().map(|t| *t as f64).collect(),
            timestamps_ns: times.clone(),
            ..Series::default()
        });
        let requests = times.iter().map(|t| Request {
            issued_ns: *t,
            ..Request::default()
        });
        Page {
            runs: vec![Run {
                series: series.collect(),
                requests: requests.collect(),
                ..Run::default()
            }],
            ..Page::default()
        }
    }

    #[test]
    fn each_point_and_request_is_sent_once() {
        let mut growing = Growing::default();
        growing.begin(&page(&["a", "b"], 3));
        let Step::Append(update) = growing.step(&page(&["a", "b"], 5)) else {
            panic!("an update")
        };
        assert_eq!(update.appended.len(), 2);
        assert_eq!(update.appended[1].series, 1);
        assert_eq!(update.appended[1].timestamps_ns, [3, 4]);
        assert_eq!(update.requests.len(), 2);
        let Step::Append(update) = growing.step(&page(&["a", "b"], 5)) else {
            panic!("an update")
        };
        assert!(update.appended.is_empty() && update.requests.is_empty());
    }

    #[test]
    fn what_needs_new_rows_loads_the_page_again() {
        let mut growing = Growing::default();
        growing.begin(&page(&["a"], 0));
        assert_eq!(growing.step(&page(&["a"], 3)), Step::Reload, "the first answers");
        growing.begin(&page(&["a"], 3));
        let mut steady = page(&["a"], 4);
        let window = report_page::model::Span {
            start_ns: 1,
            end_ns: 3,
        };
        steady.runs[0].steady.window = Some(window);
        // Not at once: a page is not loaded again and again.
        assert!(matches!(growing.step(&steady), Step::Append(_)));
        growing.reloaded = None;
        assert_eq!(growing.step(&steady), Step::Reload);
    }

    #[test]
    fn gaps_of_a_series_are_sent_as_they_are_now() {
        let mut growing = Growing::default();
        growing.begin(&page(&["a", "b"], 3));
        let mut grown = page(&["a", "b"], 5);
        let gap = report_page::model::Span {
            start_ns: 3,
            end_ns: 4,
        };
        grown.runs[0].series[1].gaps = vec![gap];
        let Step::Append(update) = growing.step(&grown) else {
            panic!("an update")
        };
        assert_eq!(update.series_gaps, [(1, vec![gap])]);
        let Step::Append(update) = growing.step(&grown) else {
            panic!("an update")
        };
        assert_eq!(update.series_gaps, [], "the page has them");
        grown.runs[0].series[1].gaps.clear();
        let Step::Append(update) = growing.step(&grown) else {
            panic!("an update")
        };
        assert_eq!(update.series_gaps, [(1, vec![])]);
    }

    #[test]
    fn points_that_later_answers_change_are_sent_again() {
        let page = |points: &[(i64, f64)]| {
            let (timestamps_ns, values) = points.iter().copied().unzip();
            let mut page = page(&[], 0);
            page.runs[0].series = vec![Series {
                name: "client_output_tokens_per_second".to_owned(),
                kind: Kind::Derived,
                timestamps_ns,
                values,
                ..Series::default()
            }];
            page
        };
        let mut growing = Growing::default();
        growing.begin(&page(&[(1, 5.0), (2, 5.0), (3, 0.0)]));
        let mut step = |points: &[(i64, f64)]| match growing.step(&page(points)) {
            Step::Append(update) => update.appended,
            Step::Reload => panic!("an update"),
        };
        // An answer of two seconds has ended.
        let appended = step(&[(1, 5.0), (2, 9.0), (3, 4.0), (4, 0.0)]);
        assert_eq!(
            (appended[0].from_ns, &*appended[0].timestamps_ns),
            (2, &[2, 3, 4][..])
        );
        assert_eq!(appended[0].values, [9.0, 4.0, 0.0]);
        assert_eq!(step(&[(1, 5.0), (2, 9.0), (3, 4.0), (4, 0.0)]), []);
        // Windows that are twice as long have fewer points: those of the page go.
        let appended = step(&[(2, 7.0), (4, 2.0)]);
        assert_eq!(
            (appended[0].from_ns, &*appended[0].timestamps_ns),
            (1, &[2, 4][..])
        );
        let appended = step(&[(2, 7.0)]);
        assert_eq!((appended[0].from_ns, appended[0].timestamps_ns.len()), (4, 0));
    }

    #[test]
    fn heat_maps_grow() {
        let page = |intervals: i64| {
            let columns = (0..intervals).map(|i| HistogramColumn {
                start_ns: i,
                end_ns: i + 1,
                counts: vec![1, 2],
            });
            let histogram = |id: &str| Histogram {
                id: id.to_owned(),
                columns: columns.clone().collect(),
                ..Histogram::default()
            };
            let mut page = page(&[], 0);
            page.runs[0].histograms = vec![histogram("ttft"), histogram("itl")];
            page
        };
        let mut growing = Growing::default();
        growing.begin(&page(3));
        let Step::Append(update) = growing.step(&page(5)) else {
            panic!("an update")
        };
        assert_eq!(update.histograms.len(), 2);
        assert_eq!(update.histograms[1].histogram, 1);
        let ends: Vec<i64> = update.histograms[1].columns.iter().map(|c| c.end_ns).collect();
        assert_eq!(ends, [4, 5]);
        let Step::Append(update) = growing.step(&page(5)) else {
            panic!("an update")
        };
        assert!(update.histograms.is_empty());
    }

    #[test]
    fn series_keep_their_place_when_others_appear() {
        let mut growing = Growing::default();
        growing.begin(&page(&["b"], 1));
        // `a` sorts first, but the open pages do not have it.
        let Step::Append(update) = growing.step(&page(&["a", "b"], 2)) else {
            panic!("too early to load again")
        };
        assert_eq!(update.appended.len(), 1);
        assert_eq!(update.appended[0].series, 0);
        growing.reloaded = None;
        assert_eq!(growing.step(&page(&["a", "b"], 3)), Step::Reload);
    }
}
