//! Describes a finished record for the console: its contents, its cost, and its gaps.

use std::collections::BTreeMap;
use std::time::Duration;

use vllm_metrics::derive::goodput::{self, LIMITS_FACT, Limits};
use vllm_metrics::derive::join::{self, Joined};
use vllm_metrics::view::Analysis;
use vllm_metrics::{FinishedRun, Gap, Outcome, RequestRow, RunData, TimeSource};

use super::check::LISTED_ENDPOINTS;
use crate::harness::request_log::percentile;
use crate::plan::words::counted;

/// The cost of the recorder and what it missed, one line each.
pub(super) fn describe(finished: &FinishedRun) -> Vec<String> {
    let cost = &finished.cost;
    let mut lines = vec![
        format!(
            "{} scrapes of {} series, {} read, {} on disk; fetch {} (longest {}) and parse {} on average",
            cost.scrapes,
            cost.series,
            bytes(cost.body_bytes),
            bytes(finished.files.total_bytes),
            ms(cost.mean_fetch),
            ms(cost.longest_fetch),
            ms(cost.mean_parse)
        ),
        own_cost(finished),
    ];
    lines.extend(finished.sent.iter().map(|sent| format!("sent: {sent}")));
    lines.extend(missing(finished));
    lines
}

/// CPU, hook calls, queue, drops and memory in one line.
fn own_cost(finished: &FinishedRun) -> String {
    let cost = &finished.cost;
    let share = cost
        .cpu_share_ratio()
        .map_or("unknown CPU time".to_owned(), |share| {
            format!("{:.2} % of one core", share * 100.0)
        });
    let secs =
        |cpu: Option<Duration>| cpu.map_or("unknown".to_owned(), |cpu| format!("{:.3} s", cpu.as_secs_f64()));
    let hooks = match (cost.hook_p50_ns, cost.hook_p99_ns) {
        (Some(p50), Some(p99)) => format!("a hook call p50 {p50} ns, p99 {p99} ns"),
        _ => "too few hook calls to time one".into(),
    };
    let dropped = finished.missing.dropped;
    let drops = if dropped == vllm_metrics::Dropped::default() && finished.missing.dropped_hook_calls == 0 {
        "nothing dropped".to_owned()
    } else {
        format!(
            "DROPPED {dropped}, {} hook calls",
            finished.missing.dropped_hook_calls
        )
    };
    format!(
        "own cost: {share} (scraping {}, writing {}, sampling {} of CPU in {:.1} s); {hooks}; queue at most {}; \
         {drops}; process memory {}, at most {}",
        secs(cost.collector_cpu),
        secs(cost.writer_cpu),
        cost.sampler_cpu.map_or("none".to_owned(), |cpu| secs(Some(cpu))),
        cost.wall.as_secs_f64(),
        bytes(cost.queue_high_water_bytes),
        cost.resident_bytes.map_or("unknown".to_owned(), bytes),
        cost.peak_resident_bytes.map_or("unknown".to_owned(), bytes),
    )
}

fn missing(finished: &FinishedRun) -> Vec<String> {
    let missing = &finished.missing;
    let mut lines = Vec::new();
    let silent = &missing.never_answered;
    for url in silent.iter().take(LISTED_ENDPOINTS) {
        let reason = missing.gaps.iter().find(|gap| gap.endpoint_url == *url);
        lines.push(format!(
            "MISSING: {url} never answered{}; there are no metrics of it in this run",
            reason.map_or(String::new(), |gap| format!(" ({})", gap.reason))
        ));
    }
    if silent.len() > LISTED_ENDPOINTS {
        lines.push(format!(
            "MISSING: {} of {} endpoints never answered; the events of the record name each with the reason",
            silent.len(),
            finished.endpoints.len()
        ));
    }
    let answered: Vec<&Gap> = missing
        .gaps
        .iter()
        .filter(|gap| !silent.contains(&gap.endpoint_url))
        .collect();
    lines.extend(describe_gaps(&answered, finished.manifest.started_ns));
    for (count, what) in [
        (missing.missed_ticks, "scrapes came too late to be made"),
        (missing.dropped_hook_calls, "hook calls were dropped"),
        (missing.unfinished_requests, "requests had no end"),
        (missing.refused_records, "records could not be stored"),
        (missing.bad_lines, "lines of metrics pages could not be read"),
        (
            missing.beyond_limit,
            "samples were left out: their endpoint exposed more series than are recorded of one",
        ),
    ] {
        if count > 0 {
            lines.push(format!("MISSING: {count} {what}"));
        }
    }
    if missing.dropped != vllm_metrics::Dropped::default() {
        lines.push(format!("MISSING: dropped before the store: {}", missing.dropped));
    }
    lines.extend(missing.notes.iter().map(|note| format!("note: {note}")));
    lines
}

