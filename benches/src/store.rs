//! Size and speed of the stores: a recording of a real server replayed into each format.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use exposition::{Event, Format, Kind, Parser};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use vllm_metrics::store;
use vllm_metrics::{
    Manifest, MetricType, Record, Sample, SampleBatch, SeriesDef, SeriesId, StoreFormat, read_run,
};

use crate::Figure;
use crate::timing::thread_cpu_time;

/// Scrapes ready to be written.
#[derive(Debug)]
pub struct Recording {
    /// Series and samples in order, one batch per scrape.
    pub records: Vec<Record>,
    /// How many samples are in it.
    pub samples: usize,
    /// A description for the output line.
    pub origin: String,
}

/// The recording of a real server named by `VLLM_SCRAPES` (zstd text, with a line `# SCRAPE <unix ns>` before
/// each page), or one generated from the page in the repository.
///
/// # Panics
/// If the recording cannot be read.
pub fn recording() -> Recording {
    if let Some(path) = std::env::var_os("VLLM_SCRAPES").map(PathBuf::from) {
        let compressed = fs::read(&path).expect("VLLM_SCRAPES names a file that can be read");
        let text = zstd::decode_all(compressed.as_slice()).expect("the recording is zstd");
        let text = String::from_utf8(text).expect("the recording is text");
        let pages = text.split("# SCRAPE ").skip(1).map(|scrape| {
            let (time, page) = scrape.split_once('\n').expect("a time, then a page");
            (time.parse().expect("the time is nanoseconds"), page.to_owned())
        });
        return intern(pages, "600 scrapes of a real vLLM 0.32 under changing load");
    }
    intern(
        synthetic(),
        "600 synthetic scrapes made from one page of vLLM 0.32, since no recording is at hand",
    )
}

/// Pages in which every counter rises by a random step, and gauges wander.
fn synthetic() -> impl Iterator<Item = (i64, String)> {
    let page = crate::exposition::page();
    let mut random = 1_u64;
    let mut draw = move |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut values: HashMap<Vec<u8>, f64> = HashMap::new();
    (0..600_i64).map(move |tick| {
        let mut text = String::new();
        // The series of one family rise together, like the buckets of a histogram.
        let mut steps: HashMap<String, f64> = HashMap::new();
        for line in page.lines().filter(|line| line.starts_with("# TYPE")) {
            text.push_str(line);
            text.push('\n');
        }
        for event in Parser::new(page.as_bytes(), Format::Text) {
            let Event::Sample(sample) = event else { continue };
            let family = sample.family.text().into_owned();
            let step = *steps.entry(family).or_insert_with(|| draw(12) as f64);
            let value = values.entry(sample.series.to_vec()).or_insert(sample.value);
            let moves = sample.value != 0.0 && !sample.name.text().ends_with("_created");
            match sample.kind {
                Kind::Counter | Kind::Histogram if moves => *value += step,
                Kind::Gauge if moves => *value = step,
                _ => {}
            }
            text.push_str(&String::from_utf8_lossy(sample.series));
            text.push_str(&format!(" {value}\n"));
        }
        (
            1_750_000_000_000_000_000 + tick * 1_000_000_000 + i64::try_from(draw(900_000)).unwrap_or(0),
            text,
        )
    })
}

fn intern(pages: impl Iterator<Item = (i64, String)>, origin: &str) -> Recording {
    let mut recording = Recording {
        records: Vec::new(),
        samples: 0,
        origin: origin.to_owned(),
    };
    let mut ids: HashMap<Vec<u8>, SeriesId> = HashMap::new();
    for (time_ns, page) in pages {
        let mut batch = SampleBatch {
            start_ns: time_ns,
            end_ns: time_ns,
            phase: "run".into(),
            samples: Vec::new(),
        };
        for event in Parser::new(page.as_bytes(), Format::Text) {
            let Event::Sample(sample) = event else { continue };
            let next = SeriesId(u32::try_from(ids.len()).expect("few series"));
            let series = *ids.entry(sample.series.to_vec()).or_insert_with(|| {
                recording
                    .records
                    .push(Record::Series(next, Arc::new(definition(&sample))));
                next
            });
            batch.samples.push(Sample {
                series,
                timestamp_ns: time_ns,
                value: sample.value,
            });
        }
        recording.samples += batch.samples.len();
        recording.records.push(Record::Samples(batch.into()));
    }
    recording
}

