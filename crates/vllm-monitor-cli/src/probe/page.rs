//! A page of metrics into a snapshot builder. Each series is looked up by its bytes once and remembered.

use std::collections::HashMap;

use exposition::{Event, Format, Parser};
use vllm_monitor::snapshot::SeriesRef;
use vllm_monitor::{SnapshotBuilder, Time};

/// Series remembered for one target. Beyond it, all are forgotten and looked up again.
const MOST_SERIES: usize = 20_000;

/// Reads the pages of one target.
#[derive(Debug, Default)]
pub struct PageReader {
    known: HashMap<Box<[u8]>, Option<SeriesRef>>,
}

/// What a page held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageSummary {
    /// Samples.
    pub samples: usize,
    /// Of these, samples that the monitor uses.
    pub used: usize,
    /// Lines that could not be read.
    pub bad_lines: usize,
}

impl PageReader {
    /// Gives every sample of a page to the builder. A page without one readable sample is not announced as complete.
    pub fn read(&mut self, builder: &mut SnapshotBuilder, page: &[u8], at: Time) -> PageSummary {
        let mut summary = PageSummary::default();
        for event in Parser::new(page, Format::Text) {
            match event {
                Event::Sample(sample) => {
                    summary.samples += 1;
                    let series = match self.known.get(sample.series) {
                        Some(series) => *series,
                        None => self.look_up(builder, &sample, at),
                    };
                    if let Some(series) = series {
                        summary.used += 1;
                        builder.put(series, sample.value, at);
                    }
                }
                Event::Bad(_) => summary.bad_lines += 1,
                _ => {}
            }
        }
        if summary.samples > 0 {
            builder.page_complete(at);
        }
        summary
    }

    /// Forgets the series, so that facts that stand in labels are read again. For a new process of the server.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    fn look_up(
        &mut self,
        builder: &mut SnapshotBuilder,
        sample: &exposition::Sample<'_>,
        at: Time,
    ) -> Option<SeriesRef> {
        let name = sample.name.text();
        let labels: Vec<(String, String)> = sample
            .labels
            .iter()
            .map(|label| (label.name.text().into_owned(), label.value().into_owned()))
            .collect();
        let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        if matches!(&*name, "vllm:cache_config_info" | "vllm:cache_config") {
            builder.cache_config(&labels, at);
        }
        if self.known.len() >= MOST_SERIES {
            self.known.clear();
        }
        let series = builder.series(&name, &labels);
        self.known.insert(sample.series.into(), series);
        series
    }
}

#[cfg(test)]
mod tests {
    use vllm_monitor::StaleAfter;

    use super::*;

    const PAGE: &[u8] = b"# TYPE vllm:num_requests_running gauge\n\
        vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 3\n\
        rubbish here\n\
        vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"100\",engine=\"0\"} 1\n";

    #[test]
    fn a_page_is_read_and_garbage_is_not_a_page() {
        let mut builder = SnapshotBuilder::new("t", StaleAfter::default());
        let mut reader = PageReader::default();
        let at = Time::from_secs_f64(1.0);
        let summary = reader.read(&mut builder, PAGE, at);
        assert_eq!((summary.samples, summary.bad_lines), (2, 1));
        let snapshot = builder.build(at);
        assert_eq!(snapshot.engine.running.if_fresh(), Some(3.0));
        assert_eq!(snapshot.engine.kv_capacity_tokens.if_fresh(), Some(1600.0));
        assert_eq!(snapshot.engine.sampled_at, Some(at));

        let later = Time::from_secs_f64(2.0);
        assert_eq!(
            reader
                .read(&mut builder, b"<html><body>busy</body></html>", later)
                .samples,
            0
        );
        assert_eq!(
            builder.build(later).engine.sampled_at,
            Some(at),
            "no page was announced"
        );
    }
}
