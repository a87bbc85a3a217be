//! The series of a record, one cell per second.

use run_diagnosis::input::{Column, PerSecond, RequestTimes};
use vllm_metrics::derive::align::{self, Combine};
use vllm_metrics::derive::{counter, labels, names, totals};
use vllm_metrics::{RunData, SeriesData};

use super::grid::Grid;

/// Clock reductions that cost speed. The others are set at idle or by the user.
const THROTTLE_REASONS: [&str; 4] = ["sw_power_cap", "hw_thermal", "sw_thermal", "hw_power_brake"];

/// Every column that the record has the series for; the others say what is missing.
pub(super) fn of(record: &RunData, requests: &[RequestTimes], grid: Grid) -> PerSecond {
    let columns = Columns { record, grid };
    PerSecond {
        start_ns: grid.start_ns,
        seconds: grid.seconds,
        output_tokens: columns.output_tokens(requests),
        in_flight: columns.open(requests, |request| request.done_ns),
        // A request that failed before it was sent waits no longer once it is answered.
        client_queue: columns.open(requests, |request| request.sent_ns.or(request.done_ns)),
        client_cpu_cores: columns.growth("host_process_cpu_seconds_total", |labels| {
            labels.contains(r#""process":"self""#)
        }),
        running: columns.gauge("vllm:num_requests_running", Combine::Sum),
        waiting_for_capacity: columns.waiting("capacity", Some("vllm:num_requests_waiting")),
        waiting_deferred: columns.waiting("deferred", None),
        kv_cache_usage_ratio: columns.mean_of(&names::kv_cache_usage(record), "vllm:kv_cache_usage_perc"),
        preemptions: columns.growth("vllm:num_preemptions_total", |_| true),
        engine_steps: columns.growth("vllm:iteration_tokens_total_count", |_| true),
        step_tokens: columns.growth("vllm:iteration_tokens_total_sum", |_| true),
        prompt_tokens_computed: columns.prompt_tokens_computed(),
        generation_tokens: columns.growth("vllm:generation_tokens_total", |_| true),
        flops_per_gpu: columns.growth("vllm:estimated_flops_per_gpu_total", |_| true),
        memory_bytes_per_gpu: columns.growth_of(
            &[
                "vllm:estimated_read_bytes_per_gpu_total",
                "vllm:estimated_write_bytes_per_gpu_total",
            ],
            |_| true,
        ),
        api_server_cpu_cores: columns.api_server_cpu_cores(),
        scrape_secs: columns.gauge("scrape_duration_seconds", Combine::Mean),
        gpu_utilization_ratio: columns.mean_of(&names::gpu_utilization(record), "gpu_utilization_ratio"),
        throttled_secs: columns.throttled(),
        sm_clock_ratio: columns.sm_clock_ratio(),
        network_utilization_ratio: Column::absent("the speed of network links is not recorded"),
        tcp_retransmits: columns.growth("host_tcp_retransmits_total", |_| true),
    }
}

struct Columns<'a> {
    record: &'a RunData,
    grid: Grid,
}

impl<'a> Columns<'a> {
    fn named(&self, name: &'a str) -> impl Iterator<Item = &'a SeriesData> + use<'a> {
        totals::named(self.record, name)
    }

    fn missing(name: &str) -> Column {
        Column::absent(format!("the record has no {name}"))
    }

    fn gauge(&self, name: &'a str, how: Combine) -> Column {
        let series: Vec<&SeriesData> = self.named(name).collect();
        self.combined(&series, how, name)
    }

    fn combined(&self, series: &[&SeriesData], how: Combine, name: &str) -> Column {
        if series.is_empty() {
            return Self::missing(name);
        }
        let points: Vec<align::Points<'_>> = series
            .iter()
            .map(|series| (&series.timestamps_ns[..], &series.values[..]))
            .collect();
        let (times, values) = align::combine(&points, how);
        Column::of(self.grid.gauge(&times, &values))
    }

    fn mean_of(&self, series: &[SeriesData], name: &str) -> Column {
        self.combined(&series.iter().collect::<Vec<_>>(), Combine::Mean, name)
    }