fn definition(sample: &exposition::Sample<'_>) -> SeriesDef {
    let labels: std::collections::BTreeMap<String, String> = sample
        .labels
        .iter()
        .map(|label| (label.name.text().into_owned(), label.value().into_owned()))
        .collect();
    let name = sample.name.text();
    SeriesDef {
        metric_name: name.as_ref().into(),
        labels: serde_json::to_string(&labels).expect("texts serialise").into(),
        metric_type: match sample.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
            Kind::Summary => MetricType::Summary,
            _ => MetricType::Unknown,
        },
        unit: if name.contains("seconds") { "seconds" } else { "" }.into(),
        source: "vllm".into(),
        endpoint_url: "http://127.0.0.1:8000/metrics".into(),
    }
}

fn manifest() -> Manifest {
    Manifest {
        stamp: "20250601_120000".into(),
        ..Manifest::default()
    }
}

/// What one replay cost.
#[derive(Debug, Clone)]
pub struct Replay {
    /// All files of the finished run, in bytes per sample.
    pub bytes_per_sample: f64,
    /// CPU time of the writing thread for all writes and flushes.
    pub writing: Duration,
    /// Wall time of finishing.
    pub finishing: Duration,
    /// The longest flush, wall time.
    pub longest_flush: Duration,
    /// The largest growth of the process in bytes; `None` where the system does not report it.
    pub peak_growth: Option<u64>,
}

/// Writes the recording with a flush after each scrape, and checks that every value is read back bit for bit.
///
/// # Panics
/// If a store fails, or a value does not read back.
pub fn replay(recording: &Recording, format: StoreFormat) -> Replay {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let before = reset_peak();
    let cpu = thread_cpu_time();
    let mut store = store::open(format, dir.path(), &manifest()).expect("the store opens");
    let mut longest_flush = Duration::ZERO;
    for record in &recording.records {
        store.write(record.clone()).expect("the store takes a record");
        if matches!(record, Record::Samples(_)) {
            let start = Instant::now();
            store.flush().expect("the store flushes");
            longest_flush = longest_flush.max(start.elapsed());
        }
    }
    let writing = thread_cpu_time() - cpu;
    let start = Instant::now();
    let ended = Manifest {
        ended_ns: Some(1),
        ..manifest()
    };
    let files = store.finish(&ended).expect("the store finishes");
    let finishing = start.elapsed();
    let peak_growth = before.and_then(|before| peak().map(|peak| peak.saturating_sub(before)));
    verify(recording, &files.samples);
    Replay {
        bytes_per_sample: files.total_bytes as f64 / recording.samples as f64,
        writing,
        finishing,
        longest_flush,
        peak_growth,
    }
}

/// Name and labels.
type Key = (Arc<str>, Arc<str>);

fn verify(recording: &Recording, path: &Path) {
    let mut defs = Vec::new();
    let mut expected: HashMap<Key, Vec<(i64, u64)>> = HashMap::new();
    for record in &recording.records {
        match record {
            Record::Series(_, def) => defs.push((Arc::clone(&def.metric_name), Arc::clone(&def.labels))),
            Record::Samples(batch) => {
                for sample in &batch.samples {
                    let key = defs[sample.series.0 as usize].clone();
                    expected
                        .entry(key)
                        .or_default()
                        .push((sample.timestamp_ns, sample.value.to_bits()));
                }
            }
            _ => {}
        }
    }
    let run = read_run(path).expect("the run reads back");
    assert_eq!(run.series.len(), expected.len());
    for series in run.series {
        let key = (
            Arc::clone(&series.def.metric_name),
            Arc::clone(&series.def.labels),
        );
        let bits = series.values.iter().map(|value| value.to_bits());
        let found: Vec<_> = series.timestamps_ns.iter().copied().zip(bits).collect();
        assert!(
            expected.get(&key) == Some(&found),
            "{key:?} does not read back as written"
        );
    }
}

