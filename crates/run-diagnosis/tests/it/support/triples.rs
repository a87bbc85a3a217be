//! Triples of runs: A and B equal, C slower by 3 % in every step; with the same requests, or with others.

use run_diagnosis::compare::{CompareOptions, ComparedRun, Comparison, Conclusion, Metric, compare};
use run_diagnosis::input::{Run, Scenario};
use run_diagnosis::window::{WindowOptions, WindowState, steady_window};

use super::engine::{Engine, poisson, serve};

/// A load on one engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) requests: usize,
    pub(crate) qps: f64,
    /// 2 % of the steps take 20 ms more, exponentially distributed.
    pub(crate) slow_steps: bool,
}

/// How often each conclusion came out, over a number of triples.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(crate) tpot_equal: Words,
    pub(crate) tpot_slower: Words,
    pub(crate) ttft_equal: Words,
    pub(crate) ttft_slower: Words,
    pub(crate) throughput_equal: Words,
    pub(crate) throughput_slower: Words,
    pub(crate) together_equal: Words,
    pub(crate) together_slower: Words,
    /// Sum of the half-widths of the interval of TPOT between equal runs.
    pub(crate) half_widths: f64,
}

/// Count of each conclusion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) no_difference: u32,
    pub(crate) regressed: u32,
    pub(crate) improved: u32,
    pub(crate) inconclusive: u32,
    pub(crate) not_comparable: u32,
}

impl Words {
    fn add(&mut self, conclusion: Conclusion) {
        match conclusion {
            Conclusion::NoDifference => self.no_difference += 1,
            Conclusion::Regressed => self.regressed += 1,
            Conclusion::Improved => self.improved += 1,
            Conclusion::Inconclusive => self.inconclusive += 1,
            Conclusion::NotComparable => self.not_comparable += 1,
        }
    }
}

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            no_difference,
            regressed,
            improved,
            inconclusive,
            not_comparable,
        } = self;
        write!(f, "={no_difference} -{regressed} +{improved} ?{inconclusive}")?;
        if *not_comparable > 0 {
            write!(f, " !{not_comparable}")?;
        }
        Ok(())
    }
}

/// Runs and compares so many triples. Paired ones issue the same requests at the same times.
pub(crate) fn triples(load: Load, count: u64, paired: bool) -> Counts {
    let mut counts = Counts::default();
    for triple in 0..count {
        let other_requests = |offset: u64| if paired { 3 * triple } else { 3 * triple + offset };
        let a = run(load, other_requests(0), 3 * triple, 1.0);
        let b = run(load, other_requests(1), 3 * triple + 1, 1.0);
        let c = run(load, other_requests(2), 3 * triple + 2, 1.0 / 1.03);
        let (equal, slower) = (compared(&a, &b), compared(&a, &c));
        let of = |comparison: &Comparison, metric: Metric| {
            let figure = comparison
                .decisive
                .iter()
                .find(|figure| figure.name == metric.name());
            figure.expect("every figure is compared").clone()
        };
        counts
            .tpot_equal
            .add(of(&equal, Metric::TimePerOutputToken).conclusion);
        counts
            .tpot_slower
            .add(of(&slower, Metric::TimePerOutputToken).conclusion);
        counts
            .ttft_equal
            .add(of(&equal, Metric::TimeToFirstToken).conclusion);
        counts
            .ttft_slower
            .add(of(&slower, Metric::TimeToFirstToken).conclusion);
        counts
            .throughput_equal
            .add(of(&equal, Metric::OutputTokenThroughput).conclusion);
        counts
            .throughput_slower
            .add(of(&slower, Metric::OutputTokenThroughput).conclusion);
        counts.together_equal.add(equal.conclusion);
        counts.together_slower.add(slower.conclusion);
        let half_width = of(&equal, Metric::TimePerOutputToken)
            .ratio
            .map_or(f64::NAN, |ratio| ratio.half_width());
        counts.half_widths += half_width;
    }
    counts
}

/// One run of the load.
pub(crate) fn run(load: Load, requests_seed: u64, jitter_seed: u64, speed_ratio: f64) -> Run {
    let engine = Engine {
        speed_ratio,
        slow_steps: load.slow_steps.then_some((0.02, 0.02)),
        ..Engine::h100_8b()
    };
    let mut requests = poisson(1_000 + requests_seed, load.requests, load.qps, 256.0, 128.0);
    // The lengths' own scatter over a run is no difference between servers: LoadGen draws them from one dataset.
    requests.truncate(load.requests);
    let mut run = serve(&engine, &requests, Scenario::Server, 500_000 + jitter_seed);
    for (i, request) in run.requests.iter_mut().enumerate() {
        request.sample_index = Some(requests_seed * 1_000_000 + i as u64);
    }
    run
}

/// A comparison over the steady windows. The runs of the table are shorter than a window has to be, so that a run
/// without one is taken as a whole.
fn compared(base: &Run, other: &Run) -> Comparison {
    let window = |run: &Run| {
        let mut window = steady_window(run, WindowOptions { floor_secs: 20.0 });
        if window.span.is_none() {
            let end_ns = run.requests.last().map_or(0, |request| request.issued_ns + 1);
            window.state = WindowState::Steady;
            window.span = window.whole.map(|whole| run_diagnosis::input::Span {
                to_ns: end_ns,
                ..whole
            });
        }
        window.drifting.clear();
        window
    };
    let (a, b) = (window(base), window(other));
    let with = |run, window| ComparedRun {
        run,
        window,
        diagnosis: None,
        others: &[],
    };
    let options = CompareOptions {
        // Unpaired runs draw their lengths anew; that is no difference in settings here.
        across: vec!["prompt_tokens".to_owned(), "output_tokens".to_owned()],
        ..CompareOptions::default()
    };
    compare(with(base, &a), with(other, &b), &options)
}
