//! The GPU sampler with a scripted driver library, through the same dlopen and C calls as on a real machine.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod support;

use std::path::Path;
use std::time::Duration;

use fake_nvml::data_centre_gpu;
use fake_nvml::live::{Board, LiveGpus, Load};
use machine_telemetry::gpu::{GpuConfig, GpuSampler, GpuSelection, GpuSummary};
use run_model::{Severity, StopToken};
use support::{Kept, VecSink, unix_ns};

const GPU0: &str = r#""gpu":"0""#;
const GPU1: &str = r#""gpu":"1""#;

fn config(library: &Path) -> GpuConfig {
    GpuConfig {
        library: Some(library.to_owned()),
        simulated: true,
        interval: Duration::from_millis(10),
        slow_interval: Duration::from_millis(30),
        ..GpuConfig::default()
    }
}

/// Runs the sampler on a script until `done`, then returns everything up to its end.
fn run(
    script: &str,
    change: impl FnOnce(&mut GpuConfig),
    done: impl Fn(&Kept) -> bool,
) -> (Kept, GpuSummary) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&fake_nvml::install(dir.path(), script).unwrap());
    change(&mut config);
    let (sink, stop) = (VecSink::default(), StopToken::new());
    let sampler = GpuSampler::start(config, Box::new(sink.clone()), stop.clone()).unwrap();
    sink.wait(done);
    stop.stop();
    let summary = sampler.join();
    (sink.kept(), summary)
}

fn two_gpus(origin: i64, more_for_first: &str) -> String {
    format!(
        "origin {origin}\n{}{more_for_first}\n{}",
        data_centre_gpu(0),
        data_centre_gpu(1)
    )
}