/// The peer: the same rows sorted by name, labels and time, written in one go with the library's defaults and
/// zstd.
fn plain_sorted_parquet(recording: &Recording) -> f64 {
    let mut defs = Vec::new();
    let mut rows: Vec<(usize, i64, f64)> = Vec::new();
    for record in &recording.records {
        match record {
            Record::Series(_, def) => defs.push(Arc::clone(def)),
            Record::Samples(batch) => {
                rows.extend(
                    batch
                        .samples
                        .iter()
                        .map(|s| (s.series.0 as usize, s.timestamp_ns, s.value)),
                );
            }
            _ => {}
        }
    }
    rows.sort_by(|a, b| {
        let key = |row: &(usize, i64, f64)| {
            (
                Arc::clone(&defs[row.0].metric_name),
                Arc::clone(&defs[row.0].labels),
                row.1,
            )
        };
        key(a).cmp(&key(b))
    });
    let text = |get: &dyn Fn(&SeriesDef) -> Arc<str>| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(
            rows.iter().map(|row| get(&defs[row.0])),
        ))
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "timestamp",
            Arc::new(
                TimestampNanosecondArray::from_iter_values(rows.iter().map(|row| row.1)).with_timezone("UTC"),
            ),
        ),
        ("metric_name", text(&|def| Arc::clone(&def.metric_name))),
        ("labels", text(&|def| Arc::clone(&def.labels))),
        (
            "value",
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2))),
        ),
        ("metric_type", text(&|def| def.metric_type.as_str().into())),
        ("unit", text(&|def| Arc::clone(&def.unit))),
        ("source", text(&|def| Arc::clone(&def.source))),
        ("endpoint_url", text(&|def| Arc::clone(&def.endpoint_url))),
        ("phase", text(&|_| "run".into())),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(Default::default()))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("writing to memory");
    writer.into_inner().expect("writing to memory").len() as f64 / rows.len() as f64
}

/// Resets the kernel's high-water mark and returns the resident size in bytes.
fn reset_peak() -> Option<u64> {
    fs::write("/proc/self/clear_refs", "5").ok()?;
    status("VmRSS:")
}

fn peak() -> Option<u64> {
    status("VmHWM:")
}

fn status(key: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .ok()
        .map(|kilobytes| kilobytes * 1024)
}

/// `store_bytes_per_sample` and `store_write_ns_per_sample`.
pub fn figures() -> Vec<Figure> {
    let recording = recording();
    let parquet = replay(&recording, StoreFormat::Parquet);
    let mut context = format!("all files of the run; {}", recording.origin);
    context += &format!(
        "; plain sorted Parquet with zstd {:.2}",
        plain_sorted_parquet(&recording)
    );
    let mut writing = String::from("CPU of the writer thread, a flush per scrape");
    for &format in StoreFormat::ALL {
        let other = if format == StoreFormat::Parquet {
            parquet.clone()
        } else {
            replay(&recording, format)
        };
        let nanos = other.writing.as_nanos() as f64 / recording.samples as f64;
        if format != StoreFormat::Parquet {
            context += &format!("; {format} {:.1}", other.bytes_per_sample);
            writing += &format!("; {format} {nanos:.0}");
        } else {
            writing += &format!(
                "; longest flush {:.1} ms, finishing {:.0} ms",
                other.longest_flush.as_secs_f64() * 1e3,
                other.finishing.as_secs_f64() * 1e3
            );
        }
    }
    context += &match parquet.peak_growth {
        Some(bytes) => format!("; Parquet's peak memory {:.1} MB", bytes as f64 / 1e6),
        None => "; peak memory not reported by this system".into(),
    };
    vec![
        Figure {
            name: "store_bytes_per_sample",
            value: Some(parquet.bytes_per_sample),
            unit: "bytes",
            context,
        },
        Figure {
            name: "store_write_ns_per_sample",
            value: Some(parquet.writing.as_nanos() as f64 / recording.samples as f64),
            unit: "ns",
            context: writing,
        },
    ]
}