/// Most gaps of one endpoint that are listed individually; more are summarised.
const LISTED_GAPS: usize = 3;

/// The gaps, by endpoint.
fn describe_gaps(gaps: &[&Gap], started_ns: i64) -> Vec<String> {
    let mut by_url: BTreeMap<&str, Vec<&Gap>> = BTreeMap::new();
    for &gap in gaps {
        by_url.entry(&gap.endpoint_url).or_default().push(gap);
    }
    let secs = |gap: &Gap| (gap.end_ns - gap.start_ns) as f64 / 1e9;
    let mut lines = Vec::new();
    let more = by_url.len().saturating_sub(LISTED_ENDPOINTS);
    for (url, gaps) in by_url.into_iter().take(LISTED_ENDPOINTS) {
        if gaps.len() <= LISTED_GAPS {
            lines.extend(gaps.iter().map(|gap| describe_gap(gap, started_ns)));
            continue;
        }
        let missed: u64 = gaps.iter().map(|gap| gap.missed_scrapes).sum();
        let longest = gaps.iter().copied().max_by(|a, b| secs(a).total_cmp(&secs(b)));
        lines.push(format!(
            "MISSING: {url} gave nothing in {} gaps, {:.1} s in all, longest {:.1} s ({}); the longest: {}",
            gaps.len(),
            gaps.iter().map(|gap| secs(gap)).sum::<f64>(),
            longest.map_or(0.0, secs),
            counted(missed, "scrape"),
            longest.map_or("", |gap| &*gap.reason)
        ));
    }
    if more > 0 {
        lines.push(format!(
            "MISSING: {more} more endpoints had gaps; the events of the record list them"
        ));
    }
    lines
}

/// Share of the window below which the covered part is shown.
const FULLY_COVERED: f64 = 0.995;

fn describe_gap(gap: &Gap, started_ns: i64) -> String {
    let since_start = |ns: i64| (ns - started_ns) as f64 / 1e9;
    format!(
        "MISSING: {} gave nothing from {:.1} s to {:.1} s of the run ({}): {}",
        gap.endpoint_url,
        since_start(gap.start_ns),
        since_start(gap.end_ns),
        counted(gap.missed_scrapes, "scrape"),
        gap.reason
    )
}

/// Figures of the stored requests in addition to the closing table: the server's share of their times, and
/// the goodput.
pub(super) fn of_requests(data: &Analysis<'_>) -> Vec<String> {
    let run = data.run();
    if run.requests.is_empty() {
        return Vec::new();
    }
    let joined = data.joined();
    let mut lines = vec![server_times(run, joined)];
    lines.extend(other_clients(run, joined));
    lines.extend(energy(run));
    if let (Some(limits), Some(written)) = (
        Limits::of_manifest(&run.manifest),
        run.manifest.facts.get(LIMITS_FACT),
    ) {
        let got = goodput::count(&run.requests, &limits);
        lines.push(format!(
            "goodput within {written}: {} requests/s, {} of {} requests",
            got.per_second()
                .map_or("unknown".to_owned(), |rate| format!("{rate:.2}")),
            got.good,
            got.requests
        ));
    }
    lines
}

/// Whether the servers worked for other clients, too.
fn other_clients(run: &RunData, joined: &Joined) -> Option<String> {
    let sent = run.requests.iter().filter(|request| request.sent_ns.is_some());
    (joined.others > 0).then(|| {
        format!(
            "OTHER CLIENTS: the server finished {} requests more than the {} that this run sent; its throughput, queue \
             and cache figures include them",
            joined.others,
            sent.count()
        )
    })
}

/// GPU energy of the measured window; `None` without GPU samples.
fn energy(run: &RunData) -> Option<String> {
    let report = vllm_metrics::energy::report(run).ok()?;
    let window = &report.window;
    let per_token = report.joules_per_output_token.map_or(String::new(), |figure| {
        format!(", {:.4} ± {:.4} J per output token", figure.value, figure.error)
    });
    let covered = window.covered_ratio();
    let part = if covered < FULLY_COVERED {
        format!("; samples cover {:.0} % of the window", covered * 100.0)
    } else {
        String::new()
    };
    Some(format!(
        "energy of {}: {:.1} ± {:.1} J{per_token}, {:.1} W on average over {:.1} s{part}",
        counted(window.gpus.len() as u64, "GPU"),
        window.joules(),
        window.error_joules(),
        window.mean_watts(),
        window.seconds()
    ))
}

