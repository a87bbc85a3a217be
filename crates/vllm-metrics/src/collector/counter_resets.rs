//! Counters that fall: a server that was started again, or several processes that answer in turn.

use crate::scrape::{PageResult, StartTime};
use run_model::saw_tooth::RETURNS;

/// Decides, page by page, what falling counters of one endpoint mean.
#[derive(Debug, Default)]
pub(super) struct CounterResets {
    /// The resets of the page before, until the next page shows whether the counters come back.
    open: Option<CounterReset>,
    /// Counters that fell on the last page on which any did.
    fallen: u32,
    returns: u32,
    /// Whether a page said when its process was started; a part of a page need not.
    dated: bool,
    several_processes: bool,
}

/// Counters that fell on one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CounterReset {
    pub(super) at_ns: i64,
    pub(super) series: u32,
    pub(super) example: String,
}

/// What a page shows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// On the page before, the server had been started again.
    pub(super) restart: Option<CounterReset>,
    /// Several processes answer; found once.
    pub(super) several_processes: bool,
}

impl CounterResets {
    pub(super) fn add(&mut self, at_ns: i64, page: &PageResult) -> Found {
        if self.several_processes {
            return Found::default();
        }
        self.dated |= page.start_time.is_some();
        let earlier = page.start_time == Some(StartTime::Earlier);
        // A restart sets all counters back. One of a few events may soon be where it was, but not most of them.
        let came_back = page.came_back > 0 && page.came_back >= self.fallen.div_ceil(2);
        if came_back {
            self.returns += 1;
            self.fallen = 0;
        }
        // Start times decide where the page has them.
        self.several_processes = earlier || (!self.dated && self.returns >= RETURNS);
        let open = self.open.take();
        if self.several_processes {
            return Found {
                restart: None,
                several_processes: true,
            };
        }
        if page.resets > 0 {
            self.fallen = page.resets;
            self.open = Some(CounterReset {
                at_ns,
                series: page.resets,
                example: page.first_reset.clone().unwrap_or_default(),
            });
        }
        Found {
            restart: open.filter(|_| !came_back || self.dated),
            several_processes: false,
        }
    }

    /// The resets of the last page.
    pub(super) fn end(&mut self) -> Option<CounterReset> {
        self.open.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Falls and comes back by turns, or falls once.
    fn page(resets: u32, came_back: u32, start_time: Option<StartTime>) -> PageResult {
        PageResult {
            resets,
            came_back,
            first_reset: (resets > 0).then(|| "c".to_owned()),
            start_time,
            ..PageResult::default()
        }
    }

    fn follow(pages: &[PageResult]) -> (Vec<i64>, Vec<i64>) {
        let mut resets = CounterResets::default();
        let (mut restarts, mut several) = (Vec::new(), Vec::new());
        for (at_ns, page) in (0..).zip(pages) {
            let found = resets.add(at_ns, page);
            restarts.extend(found.restart.map(|reset| reset.at_ns));
            several.extend(found.several_processes.then_some(at_ns));
        }
        restarts.extend(resets.end().map(|reset| reset.at_ns));
        (restarts, several)
    }

    #[test]
    fn counters_that_come_back_several_times_are_of_several_processes() {
        let turn = || [page(4, 0, None), page(0, 4, None)];
        let pages: Vec<PageResult> = std::iter::once(page(0, 0, None))
            .chain((0..5).flat_map(|_| turn()))
            .collect();
        assert_eq!(follow(&pages), (vec![], vec![6]));
    }

    #[test]
    fn a_start_time_that_returns_is_of_several_processes() {
        let (new, earlier) = (Some(StartTime::Plausible), Some(StartTime::Earlier));
        let pages = [
            page(0, 0, new),
            page(4, 0, new),
            page(0, 4, earlier),
            page(4, 0, earlier),
        ];
        assert_eq!(follow(&pages), (vec![], vec![2]));
    }

    #[test]
    fn restarts_stay_restarts() {
        let none = || page(0, 0, None);
        assert_eq!(follow(&[none(), page(4, 0, None), none()]), (vec![1], vec![]));
        assert_eq!(follow(&[none(), page(4, 0, None)]), (vec![1], vec![]));
        // One of many counters is soon where it was.
        let pages: Vec<PageResult> = (0..5)
            .flat_map(|_| [page(9, 0, None), page(0, 1, None)])
            .collect();
        assert_eq!(follow(&pages), (vec![0, 2, 4, 6, 8], vec![]));
        // Every time with a new start time, however fast the counters rise.
        let new = Some(StartTime::Plausible);
        let pages: Vec<PageResult> = (0..5).flat_map(|_| [page(4, 0, new), page(0, 4, new)]).collect();
        assert_eq!(follow(&pages), (vec![0, 2, 4, 6, 8], vec![]));
    }
}
