//! The test cases that `runs.rs` starts, each in its own process.

use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use mlperf_loadgen::{
    Benchmark, CallbackError, Error, IssuedSample, IssuedSamples, LogSettings, Mode, QuerySampleLibrary,
    Refused, RunReport, Scenario, SystemUnderTest, TestSettings, run_test,
};

pub(crate) fn run(case: &str, dir: &Path) {
    match case {
        "offline" => offline(dir),
        "server" => server(dir),
        "streams" => streams(dir),
        "accuracy" => accuracy(dir),
        "dropped" => dropped(dir),
        "panic" => panics(dir),
        "missing first token" => missing_first_token(dir),
        "load failure" => load_failure(dir),
        "issue threads" => issue_threads(dir),
        "one at a time" => one_at_a_time(dir),
        "user.conf" => user_conf(dir),
        "audit" => audit(dir),
        "log folder" => log_folder(dir),
        "exit" => exit(dir),
        other => panic!("no case {other}"),
    }
}

/// A SUT that hands each query to a closure.
struct Sut<F>(F);

impl<F: Fn(IssuedSamples<'_>) + Sync> SystemUnderTest for Sut<F> {
    fn name(&self) -> String {
        "test SUT".to_owned()
    }

    fn issue_query(&self, samples: IssuedSamples<'_>) {
        (self.0)(samples);
    }
}

struct Qsl(usize);

impl QuerySampleLibrary for Qsl {
    fn name(&self) -> String {
        "test QSL".to_owned()
    }

    fn total_sample_count(&self) -> usize {
        self.0
    }
}

fn settings(scenario: Scenario) -> TestSettings {
    let mut settings = TestSettings::new(scenario, Mode::Performance);
    settings.min_duration = Duration::ZERO;
    settings.use_token_latencies = true;
    settings.server_target_qps = 2000.0;
    settings.server_ttft_latency = Duration::from_secs(5);
    settings.server_tpot_latency = Duration::from_secs(5);
    settings
}

