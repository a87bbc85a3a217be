//! Stores that are slow, reject records, or panic: the run continues and the loss is counted.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::server::{NEVER, Reply, Server, page};
use vllm_metrics::{
    EndpointConfig, Error, Manifest, MemoryStore, Record, Result, Session, SessionConfig, Store, StoreFiles,
};

const LONG: Duration = Duration::from_secs(20);

/// Waits at its first samples until the gate is opened.
struct Gated {
    inner: MemoryStore,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Store for Gated {
    fn write(&mut self, record: Record) -> Result<()> {
        if matches!(record, Record::Samples(_)) {
            let open = self.gate.0.lock().unwrap();
            drop(self.gate.1.wait_while(open, |open| !*open).unwrap());
        }
        self.inner.write(record)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>, manifest: &Manifest) -> Result<StoreFiles> {
        Box::new(self.inner).finish(manifest)
    }
}

#[test]
fn a_store_that_stands_still_delays_nothing_and_its_losses_are_counted() {
    // 60 kB of samples a page against a queue of 1 MiB.
    let body: String = (0..2500).map(|n| format!("series_{n} {n}\n")).collect();
    let server = Server::start(move |_| Reply::Page(body.clone()));
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let memory = MemoryStore::new();
    let store = Gated {
        inner: memory.clone(),
        gate: Arc::clone(&gate),
    };
    let config = SessionConfig {
        queue_mib: Some(1),
        endpoints: vec![EndpointConfig::new(server.url())],
        ..SessionConfig::default()
    };
    let session = Session::builder()
        .config(config)
        .interval(NEVER)
        .store(Box::new(store))
        .start()
        .unwrap();
    for _ in 0..40 {
        assert!(session.scrape_now(LONG), "scrapes do not wait for the store");
    }
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    let run = session.finish().unwrap();
    assert!(run.missing.dropped.samples > 0);
    let stored: u64 = memory.with(|run| {
        run.records
            .iter()
            .map(|record| {
                if let Record::Samples(batch) = record {
                    batch.samples.len() as u64
                } else {
                    0
                }
            })
            .sum()
    });
    let scraped = run.endpoints[0].samples + 5 * run.cost.scrapes;
    let kept_or_counted = stored + run.missing.dropped.samples;
    // The rest are the few series about the session itself.
    assert!(
        (scraped..scraped + 1000).contains(&kept_or_counted),
        "{scraped} {kept_or_counted}"
    );
    assert!(run.cost.queue_high_water_bytes > 900_000);
}

/// Rejects samples, or panics at them.
struct Broken {
    panics: bool,
}

impl Store for Broken {
    fn write(&mut self, record: Record) -> Result<()> {
        match record {
            Record::Samples(_) if self.panics => panic!("no more"),
            Record::Samples(_) => Err(Error::Store {
                target: "nowhere".into(),
                reason: "disk full".into(),
            }),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Manifest) -> Result<StoreFiles> {
        Ok(StoreFiles::default())
    }
}

#[test]
fn a_store_that_refuses_or_panics_costs_those_records_only() {
    for (panics, words) in [(false, "disk full"), (true, "no more")] {
        let server = Server::start(|n| Reply::Page(page(n)));
        let session = Session::builder()
            .endpoint(EndpointConfig::new(server.url()))
            .interval(NEVER)
            .store(Box::new(Broken { panics }))
            .start()
            .unwrap();
        assert!(session.scrape_now(LONG));
        let run = session.finish().unwrap();
        // The batches about the session itself are rejected too.
        assert!(run.missing.refused_records > run.cost.scrapes);
        assert!(run.missing.notes[0].contains(words), "{:?}", run.missing.notes);
    }
}

#[test]
fn files_hold_what_was_recorded() {
    let server = Server::start(|n| Reply::Page(page(n)));
    let dir = tempfile::tempdir().unwrap();
    let session = Session::builder()
        .endpoint(EndpointConfig::new(server.url()))
        .interval(NEVER)
        .output_dir(dir.path().join("deep").join("er"))
        .fact("model", "m")
        .start()
        .unwrap();
    let hooks = session.hooks();
    assert!(session.scrape_now(LONG));
    hooks.phase("performance");
    hooks.request_issued(1, 2, Some(3), None);
    hooks.request_completed(1, vllm_metrics::Completed::tokens(4));
    let run = session.finish().unwrap();
    let data = vllm_metrics::read_run(&run.samples_path).unwrap();
    assert_eq!(data.manifest.facts["model"], "m");
    assert_eq!(data.manifest.stamp, run.manifest.stamp);
    assert_eq!(data.requests[0].output_tokens, Some(4));
    let tokens = data
        .series
        .iter()
        .find(|series| &*series.def.metric_name == "vllm:generation_tokens_total")
        .unwrap();
    let expected: Vec<f64> = (0..tokens.values.len()).map(|n| n as f64).collect();
    assert_eq!(tokens.values, expected);
    assert!(data.events.iter().any(|event| &*event.kind == "session_finished"));
    let derived = vllm_metrics::read_run(run.processed_path.as_ref().unwrap()).unwrap();
    assert!(
        derived
            .series
            .iter()
            .any(|series| &*series.def.metric_name == "vllm:generation_tokens_total_per_second")
    );
    assert!(run.missing.notes.is_empty(), "{:?}", run.missing.notes);
}