/// The server's share of the requests' times: medians of what it reported for each request, else means from
/// its histograms, else why neither is known.
fn server_times(run: &RunData, joined: &Joined) -> String {
    if joined.reported > 0 {
        let rows: Vec<&RequestRow> = joined
            .requests
            .iter()
            .filter(|r| r.server_time_source == Some(TimeSource::Server))
            .collect();
        let median = |of: &dyn Fn(&RequestRow) -> Option<i64>| {
            let mut values: Vec<i64> = rows.iter().filter_map(|r| of(r)).collect();
            values.sort_unstable();
            percentile(&values, 50.0).map_or("unknown".to_owned(), |ns| format!("{:.2} ms", ns as f64 / 1e6))
        };
        return format!(
            "inside the server, median of {}: queue {}, prefill {}, decode {}; outside the engine {} (as reported by the \
             server)",
            rows.len(),
            median(&|r| r.server_queue_ns),
            median(&|r| r.server_prefill_ns),
            median(&|r| r.server_decode_ns),
            median(&|r| join::outside_engine_secs(r).map(|secs| (secs * 1e9) as i64)),
        );
    }
    if let Some(means) = joined.means {
        let ms = |secs: f64| format!("{:.2} ms", secs * 1e3);
        return format!(
            "inside the server, mean of {}: queue {}, prefill {}, decode {}; outside the engine {} (from its histograms)",
            means.requests,
            ms(means.queue_secs),
            ms(means.prefill_secs),
            ms(means.decode_secs),
            ms(means.outside_engine_secs),
        );
    }
    // Without a completed request, the server had nothing to report.
    let advice = if run.requests.iter().any(|r| r.outcome == Outcome::Completed) {
        "; a server started with --enable-per-request-metrics reports them"
    } else {
        ""
    };
    format!(
        "the server's queue, prefill and decode times are not available: {}{advice}",
        joined.no_means.as_deref().unwrap_or("its histograms are missing")
    )
}

fn ms(duration: Option<Duration>) -> String {
    duration.map_or("none".to_owned(), |duration| {
        format!("{:.2} ms", duration.as_secs_f64() * 1e3)
    })
}

fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(start_secs: i64, end_secs: i64) -> Gap {
        gap_of("http://a/metrics", start_secs, end_secs)
    }

    fn gap_of(url: &str, start_secs: i64, end_secs: i64) -> Gap {
        Gap {
            endpoint_url: url.into(),
            start_ns: start_secs * 1_000_000_000,
            end_ns: end_secs * 1_000_000_000,
            missed_scrapes: 2,
            reason: format!("timeout at {start_secs}"),
        }
    }

    #[test]
    fn many_gaps_are_one_line() {
        let mut gaps: Vec<Gap> = (0..200).map(|at| gap(10 * at, 10 * at + 1)).collect();
        gaps.push(gap(5000, 5009));
        let gaps: Vec<&Gap> = gaps.iter().collect();
        let lines = describe_gaps(&gaps, 0);
        assert_eq!(
            lines,
            [
                "MISSING: http://a/metrics gave nothing in 201 gaps, 209.0 s in all, longest 9.0 s (402 scrapes); \
              the longest: timeout at 5000"
            ]
        );
        assert_eq!(describe_gaps(&gaps[..3], 0).len(), 3, "a few are listed");
    }

    #[test]
    fn one_missed_scrape_is_singular() {
        let missed = |missed_scrapes| Gap {
            missed_scrapes,
            ..gap(1, 2)
        };
        assert!(describe_gap(&missed(1), 0).contains("(1 scrape)"));
        assert!(describe_gap(&missed(2), 0).contains("(2 scrapes)"));
    }

    #[test]
    fn gaps_of_many_endpoints_are_counted() {
        let gaps: Vec<Gap> = (0..100)
            .map(|n| gap_of(&format!("http://{n:03}/metrics"), 1, 2))
            .collect();
        let lines = describe_gaps(&gaps.iter().collect::<Vec<_>>(), 0);
        assert_eq!(lines.len(), LISTED_ENDPOINTS + 1);
        assert!(lines[LISTED_ENDPOINTS].contains("92 more endpoints"), "{lines:?}");
    }

    #[test]
    fn advice_about_server_times_needs_a_completed_request() {
        let line = server_times(&RunData::default(), &join::server_times(&RunData::default()));
        assert!(
            line.contains("not available: no request was completed")
                && !line.contains("--enable-per-request-metrics"),
            "{line}"
        );
        assert_eq!(energy(&RunData::default()), None, "no samples, no energy");
    }

    #[test]
    fn other_clients_are_named() {
        let joined = Joined {
            others: 552,
            ..Joined::default()
        };
        let line = other_clients(&RunData::default(), &joined).unwrap_or_default();
        assert!(line.contains("552 requests more than the 0"), "{line}");
        assert_eq!(other_clients(&RunData::default(), &Joined::default()), None);
    }
}
