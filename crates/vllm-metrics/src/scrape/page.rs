//! Parses a page into samples with series ids. A known series is recognized by its bytes at the same position
//! of the page, so that an ordinary scrape parses no labels.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use exposition::{Event, Format, Parser};

use super::series::{SeriesOrigin, define, only_rises};
use crate::recorder::Recorder;
use crate::select::Selector;
use run_model::catalog::{blank, may_be_blank};
use run_model::saw_tooth::{Change, SawTooth};
use run_model::{HelpTexts, Sample, SeriesId};

/// Most series of one endpoint. A label with ever new values would otherwise take all memory: a series costs
/// about a kilobyte from here to its derived figures.
const MOST_SERIES: usize = 200_000;

/// Most families whose `# HELP` is read on a page.
const MOST_HELP: usize = 16_384;

/// Reads successive pages of one endpoint.
#[derive(Debug)]
pub(crate) struct PageReader {
    origin: SeriesOrigin,
    expect: Vec<String>,
    selector: Selector,
    /// Families and samples of the first page, until they are taken.
    first_names: Option<BTreeSet<(String, String)>>,
    known: Vec<Known>,
    /// Which of `known` was at each position of the previous page, per layout.
    order: [Vec<u32>; 2],
    by_key: HashMap<Arc<[u8]>, u32>,
    by_id: HashMap<SeriesId, u32>,
    page: u32,
    most_series: usize,
    starts: StartTimes,
    /// For each layout, families whose `# HELP` has been read, in the order of the last page, which is that of the next.
    help_order: [Vec<Box<[u8]>>; 2],
}

/// One series as this endpoint spells it.
#[derive(Debug)]
struct Known {
    key: Arc<[u8]>,
    id: SeriesId,
    /// The first of `known` with the same id: different spellings of one series share it.
    slot: u32,
    only_rises: bool,
    expected: bool,
    /// Not selected: parsed but not recorded.
    skipped: bool,
    /// A label name occurs twice, which Prometheus rejects: every line of it is bad.
    bad: bool,
    /// Its exporter writes certain numbers for absent values.
    may_be_blank: bool,
    /// Whether a blank has been reported.
    blank_said: bool,
    /// Says when the process was started.
    start_time: bool,
    counter: SawTooth,
    /// The page it was last seen on.
    seen_on: u32,
}

/// Layout of a page: pages of one layout have the same series at the same positions.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Layout {
    /// The whole page.
    Full,
    /// A requested part.
    Part,
}

/// The result of reading a page.
#[derive(Debug, Default)]
pub(crate) struct PageResult {
    pub(crate) samples: Vec<Sample>,
    /// Samples that are not selected.
    pub(crate) left_out: u32,
    /// Unreadable lines, and a description of the first.
    pub(crate) bad_lines: u32,
    pub(crate) first_bad: Option<String>,
    /// Samples whose series already appeared on this page; the first one counts.
    pub(crate) duplicates: u32,
    pub(crate) first_duplicate: Option<String>,
    /// Counters that are lower than on the previous page.
    pub(crate) resets: u32,
    pub(crate) first_reset: Option<String>,
    /// Counters that came back in a jump to where they were before they fell.
    pub(crate) came_back: u32,
    /// Which process answered, if the page says when it was started.
    pub(crate) start_time: Option<StartTime>,
    /// Samples with a timestamp of the source's own clock, which is ignored.
    pub(crate) own_timestamps: u32,
    /// Samples with the exporter's number for an absent value; they are not recorded.
    pub(crate) blanks: u32,
    /// Series that have such a number for the first time, with its meaning.
    pub(crate) new_blanks: Vec<(String, &'static str)>,
    /// Samples of series beyond the limit, and the first of them; they are not recorded.
    pub(crate) beyond_limit: u32,
    pub(crate) first_beyond: Option<String>,
    /// Whether one of the expected metrics was found; true when none is expected.
    pub(crate) expected_seen: bool,
}

impl PageReader {
    pub(crate) fn new(origin: SeriesOrigin, expect: Vec<String>, selector: Selector) -> Self {
        Self {
            origin,
            expect,
            selector,
            first_names: Some(BTreeSet::new()),
            known: Vec::new(),
            order: [Vec::new(), Vec::new()],
            by_key: HashMap::new(),
            by_id: HashMap::new(),
            page: 0,
            most_series: MOST_SERIES,
            starts: StartTimes::default(),
            help_order: [Vec::new(), Vec::new()],
        }
    }

