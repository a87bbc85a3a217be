//! Uploading to a folder, to a server that speaks enough of S3, and to an address where nothing listens.
#![cfg(feature = "upload")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vllm_metrics::store::upload::{Upload, UploadConfig, UploadingStore};
use vllm_metrics::store::{Store as _, StoreFormat, StoreOptions};
use vllm_metrics::{EventRow, Manifest, Record, Session, Severity};

/// A run of a few events.
fn record(dir: &Path, upload: &Upload) -> vllm_metrics::FinishedRun {
    let session = Session::builder()
        .output_dir(dir)
        .upload(upload.clone())
        .start()
        .unwrap();
    session.hooks().model_loaded();
    session.hooks().test_completed();
    session.finish().unwrap()
}

/// What the server received.
#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Vec<u8>>,
    unsigned: u64,
    requests: u64,
}

/// Answers the first requests with these statuses and accepts later ones.
fn fake_s3(first: &'static [u16]) -> (u16, Arc<Mutex<Bucket>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let bucket = Arc::new(Mutex::new(Bucket::default()));
    let shared = Arc::clone(&bucket);
    // Lives as long as the test's process; each connection serves one request after the other.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let bucket = Arc::clone(&shared);
            std::thread::spawn(move || while one_request(&stream, first, &bucket).is_some() {});
        }
    });
    (port, bucket)
}

fn one_request(mut stream: &TcpStream, first: &[u16], bucket: &Mutex<Bucket>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let header = |name: &str| {
        head.iter().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let length = header("content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut words = head[0].split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut bucket = bucket.lock().unwrap();
    let status = first.get(bucket.requests as usize).copied().unwrap_or(200);
    bucket.requests += 1;
    if !header("authorization").is_some_and(|value| value.starts_with("AWS4-HMAC-SHA256")) {
        bucket.unsigned += 1;
    }
    if status == 200 && method == "PUT" {
        bucket.objects.insert(path, body);
    }
    let answer = format!("HTTP/1.1 {status} x\r\netag: \"e\"\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).ok()
}

fn s3(port: u16) -> UploadConfig {
    let mut config = UploadConfig::new("s3://bucket/runs/today");
    for (key, value) in [
        ("aws_endpoint", format!("http://127.0.0.1:{port}")),
        ("aws_allow_http", "true".to_owned()),
        ("aws_access_key_id", "key".to_owned()),
        ("aws_secret_access_key", "hush".to_owned()),
        ("aws_region", "us-east-1".to_owned()),
    ] {
        config.options.insert(key.to_owned(), value);
    }
    config.first_pause = Duration::from_millis(1);
    config
}

#[test]
fn every_file_of_a_run_lies_in_the_folder_and_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("kept");
    let upload = Upload::start(UploadConfig::new(format!("file://{}", target.display()))).unwrap();
    let run = record(&dir.path().join("run"), &upload);
    let stats = run.uploads.unwrap();
    assert!(stats.problems().is_empty(), "{stats:?}");
    assert!(run.missing.notes.is_empty(), "{:?}", run.missing.notes);
    let mut compared = 0;
    for path in run.files.all.iter().chain(&run.processed_path) {
        let copy = std::fs::read(target.join(path.file_name().unwrap())).unwrap();
        assert_eq!(copy, std::fs::read(path).unwrap(), "{}", path.display());
        compared += 1;
    }
    assert!(compared >= 2 && stats.files >= compared, "{stats:?}");
    upload.file(&run.samples_path);
    assert_eq!(upload.settle(), stats, "a file goes out once");
}

#[test]
fn a_large_file_goes_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large");
    let bytes: Vec<u8> = (0..20u32 << 20).map(|at| (at % 251) as u8).collect();
    std::fs::write(&file, &bytes).unwrap();
    let target = dir.path().join("kept");
    let upload = Upload::start(UploadConfig::new(format!("file://{}", target.display()))).unwrap();
    upload.file(&file);
    let stats = upload.settle();
    assert_eq!((stats.files, stats.bytes), (1, 20 << 20), "{stats:?}");
    assert!(std::fs::read(target.join("large")).unwrap() == bytes);
}

#[test]
fn a_store_that_is_busy_at_first_gets_every_file_signed_under_its_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let (port, bucket) = fake_s3(&[503, 500]);
    let upload = Upload::start(s3(port)).unwrap();
    let run = record(dir.path(), &upload);
    let stats = run.uploads.unwrap();
    assert_eq!(stats.retries, 2, "{stats:?}");
    assert!(stats.problems().is_empty(), "{stats:?}");
    let bucket = bucket.lock().unwrap();
    assert_eq!(bucket.unsigned, 0);
    for path in &run.files.all {
        let name = path.file_name().unwrap().to_str().unwrap();
        let object = &bucket.objects[&format!("/bucket/runs/today/{name}")];
        assert_eq!(*object, std::fs::read(path).unwrap(), "{name}");
    }
}

