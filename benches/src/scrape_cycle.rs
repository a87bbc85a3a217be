//! The cost of one scrape after its bytes have arrived (parse, intern, enqueue), compared with a
//! straightforward collector.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::time::Duration;

use vllm_metrics::PageIngest;

use crate::Figure;
use crate::exposition::page;
use crate::timing::megabytes_per_second;

/// Our path; the records are taken and dropped at once instead of written.
#[derive(Debug)]
pub struct Ours {
    ingest: PageIngest,
    at_ns: i64,
}

impl Default for Ours {
    fn default() -> Self {
        Self {
            ingest: PageIngest::new("http://127.0.0.1:8000/metrics"),
            at_ns: 0,
        }
    }
}

impl Ours {
    /// Runs one cycle and returns the number of samples on the page.
    pub fn cycle(&mut self, page: &str) -> usize {
        self.at_ns += 1_000_000_000;
        let samples = self.ingest.page(page.as_bytes(), self.at_ns);
        drop(black_box(self.ingest.records().last()));
        samples
    }
}

/// What a client library does with a page: allocates names and label maps for every sample of every scrape,
/// and looks each up in a map of series.
#[derive(Debug, Default)]
pub struct Straightforward {
    ids: HashMap<(String, BTreeMap<String, String>), usize>,
}

impl Straightforward {
    /// Runs one cycle and returns the number of samples on the page.
    pub fn cycle(&mut self, page: &str) -> usize {
        let mut samples = Vec::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let Ok(value) = value.parse::<f64>() else { continue };
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, labels.trim_end_matches('}')),
                None => (series, ""),
            };
            let labels = labels
                .split("\",")
                .filter_map(|label| label.split_once("=\""))
                .map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned()))
                .collect();
            let next = self.ids.len();
            let id = *self.ids.entry((name.to_owned(), labels)).or_insert(next);
            samples.push((id, value));
        }
        black_box(&samples);
        samples.len()
    }
}

/// `scrape_cycle_cpu_us`.
///
/// # Panics
/// If the two read different samples from the page.
pub fn figures() -> Vec<Figure> {
    let page = page();
    let (mut ours, mut naive) = (Ours::default(), Straightforward::default());
    let samples = ours.cycle(&page);
    assert_eq!(samples, naive.cycle(&page), "both read the same samples");
    let rates = megabytes_per_second(
        page.len(),
        15,
        Duration::from_millis(40),
        &mut [
            &mut || {
                black_box(ours.cycle(&page));
            },
            &mut || {
                black_box(naive.cycle(&page));
            },
        ],
    );
    let micros = |rate: f64| page.len() as f64 / rate;
    vec![Figure {
        name: "scrape_cycle_cpu_us",
        value: Some(micros(rates[0])),
        unit: "us",
        context: format!(
            "{samples} samples in {} bytes; owned names and label maps, one map lookup per sample: {:.1} us",
            page.len(),
            micros(rates[1])
        ),
    }]
}
