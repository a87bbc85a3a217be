//! What is drawn, at both ends of the usual sizes, compared with stored text.
//!
//! `UPDATE_SCENES=1 cargo test -p run-terminal --test scenes` writes the text again; read the difference.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use run_analysis::view::LiveView;
use run_model::{
    EventKind, EventRow, Manifest, MetricType, Outcome, Record, RequestRow, Sample, SampleBatch, SeriesDef,
    SeriesId,
};
use run_terminal::{History, Limits, MissedUpdates, Queries, SceneStyle, Snapshot, State, Status, draw};

const S: i64 = 1_000_000_000;
const PLAIN: SceneStyle = SceneStyle {
    colour: false,
    ascii: false,
};

/// A run that is fed by hand.
struct Run {
    view: LiveView,
    series: u32,
}

impl Run {
    fn new() -> Self {
        let mut view = LiveView::new(Duration::from_secs(600));
        view.describe(Manifest {
            stamp: "20260101_000000".into(),
            started_ns: 1000 * S,
            ..Manifest::default()
        });
        Self { view, series: 0 }
    }

    /// A series with one value per second, beginning a second after the start.
    fn series(
        &mut self,
        name: &str,
        labels: &str,
        url: &str,
        values: impl IntoIterator<Item = f64>,
    ) -> &mut Self {
        let id = SeriesId(self.series);
        self.series += 1;
        let is_counter = name.ends_with("_total");
        let def = SeriesDef {
            metric_name: name.into(),
            labels: labels.into(),
            metric_type: if is_counter {
                MetricType::Counter
            } else {
                MetricType::Gauge
            },
            unit: "".into(),
            source: "prometheus".into(),
            endpoint_url: url.into(),
        };
        self.view.apply(&Record::Series(id, Arc::new(def)));
        for (second, value) in (1001..).zip(values) {
            let at_ns = second * S;
            self.view.apply(&Record::Samples(Arc::new(SampleBatch {
                start_ns: at_ns,
                end_ns: at_ns,
                phase: "performance".into(),
                samples: vec![Sample {
                    series: id,
                    timestamp_ns: at_ns,
                    value,
                }],
            })));
        }
        self
    }

    /// The series of an engine for `seconds`.
    fn engine(&mut self, url: &str, seconds: i64) -> &mut Self {
        let over = move |of: fn(f64) -> f64| (0..seconds).map(move |second| of(second as f64));
        self.series("vllm:num_requests_running", "{}", url, over(|s| 20.0 + s))
            .series("vllm:num_requests_waiting", "{}", url, over(|s| s % 4.0))
            .series(
                "vllm:kv_cache_usage_perc",
                "{}",
                url,
                over(|s| (0.5 + s / 100.0).min(1.0)),
            )
            .series("vllm:generation_tokens_total", "{}", url, over(|s| 100.0 * s * s))
            .series("vllm:num_preemptions_total", "{}", url, over(|s| 2.0 * s))
    }