#[test]
fn every_scripted_value_arrives_with_its_time() {
    // One byte per nanosecond and one step of utilisation: each value shows when it was read.
    let origin = unix_ns();
    let script = two_gpus(
        origin,
        "set memory_total 1e13\nramp 0 1000 memory_used 0 1e12\nset utilization 10\nat 1 utilization 90",
    );
    let (kept, summary) = run(
        &script,
        |_| {},
        |kept| {
            kept.values("gpu_utilization_ratio", &[GPU0]).contains(&0.9)
                && kept.points("gpu_memory_used_bytes", &[GPU0]).len() > 2
        },
    );
    let points = kept.points("gpu_memory_used_bytes", &[GPU0]);
    assert!(points.len() > 2);
    for point in points {
        let read_at = origin + point.value as i64;
        assert!(
            (point.start_ns - 1000..=point.end_ns + 1000).contains(&read_at),
            "{point:?}, read at {read_at}"
        );
        assert_eq!(point.timestamp_ns, point.start_ns);
    }
    for point in kept.points("gpu_utilization_ratio", &[GPU0]) {
        let step = origin + 1_000_000_000;
        match point.value {
            0.1 => assert!(point.start_ns <= step),
            0.9 => assert!(point.end_ns >= step),
            other => panic!("{other} was never scripted"),
        }
    }
    assert_eq!(kept.values("gpu_temperature_celsius", &[GPU1])[0], 30.0);
    assert_eq!(kept.values("gpu_power_watts", &[GPU1])[0], 70.0);
    assert_eq!(kept.values("gpu_sm_clock_hertz", &[GPU1])[0], 345e6);
    assert_eq!(
        kept.values("gpu_throttle_active", &[GPU1, r#""reason":"idle""#])[0],
        1.0
    );
    assert_eq!(
        kept.values("gpu_throttle_active", &[GPU1, r#""reason":"hw_thermal""#])[0],
        0.0
    );
    assert_eq!(kept.values("gpu_power_limit_watts", &[GPU1])[0], 700.0);
    assert_eq!(kept.values("gpu_memory_total_bytes", &[GPU1]), [85520809984.0]);
    assert_eq!(
        kept.values("gpu_info", &[GPU1, r#""driver_version":"570.00""#]),
        [1.0]
    );
    assert!(
        kept.series.iter().all(|def| def.source.ends_with("-simulated")),
        "a fake is marked everywhere"
    );
    assert_eq!(summary.gpus.len(), 2);
    assert!(
        summary
            .calls
            .iter()
            .any(|cost| cost.call == "fast_fields" && cost.count > 2)
    );
}

#[test]
fn what_one_gpu_does_not_support_costs_nothing_else() {
    let mut script = two_gpus(
        unix_ns(),
        "error power NOT_SUPPORTED\nerror field:186 NOT_SUPPORTED",
    );
    script.push_str("error events NO_PERMISSION\n");
    let enough = |kept: &Kept| kept.values("gpu_temperature_celsius", &[GPU0]).len() > 5;
    let (kept, summary) = run(&script, |_| {}, enough);
    assert_eq!(kept.values("gpu_power_watts", &[GPU0]), Vec::<f64>::new());
    assert_eq!(kept.values("gpu_power_instant_watts", &[GPU0]), Vec::<f64>::new());
    assert!(kept.values("gpu_energy_joules_total", &[GPU0]).len() > 5);
    assert!(kept.values("gpu_power_watts", &[GPU1]).len() > 4);
    let told: Vec<_> = kept.events("not_supported");
    let naming_power = told
        .iter()
        .filter(|event| event.message.contains("gpu_power_watts"));
    assert_eq!(naming_power.count(), 1, "told once, for one GPU: {told:#?}");
    assert!(
        told.iter()
            .any(|event| event.message.contains("GPU 1: faults will not be seen")),
        "{told:#?}"
    );
    let of_first = &summary
        .not_supported
        .iter()
        .find(|(index, _)| *index == 0)
        .unwrap()
        .1;
    assert!(
        of_first.contains(&"gpu_power_watts".to_owned())
            && of_first.contains(&"gpu_power_instant_watts".to_owned())
    );
    assert_eq!(summary.read_errors, 0);
}

#[test]
fn a_passing_error_leaves_a_gap_and_the_reading_comes_back() {
    let origin = unix_ns();
    let script = two_gpus(
        origin,
        "error 1 1.4 temperature UNKNOWN\nerror 1 1.4 field:83 TIMEOUT",
    );
    let (kept, summary) = run(
        &script,
        |_| {},
        |kept| {
            kept.points("gpu_temperature_celsius", &[GPU0])
                .last()
                .is_some_and(|p| p.start_ns > origin + 1_450_000_000)
        },
    );
    for name in ["gpu_temperature_celsius", "gpu_energy_joules_total"] {
        for point in kept.points(name, &[GPU0]) {
            assert!(
                point.start_ns < origin + 1_000_000_000 || point.end_ns > origin + 1_400_000_000,
                "{name} {point:?}"
            );
            assert!(point.value != 0.0 || name == "gpu_energy_joules_total");
        }
        let reading = if name == "gpu_temperature_celsius" {
            "temperature"
        } else {
            name
        };
        let about =
            |event: &&&run_model::EventRow| event.attributes.contains(&format!("\"reading\":\"{reading}\""));
        assert_eq!(
            kept.events("read_failed").iter().filter(about).count(),
            1,
            "{:#?}",
            kept.events
        );
        let gaps = kept.events("gap");
        let gap = gaps.iter().find(about).unwrap();
        assert!(gap.timestamp_ns >= origin + 990_000_000 && gap.end_ns.unwrap() >= origin + 1_400_000_000);
    }
    assert!(summary.read_errors >= 2);
    assert!(kept.events("gpu_lost").is_empty());
}

#[test]
fn a_lost_gpu_is_an_event_and_a_gap_and_the_other_goes_on() {
    let origin = unix_ns();
    let script = two_gpus(origin, "lost 1 1.4");
    let (kept, _) = run(
        &script,
        |_| {},
        |kept| {
            kept.points("gpu_power_watts", &[GPU0])
                .last()
                .is_some_and(|p| p.start_ns > origin + 1_450_000_000)
        },
    );
    let lost = kept.events("gpu_lost");
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].severity, Severity::Error);
    let gaps = kept.events("gap");
    assert_eq!(gaps.len(), 1, "{gaps:#?}");
    let (from, to) = (gaps[0].timestamp_ns, gaps[0].end_ns.unwrap());
    assert!(
        from >= origin + 990_000_000 && to >= origin + 1_400_000_000,
        "{} {}",
        from - origin,
        to - origin
    );
    let inside = |point: &support::Point| point.start_ns > from && point.end_ns < to;
    assert!(!kept.points("gpu_power_watts", &[GPU0]).iter().any(inside));
    assert!(kept.points("gpu_power_watts", &[GPU1]).iter().any(inside));
}

#[test]
fn a_gpu_that_stays_lost_has_a_gap_to_the_end() {
    let script = two_gpus(unix_ns(), "lost 1");
    let (kept, _) = run(&script, |_| {}, |kept| !kept.events("gpu_lost").is_empty());
    assert_eq!(kept.events("gap").len(), 1);
    assert!(kept.events("gap")[0].message.contains("end of the run"));
}

#[test]
fn an_xid_is_an_event_at_once_even_when_its_gpu_is_gone() {
    let origin = unix_ns();
    let times = [0.3, 0.4, 0.5, 0.6, 0.7];
    let mut faults = "lost 0.5\n".to_owned();
    for at in times {
        faults.push_str(&format!("xid {at} 79\n"));
    }
    let (kept, _) = run(
        &two_gpus(origin, &faults),
        |_| {},
        |kept| kept.events("xid").len() == 5,
    );
    let events = kept.events("xid");
    let mut late_ns: Vec<i64> = events
        .iter()
        .zip(times)
        .map(|(event, at)| event.timestamp_ns - origin - (at * 1e9) as i64)
        .collect();
    late_ns.sort_unstable();
    // The median, because a busy test machine may delay any one thread.
    assert!((0..1_000_000_000).contains(&late_ns[2]), "{late_ns:?}");
    for event in events {
        assert!(event.attributes.contains(r#""gpu":"0""#), "{event:?}");
        assert!(event.attributes.contains(r#""action":"reboot_host""#) && event.severity == Severity::Error);
    }
    assert_eq!(
        kept.values("gpu_xid_events_total", &[r#""xid":"79""#]),
        [1.0, 2.0, 3.0, 4.0, 5.0]
    );
}

#[test]
fn a_fault_brings_the_recovery_action_at_the_next_tick() {
    let script = two_gpus(unix_ns(), "at 0.3 field:230 4\nxid 0.3 154");
    let (kept, _) = run(
        &script,
        |config| config.slow_interval = Duration::from_secs(3600),
        |kept| !kept.events("gpu_recovery_action").is_empty(),
    );
    assert!(
        kept.events("gpu_recovery_action")[0]
            .message
            .contains("drain_and_reset")
    );
    assert!(
        kept.events("xid")[0]
            .attributes
            .contains("follow_recovery_action")
    );
}

#[test]
fn ecc_errors_ramp_as_counters_and_come_as_events() {
    let origin = unix_ns();
    let script = two_gpus(
        origin,
        "ramp 0 10 field:3 0 1000000\nat 1 field:4 2\nat 1 field:144 1\nat 1 field:230 1\necc 1 double",
    );
    let corrected = ["\"kind\":\"corrected\"", GPU0];
    let uncorrected = ["\"kind\":\"uncorrected\"", GPU0];
    let (kept, _) = run(
        &script,
        |_| {},
        |kept| {
            kept.values("gpu_ecc_errors_total", &uncorrected).contains(&2.0)
                && kept.values("gpu_row_remap_pending", &[GPU0]).contains(&1.0)
                && !kept.events("gpu_recovery_action").is_empty()
                && kept.values("gpu_ecc_errors_total", &corrected).len() > 2
                && !kept.events("ecc_error").is_empty()
        },
    );
    let values = kept.values("gpu_ecc_errors_total", &corrected);
    assert!(
        values.len() > 2 && values.is_sorted_by(|a, b| a < b),
        "{values:?}"
    );
    let action = kept.events("gpu_recovery_action");
    assert_eq!(action.len(), 1);
    assert!(action[0].attributes.contains("reset_gpu"));
    assert_eq!(kept.events("ecc_error")[0].severity, Severity::Error);
}

#[test]
fn fields_are_renumbered_for_new_drivers() {
    // Field 252 of old drivers (time throttled by heat) is 270 from driver 580.82 on.
    let script = format!(
        "driver 580.95.05\n{}set field:270 3e9\nset field:252 77e9\n",
        data_centre_gpu(0)
    );
    let heat = ["\"reason\":\"hw_thermal\""];
    let (kept, _) = run(
        &script,
        |_| {},
        |kept| !kept.values("gpu_throttle_seconds_total", &heat).is_empty(),
    );
    assert_eq!(kept.values("gpu_throttle_seconds_total", &heat)[0], 3.0);
}

#[test]
fn temperature_limits_that_the_binding_cannot_read_are_told_as_not_supported() {
    let script = format!("{}set field:194 -2\ntype field:194 5\n", data_centre_gpu(0));
    let (kept, _) = run(&script, |_| {}, |kept| !kept.events("not_supported").is_empty());
    assert!(kept.values("gpu_tlimit_celsius", &[]).is_empty());
    assert!(
        kept.events("not_supported")[0]
            .message
            .contains("gpu_tlimit_celsius{kind=\"slowdown\"}")
    );
}

#[test]
fn the_servers_gpus_are_found_by_its_processes() {
    let pid = std::process::id();
    let script = format!(
        "{}process {pid} 1000\nprocess 1 5\n",
        two_gpus(unix_ns(), "process 1 7")
    );
    let enough = |kept: &Kept| kept.values("gpu_power_watts", &[GPU1]).len() > 5;
    let (kept, summary) = run(
        &script,
        |config| config.selection = GpuSelection::ServerProcess(pid),
        enough,
    );
    assert_eq!(summary.gpus.iter().map(|gpu| gpu.index).collect::<Vec<_>>(), [1]);
    assert!(kept.values("gpu_power_watts", &[GPU0]).is_empty());
    assert_eq!(kept.values("gpu_server_memory_bytes", &[GPU1])[0], 1000.0);
    assert!(kept.events("gpu_selection")[0].message.contains("[1]"));
}

#[test]
fn a_server_that_shows_on_no_gpu_leaves_all_watched_and_is_told_once() {
    let script = two_gpus(unix_ns(), "");
    let enough = |kept: &Kept| kept.values("gpu_power_watts", &[GPU1]).len() > 12;
    let selection = GpuSelection::ServerProcess(std::process::id());
    let (kept, summary) = run(&script, |config| config.selection = selection, enough);
    assert_eq!(summary.gpus.len(), 2);
    assert_eq!(kept.events("gpu_selection").len(), 1);
}

#[test]
fn gpus_can_be_named() {
    let uuid = "GPU-51a10000-0000-4000-8000-000000000001".to_owned();
    for selection in [
        GpuSelection::Indices(vec![1, 7]),
        GpuSelection::Uuids(vec![uuid, "GPU-x".to_owned()]),
    ] {
        let script = two_gpus(unix_ns(), "");
        let enough = |kept: &Kept| !kept.values("gpu_power_watts", &[GPU1]).is_empty();
        let (kept, summary) = run(&script, |config| config.selection = selection, enough);
        assert_eq!(summary.gpus.iter().map(|gpu| gpu.index).collect::<Vec<_>>(), [1]);
        assert_eq!(kept.events("gpu_missing").len(), 1);
    }
}

#[test]
fn a_slow_driver_misses_ticks_and_says_so() {
    let script = two_gpus(unix_ns(), "delay power 0.04");
    let (kept, summary) = run(
        &script,
        |_| {},
        |kept| kept.values("gpu_power_watts", &[GPU0]).len() > 3,
    );
    assert!(summary.missed_ticks >= 3 * 3, "{summary:?}");
    assert_eq!(
        kept.events("missed_tick").len(),
        1,
        "one event for the whole stretch"
    );
    let power = summary.calls.iter().find(|cost| cost.call == "power").unwrap();
    assert!(power.p99 >= Duration::from_millis(40), "{power:?}");
    assert!(
        !kept
            .values(
                "gpu_sampler_call_seconds",
                &["\"call\":\"power\"", "\"quantile\":\"0.99\""]
            )
            .is_empty()
    );
}

#[test]
fn without_a_library_or_driver_one_event_says_so_and_no_series_exists() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("libnvidia-ml.so.1");
    let refusing = fake_nvml::install(&dir.path().join("b"), "init DRIVER_NOT_LOADED\ngpu\n").unwrap();
    let empty = fake_nvml::install(&dir.path().join("c"), "\n").unwrap();
    for library in [missing, refusing, empty] {
        let (sink, stop) = (VecSink::default(), StopToken::new());
        let sampler = GpuSampler::start(config(&library), Box::new(sink.clone()), stop).unwrap();
        let summary = sampler.join();
        let kept = sink.kept();
        assert!(kept.series.is_empty() && kept.batches.is_empty());
        assert_eq!(kept.events.len(), 1, "{:#?}", kept.events);
        assert_eq!(&*kept.events[0].kind, "gpu_unavailable");
        assert!(kept.events[0].message.ends_with("no GPU series in this run"));
        assert!(summary.unavailable.is_some());
    }
}

#[test]
fn simulated_gpus_follow_the_load_that_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let mut gpus = LiveGpus::create(dir.path(), 2, Board::default()).unwrap();
    let (sink, stop) = (VecSink::default(), StopToken::new());
    let sampler = GpuSampler::start(config(gpus.library()), Box::new(sink.clone()), stop.clone()).unwrap();
    sink.wait(|kept| !kept.values("gpu_power_watts", &[GPU1]).is_empty());
    gpus.set(
        1,
        Load {
            busy_ratio: 1.0,
            prefill_ratio: 1.0,
            kv_usage_ratio: 0.5,
        },
    )
    .unwrap();
    // The values are set one after another, and a tick may fall between them.
    let throttle = [GPU1, "\"reason\":\"sw_power_cap\""];
    let kept = sink.wait(|kept| {
        let last = |name: &str, labels: &[&str]| kept.values(name, labels).last().copied();
        last("gpu_power_watts", &[GPU1]) == Some(700.0)
            && last("gpu_utilization_ratio", &[GPU1]) == Some(1.0)
            && last("gpu_memory_used_bytes", &[GPU1]) == Some(47e9)
            && last("gpu_throttle_active", &throttle) == Some(1.0)
    });
    stop.stop();
    sampler.join();
    assert!(
        kept.values("gpu_power_watts", &[GPU0])
            .iter()
            .all(|&watts| watts == 70.0)
    );
    let joules = kept.values("gpu_energy_joules_total", &[GPU1]);
    assert!(joules.is_sorted(), "{joules:?}");
}