    fn growth(&self, name: &'a str, wanted: impl Fn(&str) -> bool) -> Column {
        self.growth_of(&[name], wanted)
    }

    /// Growth of all counters of these names with wanted labels, added up.
    fn growth_of(&self, names: &[&'a str], wanted: impl Fn(&str) -> bool) -> Column {
        let series: Vec<&SeriesData> = names
            .iter()
            .flat_map(|name| self.named(name))
            .filter(|series| wanted(&series.def.labels))
            .collect();
        if series.is_empty() {
            return Self::missing(names[0]);
        }
        Column::of(self.added_growth(&series))
    }

    fn added_growth(&self, series: &[&SeriesData]) -> Vec<Option<f64>> {
        let mut sum = vec![None; self.grid.seconds];
        for series in series {
            for (sum, cell) in sum.iter_mut().zip(self.growth_cells(series)) {
                *sum = match (*sum, cell) {
                    (Some(sum), Some(cell)) => Some(sum + cell),
                    (one, other) => one.or(other),
                };
            }
        }
        sum
    }

    fn growth_cells(&self, series: &SeriesData) -> Vec<Option<f64>> {
        let steps = counter::steps(&series.timestamps_ns, &series.values);
        let longest_ns =
            align::median_interval_ns(&series.timestamps_ns).map_or(i64::MAX, align::longest_step_ns);
        let steps = steps
            .iter()
            .map(|step| (step.start_ns, step.end_ns, step.increase));
        self.grid.growth(steps, longest_ns)
    }

    /// Queue by reason, or of a server without reasons the queue as a whole.
    fn waiting(&self, reason: &str, otherwise: Option<&'a str>) -> Column {
        const BY_REASON: &str = "vllm:num_requests_waiting_by_reason";
        let label = format!(r#""reason":"{reason}""#);
        let series: Vec<&SeriesData> = self
            .named(BY_REASON)
            .filter(|series| series.def.labels.contains(&label))
            .collect();
        match otherwise {
            Some(name) if series.is_empty() => self.gauge(name, Combine::Sum),
            _ => self.combined(&series, Combine::Sum, BY_REASON),
        }
    }

    /// Prompt tokens that were computed: by source, or of an older server all of them less those that it had cached.
    fn prompt_tokens_computed(&self) -> Column {
        let by_source = self.growth("vllm:prompt_tokens_by_source_total", |labels| {
            labels.contains(r#""source":"local_compute""#)
        });
        if by_source.absent_because().is_none() {
            return by_source;
        }
        let (all, cached): (Vec<&SeriesData>, Vec<&SeriesData>) = (
            self.named("vllm:prompt_tokens_total").collect(),
            self.named("vllm:prefix_cache_hits_total").collect(),
        );
        if all.is_empty() || cached.is_empty() {
            return Self::missing("vllm:prompt_tokens_by_source_total");
        }
        let (all, cached) = (self.added_growth(&all), self.added_growth(&cached));
        Column::of(
            all.into_iter()
                .zip(cached)
                .map(|(all, cached)| Some((all? - cached?).max(0.0))),
        )
    }

    /// The busiest API-server process: that of each page which is a vLLM server's.
    fn api_server_cpu_cores(&self) -> Column {
        const NAME: &str = "process_cpu_seconds_total";
        let is_server = |url: &str| {
            self.named("vllm:num_requests_running")
                .any(|series| &*series.def.endpoint_url == url)
        };
        let series = self
            .named(NAME)
            .filter(|series| is_server(&series.def.endpoint_url));
        self.largest(series.map(|series| self.growth_cells(series)), NAME)
    }

    fn largest(&self, columns: impl Iterator<Item = Vec<Option<f64>>>, name: &str) -> Column {
        self.one_of(columns, f64::max, name)
    }

    fn one_of(
        &self,
        columns: impl Iterator<Item = Vec<Option<f64>>>,
        choose: fn(f64, f64) -> f64,
        name: &str,
    ) -> Column {
        let chosen = columns.reduce(|mut chosen, column| {
            for (chosen, cell) in chosen.iter_mut().zip(column) {
                *chosen = match (*chosen, cell) {
                    (Some(one), Some(other)) => Some(choose(one, other)),
                    (one, other) => one.or(other),
                };
            }
            chosen
        });
        chosen.map_or_else(|| Self::missing(name), Column::of)
    }

    /// Of the GPU that was throttled most. Several reasons at a time are still one second.
    fn throttled(&self) -> Column {
        const NAME: &str = "gpu_throttle_seconds_total";
        let counts = |series: &&SeriesData| {
            labels::parse(&series.def.labels)
                .get("reason")
                .is_some_and(|reason| THROTTLE_REASONS.contains(&reason.as_str()))
        };
        let per_gpu = gpus(self.named(NAME).filter(counts));
        let columns = per_gpu.into_iter().map(|series| {
            let cells = self.added_growth(&series).into_iter();
            cells.map(|cell| cell.map(|secs| secs.min(1.0))).collect()
        });
        self.largest(columns, NAME)
    }

    /// Of the GPU with the lowest clock.
    fn sm_clock_ratio(&self) -> Column {
        let most = |gpu: &str| {
            self.named("gpu_sm_clock_max_hertz")
                .find(|series| gpu_of(series) == gpu)
                .and_then(|series| series.values.last().copied())
        };
        let columns = self.named("gpu_sm_clock_hertz").filter_map(|series| {
            let most = most(&gpu_of(series))?;
            let ratios: Vec<f64> = series.values.iter().map(|clock| clock / most).collect();
            Some(self.grid.gauge(&series.timestamps_ns, &ratios))
        });
        self.one_of(columns, f64::min, "gpu_sm_clock_hertz with its maximum")
    }

    /// Mean number of requests that were issued and have not reached a time; one that never does is there to the end.
    fn open(&self, requests: &[RequestTimes], until: fn(&RequestTimes) -> Option<i64>) -> Column {
        if requests.is_empty() {
            return Column::absent("the record has no requests");
        }
        let end_ns = self.grid.start_ns + self.grid.seconds as i64 * super::grid::SECOND;
        let mut sums = self.grid.sums();
        for request in requests {
            let (from_ns, to_ns) = (request.issued_ns, until(request).unwrap_or(end_ns));
            sums.spread(from_ns, to_ns, (to_ns - from_ns).max(0) as f64 / 1e9);
        }
        Column::full(sums.finish())
    }

    /// From the requests where they tell when tokens arrived: the first token at its time, the others evenly from then
    /// to the end. Without first tokens (Offline does not stream), what the server counted.
    fn output_tokens(&self, requests: &[RequestTimes]) -> Column {
        let answered = || {
            requests
                .iter()
                .filter(|request| !request.failed && request.output_tokens.is_some())
        };
        let streamed = answered()
            .filter(|request| request.first_token_ns.is_some())
            .count();
        if streamed > 0 && 2 * streamed >= answered().count() {
            let mut sums = self.grid.sums();
            for request in answered() {
                let tokens = f64::from(request.output_tokens.unwrap_or(0));
                match (request.first_token_ns, request.done_ns) {
                    (Some(first_ns), Some(done_ns)) if tokens >= 1.0 => {
                        sums.at(first_ns, 1.0);
                        sums.spread(first_ns, done_ns, tokens - 1.0);
                    }
                    (_, Some(done_ns)) => sums.at(done_ns, tokens),
                    _ => {}
                }
            }
            return Column::full(sums.finish());
        }
        self.growth("vllm:generation_tokens_total", |_| true)
    }
}

/// Which GPU a series is of.
fn gpu_of(series: &SeriesData) -> String {
    labels::parse(&series.def.labels)
        .remove("gpu")
        .unwrap_or_default()
}

fn gpus<'a>(series: impl Iterator<Item = &'a SeriesData>) -> Vec<Vec<&'a SeriesData>> {
    let mut all: std::collections::BTreeMap<String, Vec<&SeriesData>> = std::collections::BTreeMap::new();
    for series in series {
        all.entry(gpu_of(series)).or_default().push(series);
    }
    all.into_values().collect()
}