    /// Reads one page taken at `timestamp_ns`. `recorder` is called only for new series.
    pub(crate) fn read(
        &mut self,
        body: &[u8],
        format: Format,
        timestamp_ns: i64,
        layout: Layout,
        recorder: &Recorder,
    ) -> PageResult {
        self.page = self.page.wrapping_add(1);
        let mut result = PageResult {
            samples: Vec::with_capacity(self.order[layout as usize].len() + 8),
            expected_seen: self.expect.is_empty(),
            ..PageResult::default()
        };
        let (mut place, mut help_place) = (0, 0);
        for event in Parser::new(body, format) {
            match event {
                Event::Sample(sample) => {
                    let Some(at) = self.find(layout, place, &sample, recorder) else {
                        result.beyond_limit += 1;
                        result
                            .first_beyond
                            .get_or_insert_with(|| String::from_utf8_lossy(sample.series).into_owned());
                        continue;
                    };
                    place += 1;
                    result.own_timestamps += u32::from(sample.timestamp_ns.is_some());
                    self.take(at, sample.value, timestamp_ns, &mut result);
                }
                Event::Help { family, .. } => {
                    let order = &mut self.help_order[layout as usize];
                    help_place += usize::from(read_help(&event, family, help_place, order, recorder));
                }
                Event::Bad(error) => {
                    result.bad_lines += 1;
                    result.first_bad.get_or_insert_with(|| error.to_string());
                }
                _ => {}
            }
        }
        self.order[layout as usize].truncate(place);
        result
    }

    /// Takes the (family, sample) names of everything seen so far, selected or not. Call once.
    pub(crate) fn take_names(&mut self) -> Option<BTreeSet<(String, String)>> {
        self.first_names.take()
    }

    pub(crate) fn selector(&self) -> &Selector {
        &self.selector
    }

    fn find(
        &mut self,
        layout: Layout,
        place: usize,
        sample: &exposition::Sample<'_>,
        recorder: &Recorder,
    ) -> Option<usize> {
        if let Some(at) = self.order[layout as usize].get(place)
            && *self.known[*at as usize].key == *sample.series
        {
            return Some(*at as usize);
        }
        let at = match self.by_key.get(sample.series) {
            Some(at) => *at,
            None if self.known.len() >= self.most_series => return None,
            None => self.add(sample, recorder),
        };
        let order = &mut self.order[layout as usize];
        match order.get_mut(place) {
            Some(known) => *known = at,
            None => order.push(at),
        }
        Some(at as usize)
    }

    #[cold]
    fn add(&mut self, sample: &exposition::Sample<'_>, recorder: &Recorder) -> u32 {
        let (family, name) = (sample.family.text(), sample.name.text());
        let expected = self.expect.iter().any(|pattern| matches(pattern, &name));
        let bad = sample.labels.duplicate().is_some();
        let skipped = bad || !self.selector.selects(&family, &name);
        let may_be_blank = may_be_blank(&name);
        let start_time = name == "process_start_time_seconds";
        if let Some(names) = &mut self.first_names {
            names.insert((family.into_owned(), name.into_owned()));
        }
        let at = u32::try_from(self.known.len()).expect("a page holds fewer than 2^32 series");
        // A series that is not selected has no id, and this one is never used.
        let id = if skipped {
            SeriesId(u32::MAX)
        } else {
            recorder.series(define(sample, &self.origin))
        };
        let slot = if skipped {
            at
        } else {
            *self.by_id.entry(id).or_insert(at)
        };
        let key: Arc<[u8]> = Arc::from(sample.series);
        self.by_key.insert(Arc::clone(&key), at);
        self.known.push(Known {
            key,
            id,
            slot,
            only_rises: only_rises(sample),
            expected,
            skipped,
            bad,
            may_be_blank,
            blank_said: false,
            start_time,
            counter: SawTooth::new(),
            seen_on: self.page.wrapping_sub(1),
        });
        at
    }