    fn gpu(&mut self, gpu: &str, seconds: i64) -> &mut Self {
        let labels = format!(r#"{{"gpu":"{gpu}"}}"#);
        for (name, value) in [
            ("gpu_utilization_ratio", 0.97),
            ("gpu_power_watts", 652.0),
            ("gpu_temperature_celsius", 71.0),
            ("gpu_memory_used_bytes", 7.5e10),
            ("gpu_memory_total_bytes", 8.5e10),
            ("gpu_sm_clock_hertz", 1.98e9),
        ] {
            self.series(name, &labels, "", (0..seconds).map(|_| value));
        }
        self
    }

    /// A request that ended `second` seconds after the start.
    fn request(&mut self, second: i64, outcome: Outcome) -> &mut Self {
        let done_ns = (1000 + second) * S;
        self.view.apply(&Record::Request(RequestRow {
            request_id: second as u64,
            sample_index: 0,
            batch_id: None,
            endpoint: 0,
            scheduled_ns: None,
            issued_ns: done_ns - 2 * S,
            sent_ns: Some(done_ns - 2 * S),
            first_token_ns: Some(done_ns - S),
            done_ns: Some(done_ns),
            prompt_tokens: Some(100),
            output_tokens: Some(11),
            server_queue_ns: None,
            server_prefill_ns: None,
            server_decode_ns: None,
            server_time_source: None,
            outcome,
            reason: None,
        }));
        self
    }

    fn event(&mut self, second: i64, kind: EventKind, message: &str) -> &mut Self {
        let event = EventRow::new((1000 + second) * S, kind, "self", message);
        self.view.apply(&Record::Event(event));
        self
    }

    fn snapshot(&self, status: Status) -> Snapshot {
        let mut history = History::default();
        history.advance(&self.view);
        Snapshot::of(&self.view, &history, status, Some(10 * S))
    }
}

fn status() -> Status {
    Status {
        title: "llama3_1-8b, Server, Performance".into(),
        facts: vec!["vLLM 0.32.0".into()],
        queries: Some(Queries {
            issued: Some(130),
            completed: 100,
            failed: 0,
            planned: Some(400),
            per_second: Some(4.0),
            tokens_per_second: Some(44.0),
        }),
        elapsed: Some(Duration::from_secs(40)),
        left: Some(Duration::from_secs(120)),
        forecast: "early stopping (TTFT): needs about 359 more queries".into(),
        limits: Limits {
            ttft_secs: Some(0.5),
            tpot_secs: Some(0.2),
        },
        ..Status::default()
    }
}

/// The picture as text, without spaces at the ends of lines.
fn picture(snapshot: &Snapshot, width: u16, height: u16, look: SceneStyle) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal
        .draw(|frame| draw(frame, snapshot, look))
        .expect("a picture");
    let buffer = terminal.backend().buffer();
    if !look.colour {
        let coloured = buffer
            .content()
            .iter()
            .find(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        assert!(coloured.is_none(), "a colour without colours: {coloured:?}");
    }
    let rows = buffer.content().chunks(usize::from(width.max(1)));
    let lines = rows.map(|row| {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}

/// Draws at both sizes and compares with `tests/scenes/NAME_SIZE.txt`. Returns both pictures.
fn compare(name: &str, snapshot: &Snapshot) -> [String; 2] {
    [(80, 24), (200, 60)].map(|(width, height)| {
        let drawn = picture(snapshot, width, height, PLAIN);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenes");
        let path = folder.join(format!("{name}_{width}x{height}.txt"));
        if std::env::var_os("UPDATE_SCENES").is_some() {
            std::fs::create_dir_all(&folder).expect("a folder");
            std::fs::write(&path, &drawn).expect("a file");
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            drawn,
            stored,
            "{} differs; see the head of this file",
            path.display()
        );
        drawn
    })
}

#[test]
fn a_run_in_full() {
    let mut run = Run::new();
    run.engine("http://a:8000/metrics", 40).gpu("0", 40).gpu("1", 40);
    for second in 3..40 {
        run.request(second, Outcome::Completed);
    }
    run.event(0, EventKind::SessionStarted, "recording began").event(
        12,
        EventKind::MissedTick,
        "1 tick could not be kept",
    );
    let mut status = status();
    status.simulated = true;
    status.log = vec!["INFO metrics: http://a:8000/metrics".into()];
    for drawn in compare("full", &run.snapshot(status)) {
        for part in [
            "SIMULATED",
            "100 of 400",
            "OVER 500 ms",
            "limit 200 ms",
            "GPU 1",
            "652 W",
            "71 C",
            "missed_tick",
        ] {
            assert!(drawn.contains(part), "{part} is missing:\n{drawn}");
        }
    }
}

#[test]
fn nothing_recorded_yet() {
    let run = Run::new();
    let mut status = status();
    status.queries = Some(Queries {
        issued: Some(0),
        planned: Some(400),
        ..Queries::default()
    });
    status.left = None;
    for drawn in compare("empty", &run.snapshot(status)) {
        assert!(
            drawn.contains("none yet") && drawn.contains("running   -      waiting -"),
            "{drawn}"
        );
        assert!(!drawn.contains("GPU"), "{drawn}");
    }
}

#[test]
fn one_request_and_no_gpu() {
    let mut run = Run::new();
    run.engine("http://a:8000/metrics", 5)
        .request(4, Outcome::Completed);
    for drawn in compare("one_request", &run.snapshot(status())) {
        assert!(drawn.contains("TPOT      p50  100 ms"), "{drawn}");
        assert!(
            drawn.contains("no power recorded") && !drawn.contains("GPU 0"),
            "{drawn}"
        );
    }
}

#[test]
fn a_run_that_was_cut() {
    let mut run = Run::new();
    run.engine("http://a:8000/metrics", 20)
        .request(18, Outcome::Failed);
    let status = Status {
        queries: Some(Queries {
            failed: 1,
            ..Queries::default()
        }),
        state: State::Silent(Duration::from_secs(75)),
        missed: MissedUpdates {
            samples: 7,
            ..MissedUpdates::default()
        },
        ..status()
    };
    for drawn in compare("cut", &run.snapshot(status)) {
        for part in ["has no end", "1:15", "FAILED 1", "7 samples, 0 requests"] {
            assert!(drawn.contains(part), "{part} is missing:\n{drawn}");
        }
    }
}

#[test]
fn several_servers_of_which_one_is_lost() {
    let mut run = Run::new();
    run.engine("http://10.0.0.1:8000/metrics", 60)
        .engine("http://10.0.0.2:8000/metrics", 60)
        .engine("http://10.0.0.3:8000/metrics", 15);
    run.event(
        16,
        EventKind::ScrapeFailed,
        "http://10.0.0.3:8000/metrics: connection refused",
    );
    for drawn in compare("servers", &run.snapshot(status())) {
        assert!(drawn.contains("10.0.0.1:8000"), "{drawn}");
        assert!(drawn.contains("LOST: no sample for 0:45"), "{drawn}");
    }
}

#[test]
fn a_finished_run_shows_its_verdict() {
    let mut run = Run::new();
    run.engine("http://a:8000/metrics", 30);
    let status = Status {
        state: State::Ended {
            verdict: Some("INVALID".into()),
            counts: false,
            reasons: vec!["the run was too short".into()],
        },
        ..status()
    };
    let drawn = picture(&run.snapshot(status), 80, 24, PLAIN);
    assert!(drawn.contains("INVALID: the run was too short"), "{drawn}");
}

#[test]
fn every_size_is_drawn_and_ascii_is_ascii() {
    let mut run = Run::new();
    run.engine("http://a:8000/metrics", 40)
        .engine("http://b:8000/metrics", 40)
        .gpu("0", 40)
        .request(30, Outcome::Completed)
        .event(1, EventKind::Gap, "no samples for 2 s");
    let snapshot = run.snapshot(status());
    let ascii = SceneStyle {
        colour: true,
        ascii: true,
    };
    for width in [0, 1, 2, 19, 20, 33, 34, 79, 80, 149, 150, 151, 300] {
        for height in [0, 1, 2, 3, 4, 7, 12, 23, 24, 25, 60, 100] {
            let drawn = picture(&snapshot, width, height, ascii);
            assert!(drawn.is_ascii(), "{width} x {height}:\n{drawn}");
        }
    }
}

#[test]
fn what_a_server_sends_cannot_change_the_terminal() {
    let mut run = Run::new();
    run.event(1, EventKind::Gap, "\u{1b}]0;title\u{7}\u{1b}[2J gone\r\n");
    let status = Status {
        title: "a\u{1b}[31mb".into(),
        ..status()
    };
    let drawn = picture(&run.snapshot(status), 80, 24, PLAIN);
    assert!(!drawn.contains(['\u{1b}', '\u{7}', '\r']), "{drawn:?}");
}