fn test(
    issue: impl Fn(IssuedSamples<'_>) + Sync,
    samples: usize,
    settings: &TestSettings,
    dir: &Path,
) -> RunReport {
    run_test(&Sut(issue), &Qsl(samples), settings, &LogSettings::new(dir)).unwrap()
}

/// Two tokens: the index and the next number.
fn answer(mut sample: IssuedSample) {
    let first = (sample.index() as u32).to_le_bytes();
    let second = (sample.index() as u32 + 1).to_le_bytes();
    sample.first_token(&first).unwrap();
    sample.complete(&[first, second].concat(), 2).unwrap();
}

fn offline(dir: &Path) {
    let mut settings = settings(Scenario::Offline);
    settings.min_query_count = 64;
    let effective = settings.effective(64, 64).unwrap();
    assert_eq!((effective.samples_per_query, effective.min_query_count), (64, 1));
    let report = test(
        |samples| {
            assert_eq!(samples.len(), 64);
            samples.for_each(answer);
        },
        64,
        &settings,
        dir,
    );
    assert!(report.incidents.is_empty(), "{report:?}");
}

/// Starts `n` threads that answer samples from a channel, and runs a test on them.
fn with_workers(n: usize, settings: &TestSettings, dir: &Path) -> RunReport {
    let (send, receive): (Sender<IssuedSample>, Receiver<IssuedSample>) = channel();
    let receive = Mutex::new(receive);
    std::thread::scope(|scope| {
        for _ in 0..n {
            scope.spawn(|| {
                loop {
                    let next = receive.lock().unwrap().recv();
                    let Ok(sample) = next else { break };
                    let (scheduled, issued) = (sample.scheduled_at().unwrap(), sample.issued_at().unwrap());
                    assert!(issued >= scheduled);
                    answer(sample);
                }
            });
        }
        let report = test(
            |samples| samples.for_each(|sample| send.send(sample).unwrap()),
            50,
            settings,
            dir,
        );
        drop(send);
        report
    })
}

fn server(dir: &Path) {
    let mut settings = settings(Scenario::Server);
    settings.min_query_count = 500;
    let report = with_workers(4, &settings, dir);
    assert!(report.incidents.is_empty(), "{report:?}");
    assert!(report.wall_time > Duration::from_millis(100));
}

fn streams(dir: &Path) {
    for (name, scenario) in [
        ("single", Scenario::SingleStream),
        ("multi", Scenario::MultiStream),
    ] {
        let mut settings = settings(scenario);
        settings.use_token_latencies = false;
        settings.min_query_count = 700;
        let dir = dir.join(name);
        std::fs::create_dir(&dir).unwrap();
        let report = test(|samples| samples.for_each(answer), 50, &settings, &dir);
        assert!(report.incidents.is_empty(), "{report:?}");
    }
}

fn accuracy(dir: &Path) {
    let mut settings = settings(Scenario::Server);
    settings.mode = Mode::Accuracy;
    let report = with_workers(2, &settings, dir);
    assert!(report.incidents.is_empty(), "{report:?}");
    // Again with fewer samples, into the same files.
    settings.accuracy_sample_count_override = Some(20);
    let report = with_workers(2, &settings, dir);
    assert!(report.incidents.is_empty(), "{report:?}");
}

fn dropped(dir: &Path) {
    let settings = settings(Scenario::SingleStream);
    let count = Mutex::new(0);
    let report = test(
        |mut samples| {
            let n = std::mem::replace(&mut *count.lock().unwrap(), 0) + 1;
            *count.lock().unwrap() = n;
            match n {
                1 => drop(samples.next()),
                2 | 3 => {
                    let mut sample = samples.next().unwrap();
                    sample.first_token(b"t").unwrap();
                    drop(sample);
                }
                4 | 5 => samples.next().unwrap().fail("server said 500").unwrap(),
                6 => {}
                _ => samples.for_each(answer),
            }
        },
        10,
        &settings,
        dir,
    );
    let incidents = &report.incidents;
    assert_eq!((incidents.dropped, incidents.failed), (4, 2), "{incidents:?}");
    assert!(
        incidents
            .reasons
            .iter()
            .any(|reason| reason.contains("server said 500")),
        "{incidents:?}"
    );
    assert!(!incidents.is_empty());
}

fn panics(dir: &Path) {
    let settings = settings(Scenario::SingleStream);
    let count = Mutex::new(0);
    let report = test(
        |mut samples| {
            let n = {
                let mut count = count.lock().unwrap();
                *count += 1;
                *count
            };
            if n <= 10 {
                let _held = samples.next();
                panic!("query {n} is too much");
            }
            samples.for_each(answer);
        },
        10,
        &settings,
        dir,
    );
    assert_eq!(
        (report.incidents.panics, report.incidents.dropped),
        (10, 10),
        "{report:?}"
    );
    let reasons = &report.incidents.reasons;
    assert!(
        reasons
            .iter()
            .any(|reason| reason.contains("query 1 is too much")),
        "{reasons:?}"
    );
    assert!(
        reasons.iter().any(|reason| reason.contains("dropped by a panic")),
        "{reasons:?}"
    );
}

fn missing_first_token(dir: &Path) {
    let settings = settings(Scenario::SingleStream);
    let seen = Mutex::new(false);
    let report = test(
        |samples| {
            for mut sample in samples {
                if std::mem::replace(&mut *seen.lock().unwrap(), true) {
                    sample.first_token(b"1").unwrap();
                    assert_eq!(sample.first_token(b"1"), Err(Refused::SecondFirstToken));
                }
                sample.complete(b"12", 2).unwrap();
            }
        },
        10,
        &settings,
        dir,
    );
    assert_eq!(report.incidents.missing_first_token, 1, "{report:?}");
    assert_eq!(report.incidents.second_first_token, 99, "{report:?}");
}

fn load_failure(dir: &Path) {
    struct Broken;
    impl QuerySampleLibrary for Broken {
        fn name(&self) -> String {
            "broken".to_owned()
        }
        fn total_sample_count(&self) -> usize {
            10
        }
        fn load_samples(&self, indices: &[usize]) -> Result<(), CallbackError> {
            Err(format!("{} samples are gone", indices.len()).into())
        }
    }
    let sut = Sut(|_: IssuedSamples<'_>| panic!("no query must arrive"));
    let report = run_test(
        &sut,
        &Broken,
        &settings(Scenario::SingleStream),
        &LogSettings::new(dir),
    )
    .unwrap();
    assert_eq!(
        (report.incidents.load_failures, report.incidents.dropped),
        (1, 100),
        "{report:?}"
    );
    assert!(
        report.incidents.reasons[0].contains("10 samples are gone"),
        "{report:?}"
    );
}

fn issue_threads(dir: &Path) {
    let mut settings = settings(Scenario::Server);
    settings.min_query_count = 600;
    settings.server_issue_threads = 3;
    let threads = Mutex::new(std::collections::BTreeSet::new());
    let report = test(
        |samples| {
            threads
                .lock()
                .unwrap()
                .insert(std::thread::current().name().unwrap().to_owned());
            samples.for_each(answer);
        },
        50,
        &settings,
        dir,
    );
    assert!(report.incidents.is_empty(), "{report:?}");
    assert!(
        report.wall_time < Duration::from_secs(8),
        "LoadGen waited for a thread: {:?}",
        report.wall_time
    );
    let threads = threads.into_inner().unwrap();
    assert_eq!(threads.len(), 3, "{threads:?}");
    let sut = Sut(|samples: IssuedSamples<'_>| samples.for_each(answer));
    let again = run_test(&sut, &Qsl(5), &settings, &LogSettings::new(dir));
    assert!(matches!(again, Err(Error::ProcessUsedUp(_))), "{again:?}");
}

fn one_at_a_time(dir: &Path) {
    let inner = dir.join("inner");
    std::fs::create_dir(&inner).unwrap();
    let refused = Mutex::new(0);
    let report = test(
        |samples| {
            let sut = Sut(|samples: IssuedSamples<'_>| samples.for_each(answer));
            let second = run_test(
                &sut,
                &Qsl(5),
                &settings(Scenario::Offline),
                &LogSettings::new(&inner),
            );
            assert!(matches!(second, Err(Error::AlreadyRunning)), "{second:?}");
            *refused.lock().unwrap() += 1;
            samples.for_each(answer);
        },
        5,
        &settings(Scenario::Offline),
        dir,
    );
    assert!(report.incidents.is_empty(), "{report:?}");
    assert_eq!(refused.into_inner().unwrap(), 1);
}

fn user_conf(dir: &Path) {
    let benchmark = Benchmark::named("llama3_1-8b").unwrap();
    let path = dir.join("user.conf");
    std::fs::write(&path, "*.Server.target_qps = many\n").unwrap();
    let error = TestSettings::from_config(&benchmark, Scenario::Server, Some(&path)).unwrap_err();
    assert!(
        error.to_string().contains("user.conf, line 1: target_qps"),
        "{error}"
    );

    let text = "# test\n*.Server.target_qps = 2000\n*.Server.min_duration = 100\n*.Offline.target_qps = 3\n";
    std::fs::write(&path, text).unwrap();
    let (mut settings, report) =
        TestSettings::from_config(&benchmark, Scenario::Server, Some(&path)).unwrap();
    assert_eq!((report.applied.len(), report.unused.len()), (2, 1), "{report:?}");
    assert_eq!(settings.server_target_qps, 2000.0);
    assert_eq!(settings.server_ttft_latency, Duration::from_secs(2));
    let again = TestSettings::from_config(&benchmark, Scenario::Server, Some(&path));
    assert!(matches!(again, Err(Error::ConfigReadTwice)), "{again:?}");

    settings.performance_sample_count_override = Some(40);
    let effective = settings.effective(50, 50).unwrap();
    assert_eq!(effective.ttft_latency, Duration::from_secs(2));
    assert_eq!(effective.performance_sample_count, 40);
    let report = test(|samples| samples.for_each(answer), 50, &settings, dir);
    assert!(report.incidents.is_empty(), "{report:?}");
}

fn audit(dir: &Path) {
    // The working directory of the process is `dir`.
    std::fs::write(dir.join("audit.config"), "*.*.min_query_count = 7\n").unwrap();
    for (name, audit_config) in [("without", None), ("with", Some(dir.join("audit.config")))] {
        let mut log = LogSettings::new(dir.join(name));
        std::fs::create_dir(&log.outdir).unwrap();
        log.audit_config = audit_config;
        let sut = Sut(|samples: IssuedSamples<'_>| samples.for_each(answer));
        run_test(&sut, &Qsl(50), &settings(Scenario::SingleStream), &log).unwrap();
    }
    let mut log = LogSettings::new(dir);
    log.audit_config = Some(dir.join("nowhere.config"));
    assert!(matches!(log.check(), Err(Error::AuditConfig { .. })));
}

fn log_folder(dir: &Path) {
    let sut = Sut(|_: IssuedSamples<'_>| panic!("no query must arrive"));
    let file = dir.join("file");
    std::fs::write(&file, "").unwrap();
    for bad in [dir.join("nowhere"), file] {
        let result = run_test(
            &sut,
            &Qsl(5),
            &settings(Scenario::Offline),
            &LogSettings::new(&bad),
        );
        assert!(matches!(result, Err(Error::LogFolder { .. })), "{result:?}");
    }
    // Another test may run now.
    test(
        |samples| samples.for_each(answer),
        5,
        &settings(Scenario::Offline),
        dir,
    );
}

/// Ends the process with status 7 while threads that have called into LoadGen are ending.
fn exit(dir: &Path) {
    let (send, receive) = channel::<IssuedSample>();
    let receive = std::sync::Arc::new(Mutex::new(receive));
    let together = std::sync::Arc::new(std::sync::Barrier::new(33));
    for _ in 0..32 {
        let (receive, together) = (receive.clone(), together.clone());
        std::thread::spawn(move || {
            let sample = receive.lock().unwrap().recv().unwrap();
            answer(sample);
            together.wait();
        });
    }
    let mut settings = settings(Scenario::Offline);
    settings.min_query_count = 32;
    test(
        |samples| samples.for_each(|sample| send.send(sample).unwrap()),
        32,
        &settings,
        dir,
    );
    together.wait();
    #[allow(clippy::exit, reason = "the end of the process is what is tested")]
    std::process::exit(7);
}