    #[inline]
    fn take(&mut self, at: usize, value: f64, timestamp_ns: i64, result: &mut PageResult) {
        let slot = self.known[at].slot as usize;
        let known = &mut self.known[slot];
        if known.bad {
            result.bad_lines += 1;
            result.first_bad.get_or_insert_with(|| {
                let key = String::from_utf8_lossy(&known.key);
                format!("a label name occurs twice: {key}")
            });
            return;
        }
        if known.seen_on == self.page {
            result.duplicates += 1;
            result
                .first_duplicate
                .get_or_insert_with(|| String::from_utf8_lossy(&known.key).into_owned());
            return;
        }
        known.seen_on = self.page;
        if known.may_be_blank && !known.skipped {
            let key = String::from_utf8_lossy(&known.key);
            let name = key.split(['{', ' ']).next().unwrap_or_default();
            if let Some(meaning) = blank(name, value) {
                result.expected_seen |= known.expected;
                result.blanks += 1;
                if !std::mem::replace(&mut known.blank_said, true) {
                    result.new_blanks.push((key.into_owned(), meaning));
                }
                return;
            }
        }
        if known.only_rises {
            match known.counter.add(value) {
                Change::Fell => {
                    result.resets += 1;
                    result
                        .first_reset
                        .get_or_insert_with(|| String::from_utf8_lossy(&known.key).into_owned());
                }
                Change::CameBack => result.came_back += 1,
                Change::Onward => {}
            }
        } else if known.start_time {
            result.start_time = self.starts.add(slot, value);
        }
        result.expected_seen |= known.expected;
        if known.skipped {
            result.left_out += 1;
            return;
        }
        result.samples.push(Sample {
            series: known.id,
            timestamp_ns,
            value,
        });
    }
}

/// Reads the text of a family, unless the last page had it at the same place. Returns whether the place is taken.
fn read_help(
    event: &Event<'_>,
    family: exposition::Name<'_>,
    place: usize,
    order: &mut Vec<Box<[u8]>>,
    recorder: &Recorder,
) -> bool {
    let name = family.text();
    if order.get(place).is_some_and(|known| **known == *name.as_bytes()) {
        return true;
    }
    if place >= MOST_HELP {
        return false;
    }
    if let Some(text) = event.help_text() {
        recorder.add_help(&name, &text);
    }
    let is_kept = name.len() <= HelpTexts::LONGEST;
    if is_kept {
        order.truncate(place);
        order.push(name.as_bytes().into());
    }
    is_kept
}

/// Times at which the processes behind a URL were started.
#[derive(Debug, Default)]
struct StartTimes {
    /// The series; others with the same name are ignored.
    slot: Option<usize>,
    /// Different times, at most [`StartTimes::MOST`], and which of them was the last.
    seen: Vec<f64>,
    last: usize,
}

/// What a page says of the process that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartTime {
    /// It is the one of the page before, or the first, or started after all others.
    Plausible,
    /// It has answered before, and another one since.
    Earlier,
}

impl StartTimes {
    const MOST: usize = 64;

