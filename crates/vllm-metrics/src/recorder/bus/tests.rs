use super::*;
use crate::recorder::Recorder;
use run_model::RunClock;
use run_model::{MetricType, SeriesId};

fn batch(series: &[SeriesId]) -> SampleBatch {
    SampleBatch {
        samples: series
            .iter()
            .map(|series| Sample {
                series: *series,
                timestamp_ns: 0,
                value: 0.0,
            })
            .collect(),
        ..SampleBatch::default()
    }
}

fn def(name: &str) -> SeriesDef {
    SeriesDef {
        metric_name: name.into(),
        labels: "{}".into(),
        metric_type: MetricType::Gauge,
        unit: "".into(),
        source: "self".into(),
        endpoint_url: "".into(),
    }
}

fn recorder() -> Recorder {
    Recorder::new(RunClock::start())
}

#[test]
fn a_full_queue_drops_and_counts_but_lets_series_pass() {
    let recorder = recorder();
    let subscription = recorder.subscribe(Filter::all(), 10_000);
    recorder.samples(batch(&[SeriesId(0); 300]));
    recorder.samples(batch(&[SeriesId(0); 300]));
    let expected = Dropped {
        samples: 300,
        ..Dropped::default()
    };
    assert_eq!(subscription.dropped(), expected);
    recorder.series(def("a"));
    assert_eq!(subscription.try_take().len(), 2);
    recorder.samples(batch(&[SeriesId(0); 300]));
    assert_eq!(subscription.dropped(), expected);
    assert!(subscription.monitor().high_water_bytes() >= 300 * 24);
}

#[test]
fn a_slow_subscriber_costs_the_others_nothing() {
    let recorder = recorder();
    let slow = recorder.subscribe(Filter::all(), 1);
    let fast = recorder.subscribe(Filter::all(), 1 << 20);
    let id = recorder.series(def("a"));
    recorder.samples(batch(&[id]));
    assert_eq!(slow.dropped().samples, 1);
    assert_eq!(fast.dropped(), Dropped::default());
    assert_eq!(fast.try_take().len(), 2);
}

#[test]
fn a_batch_is_shared_not_copied() {
    let recorder = recorder();
    let one = recorder.subscribe(Filter::all(), 1 << 20);
    let two = recorder.subscribe(Filter::all(), 1 << 20);
    recorder.samples(batch(&[SeriesId(0)]));
    let of = |subscription: &Subscription| match &subscription.try_take()[..] {
        [Record::Samples(batch)] => Arc::clone(batch),
        other => panic!("{other:?}"),
    };
    assert!(Arc::ptr_eq(&of(&one), &of(&two)));
}

#[test]
fn equal_definitions_share_an_id_and_come_once_to_late_subscribers_too() {
    let recorder = recorder();
    let early = recorder.subscribe(Filter::all(), 1 << 20);
    assert_eq!(recorder.series(def("a")), SeriesId(0));
    assert_eq!(recorder.series(def("b")), SeriesId(1));
    assert_eq!(recorder.series(def("a")), SeriesId(0));
    assert_eq!(recorder.series_count(), 2);
    let late = recorder.subscribe(Filter::all(), 1 << 20);
    for subscription in [early, late] {
        let ids: Vec<u32> = subscription
            .try_take()
            .iter()
            .map(|record| match record {
                Record::Series(id, _) => id.0,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ids, [0, 1]);
    }
}

#[test]
fn a_filter_keeps_its_series_and_kinds_only() {
    let recorder = recorder();
    let subscription = recorder.subscribe(
        Filter::none()
            .samples(true)
            .series(|def| &*def.metric_name == "b"),
        1 << 20,
    );
    let (a, b) = (recorder.series(def("a")), recorder.series(def("b")));
    recorder.samples(batch(&[a]));
    recorder.samples(batch(&[a, b, a]));
    let records = subscription.try_take();
    let [Record::Series(id, _), Record::Samples(kept)] = &records[..] else {
        panic!("{records:?}")
    };
    assert_eq!((*id, kept.samples.len(), kept.samples[0].series), (b, 1, b));
}

#[test]
fn a_subscription_that_ended_gets_nothing_and_counts_it() {
    let recorder = recorder();
    let subscription = recorder.subscribe(Filter::all(), 1 << 20);
    let monitor = subscription.monitor();
    drop(subscription);
    recorder.samples(batch(&[SeriesId(0); 3]));
    assert_eq!(monitor.dropped().samples, 3);
}

#[test]
fn a_waiting_subscriber_is_woken_by_a_record_and_by_the_end() {
    let recorder = recorder();
    let subscription = recorder.subscribe(Filter::all(), 1 << 20);
    let waiter = std::thread::spawn(move || {
        let mut taken = 0;
        while let Some(records) = subscription.take() {
            taken += records.len();
        }
        taken
    });
    recorder.series(def("a"));
    recorder.samples(batch(&[SeriesId(0)]));
    recorder.close();
    assert_eq!(waiter.join().unwrap(), 2);
}

#[test]
fn a_limit_ends_a_wait_without_records() {
    let recorder = recorder();
    let subscription = recorder.subscribe(Filter::all(), 1 << 20);
    assert_eq!(subscription.take_within(Duration::ZERO).map(|r| r.len()), Some(0));
    recorder.close();
    assert!(subscription.take_within(Duration::ZERO).is_none());
}

#[tokio::test]
async fn async_subscribers_wait_without_a_thread() {
    let recorder = recorder();
    let subscription = recorder.subscribe(Filter::all(), 1 << 20);
    let task = tokio::spawn(async move {
        let mut taken = 0;
        while let Some(records) = subscription.take_async().await {
            taken += records.len();
        }
        taken
    });
    tokio::task::yield_now().await;
    recorder.series(def("a"));
    tokio::task::yield_now().await;
    recorder.series(def("b"));
    recorder.close();
    assert_eq!(task.await.unwrap(), 2);
}