#[test]
fn a_refusal_is_named_and_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let (port, bucket) = fake_s3(&[403; 64]);
    let upload = Upload::start(s3(port)).unwrap();
    let run = record(dir.path(), &upload);
    let stats = run.uploads.unwrap();
    assert_eq!((stats.files, stats.retries), (0, 0), "{stats:?}");
    let files = bucket.lock().unwrap().requests;
    assert_eq!(run.missing.notes.len() as u64, files, "{:?}", run.missing.notes);
    let told = &run.missing.notes[0];
    assert!(
        told.contains("was not uploaded") && !told.contains("hush"),
        "{told}"
    );
    assert!(run.samples_path.exists(), "the record itself is whole");
}

#[test]
fn a_store_that_is_not_there_ends_the_attempts_and_not_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut config = s3(nobody);
    config.attempts = 2;
    let run = record(dir.path(), &Upload::start(config).unwrap());
    let stats = run.uploads.unwrap();
    assert_eq!(stats.retries, stats.failed.len() as u64, "{stats:?}");
    assert!(stats.failed[0].1.contains("attempt 2"), "{stats:?}");
}

#[test]
fn closed_parts_are_uploaded_while_the_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("kept");
    let upload = Upload::start(UploadConfig::new(format!("file://{}", target.display()))).unwrap();
    let mut options = StoreOptions::default();
    options.rotate_age = Some(Duration::ZERO);
    options.leave_parts = true;
    let manifest = Manifest {
        stamp: "20260101_000000".into(),
        started_ns: 1,
        ended_ns: None,
        simulated: false,
        facts: BTreeMap::new(),
    };
    let run = dir.path().join("run");
    let mut store =
        UploadingStore::open(StoreFormat::Parquet, &run, &manifest, &options, upload.clone()).unwrap();
    for at in 0..2 {
        store
            .write(Record::Event(EventRow {
                timestamp_ns: at,
                end_ns: None,
                kind: "mark".into(),
                severity: Severity::Info,
                source: "test".into(),
                message: "".into(),
                attributes: "{}".into(),
            }))
            .unwrap();
        store.flush().unwrap();
    }
    let stats = upload.settle();
    assert!(stats.files >= 2, "{stats:?}");
    for part in 0..2 {
        let name = format!("events_20260101_000000.part{part:04}.parquet");
        assert_eq!(
            std::fs::read(target.join(&name)).unwrap(),
            std::fs::read(run.join(&name)).unwrap()
        );
    }
    let files = Box::new(store).finish(&manifest).unwrap();
    let stats = upload.settle();
    assert_eq!(stats.files, files.all.len() as u64, "{stats:?} {files:?}");
}

#[test]
fn what_cannot_be_a_target_is_told_at_the_start() {
    for (url, told) in [
        ("gs://bucket/x", "gs"),
        ("not a url", "not a url"),
        ("s3:///prefix", "bucket"),
    ] {
        let error = Upload::start(UploadConfig::new(url)).unwrap_err().to_string();
        assert!(error.contains(told), "{url}: {error}");
    }
    let mut config = s3(1);
    config.options.insert("aws_colour".into(), "blue".into());
    let error = Upload::start(config.clone()).unwrap_err().to_string();
    assert!(error.contains("aws_colour"), "{error}");
    assert!(!format!("{config:?}").contains("hush"));
}