    fn add(&mut self, slot: usize, value: f64) -> Option<StartTime> {
        if *self.slot.get_or_insert(slot) != slot || !value.is_finite() {
            return None;
        }
        let at = self.seen.iter().position(|seen| *seen == value);
        let result = match at {
            Some(at) if at != self.last => StartTime::Earlier,
            _ => StartTime::Plausible,
        };
        self.last = at.unwrap_or_else(|| {
            if self.seen.len() == Self::MOST {
                self.seen.remove(0);
            }
            self.seen.push(value);
            self.seen.len() - 1
        });
        Some(result)
    }
}

/// Matches a name, or a prefix if `pattern` ends in `*`.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    impl PageReader {
        fn full(&mut self, body: &[u8], timestamp_ns: i64, recorder: &Recorder) -> PageResult {
            self.read(body, Format::Text, timestamp_ns, Layout::Full, recorder)
        }
    }

    fn reader(expect: &[&str]) -> (PageReader, Recorder) {
        let origin = SeriesOrigin {
            endpoint_url: "http://a/metrics".into(),
            labels: BTreeMap::new(),
            simulated: false,
        };
        let recorder = Recorder::new(run_model::RunClock::start());
        (
            PageReader::new(
                origin,
                expect.iter().map(ToString::to_string).collect(),
                Selector::all(),
            ),
            recorder,
        )
    }

    fn values(result: &PageResult) -> Vec<(u32, f64)> {
        result
            .samples
            .iter()
            .map(|sample| (sample.series.0, sample.value))
            .collect()
    }

    #[test]
    fn series_keep_their_ids_when_places_change() {
        let (mut reader, recorder) = reader(&[]);
        let first = reader.full(b"a 1\nb{x=\"1\"} 2\nc 3\n", 5, &recorder);
        assert_eq!(values(&first), [(0, 1.0), (1, 2.0), (2, 3.0)]);
        let second = reader.full(b"a 1\nnew 9\nb{x=\"1\"} 4\n", 6, &recorder);
        assert_eq!(values(&second), [(0, 1.0), (3, 9.0), (1, 4.0)]);
        assert_eq!(second.samples[0].timestamp_ns, 6);
        let third = reader.full(b"c 1\n", 7, &recorder);
        assert_eq!(values(&third), [(2, 1.0)]);
        assert_eq!(recorder.series_count(), 4);
    }

    #[test]
    fn the_same_series_twice_counts_once_however_it_is_spelled() {
        let (mut reader, recorder) = reader(&[]);
        for _ in 0..2 {
            let page = b"a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 2\na{x=\"1\",y=\"2\"} 3\n";
            let result = reader.full(page, 0, &recorder);
            assert_eq!((values(&result), result.duplicates), (vec![(0, 1.0)], 2));
        }
    }

    #[test]
    fn a_counter_that_falls_is_a_reset_and_a_gauge_is_not() {
        let (mut reader, recorder) = reader(&[]);
        let page = |n: u32| format!("# TYPE c counter\nc {n}\n# TYPE g gauge\ng {n}\n");
        assert_eq!(reader.full(page(5).as_bytes(), 0, &recorder).resets, 0);
        assert_eq!(reader.full(page(5).as_bytes(), 0, &recorder).resets, 0);
        let fallen = reader.full(page(4).as_bytes(), 0, &recorder);
        assert_eq!((fallen.resets, fallen.first_reset.as_deref()), (1, Some("c")));
    }

    #[test]
    fn start_times_show_which_process_answers() {
        let (mut reader, recorder) = reader(&[]);
        let answers = [100.5, 100.5, 200.5, 200.5, 100.5, 300.5].map(|start| {
            let page = format!(
                "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds {start}\n# TYPE c counter\nc 1\n"
            );
            reader.full(page.as_bytes(), 0, &recorder).start_time
        });
        let (plausible, earlier) = (Some(StartTime::Plausible), Some(StartTime::Earlier));
        assert_eq!(
            answers,
            [plausible, plausible, plausible, plausible, earlier, plausible]
        );
        assert_eq!(reader.full(b"c 1\n", 0, &recorder).start_time, None);
    }

    #[test]
    fn series_beyond_the_limit_are_left_out_and_counted() {
        let (mut reader, recorder) = reader(&[]);
        reader.most_series = 3;
        let page = |n: usize| format!("a 1\nb{{request=\"{n}\"}} 2\nc 3\n");
        for n in 0..5 {
            let result = reader.full(page(n).as_bytes(), 0, &recorder);
            let known = if n == 0 { 3 } else { 2 };
            assert_eq!(
                (result.samples.len(), result.beyond_limit),
                (known, 3 - known as u32),
                "{n}"
            );
        }
        assert_eq!(reader.known.len(), 3);
    }

    #[test]
    fn bad_lines_cost_themselves_only() {
        let (mut reader, recorder) = reader(&[]);
        let result = reader.full(b"a 1\nwhat is this\nb NaN\n", 0, &recorder);
        assert_eq!((result.samples.len(), result.bad_lines), (2, 1));
        assert!(result.samples[1].value.is_nan());
    }

    #[test]
    fn a_line_with_a_label_name_twice_is_a_bad_line_on_every_page() {
        let (mut reader, recorder) = reader(&[]);
        for _ in 0..2 {
            let result = reader.full(b"a 1\nf{x=\"1\",x=\"2\"} 4\n", 0, &recorder);
            assert_eq!((values(&result), result.bad_lines), (vec![(0, 1.0)], 1));
            assert!(result.first_bad.unwrap().contains("f{x=\"1\",x=\"2\"}"));
        }
        assert_eq!(recorder.series_count(), 1);
    }

    #[test]
    fn expected_metrics_are_looked_for() {
        let (mut reader, recorder) = reader(&["vllm:*", "DCGM_X"]);
        assert!(!reader.full(b"up 1\n", 0, &recorder).expected_seen);
        assert!(reader.full(b"up 1\nvllm:x 1\n", 0, &recorder).expected_seen);
        assert!(!reader.full(b"up 1\n", 0, &recorder).expected_seen);
        assert!(reader.full(b"DCGM_X 1\n", 0, &recorder).expected_seen);
    }

    #[test]
    fn what_is_not_selected_is_looked_at_and_left_out() {
        let (mut reader, recorder) = reader(&["go_x"]);
        reader.selector = crate::select::SelectionConfig {
            include: vec!["vllm:*".into()],
            exclude: vec!["vllm:b".into()],
        }
        .resolve()
        .unwrap();
        for _ in 0..2 {
            let result = reader.full(b"go_x 1\nvllm:a 2\nvllm:b 3\n", 0, &recorder);
            assert_eq!((values(&result), result.left_out), (vec![(0, 2.0)], 2));
            assert!(result.expected_seen);
        }
        assert_eq!(recorder.series_count(), 1);
        assert_eq!(reader.take_names().unwrap().len(), 3);
        assert_eq!(reader.take_names(), None);
    }

    #[test]
    fn an_exporters_number_for_no_value_is_no_sample_and_is_said_once() {
        let (mut reader, recorder) = reader(&[]);
        let page =
            b"DCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 9223372036854775794\nDCGM_FI_DEV_GPU_UTIL{gpu=\"1\"} 50\n\
                     DCGM_FI_DEV_GPU_TEMP{gpu=\"0\"} 2147483634\n";
        let first = reader.full(page, 0, &recorder);
        assert_eq!((values(&first), first.blanks), (vec![(1, 50.0)], 2));
        let said: Vec<(&str, &str)> = first
            .new_blanks
            .iter()
            .map(|(s, why)| (s.as_str(), *why))
            .collect();
        assert_eq!(said[1], ("DCGM_FI_DEV_GPU_TEMP{gpu=\"0\"}", "not supported"));
        let second = reader.full(page, 1, &recorder);
        assert_eq!(
            (second.samples.len(), second.blanks, second.new_blanks.len()),
            (1, 2, 0)
        );
    }
}
