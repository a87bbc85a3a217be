//! The host sampler on synthetic `/proc` and `/sys`, and on the real ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use machine_telemetry::host::{HostConfig, HostSampler, HostSummary};
use run_model::StopToken;
use support::{Kept, VecSink};

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A process with the given user and system times and minor faults; the rest is small and regular.
fn process(root: &Path, pid: u32, parent: u32, user: u32, system: u32, faults: u32) {
    let stat = format!(
        "{pid} (a (b) c) S {parent} 1 1 0 -1 0 {faults} 0 3 0 {user} {system} 0 0 20 0 4 0 77 1000 5 0 0 0 0 0\n"
    );
    write(root, &format!("proc/{pid}/stat"), &stat);
    let status =
        "Name:\tx\nVmRSS:\t    2048 kB\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t7\n";
    write(root, &format!("proc/{pid}/status"), status);
    write(
        root,
        &format!("proc/{pid}/io"),
        "rchar: 9\nread_bytes: 4096\nwrite_bytes: 8192\n",
    );
    write(root, &format!("proc/{pid}/fd/0"), "");
    write(root, &format!("proc/{pid}/fd/1"), "");
    write(
        root,
        &format!("proc/{pid}/limits"),
        "Limit  Soft Limit\nMax open files            1024    4096    files\n",
    );
}

fn host(root: &Path) {
    write(
        root,
        "proc/stat",
        "cpu  100 20 300 4000 50 6 7 8 9 1\ncpu0 50 10 100 2000 25 3 3 4 9 1\nintr 1\n",
    );
    write(
        root,
        "proc/meminfo",
        "MemTotal: 1000 kB\nMemAvailable: 600 kB\nCached: 5 kB\nHugePages_Total: 0\n",
    );
    write(
        root,
        "proc/vmstat",
        "pgfault 90\npgmajfault 10\npswpin 1\npswpout 2\noom_kill 3\n",
    );
    write(
        root,
        "proc/diskstats",
        "8 0 sda 10 0 20 5 30 0 40 5 0 1500 10\n8 1 sda1 1 0 2 5 3 0 4 5 0 15 1\n7 0 loop0 1 1 1 1 1 1 1 1 1 1 1\n",
    );
    write(root, "sys/block/sda/size", "1");
    write(
        root,
        "proc/net/dev",
        "Inter-| x\n face | y\n  eth0: 100 2 3 4 0 0 0 0 500 6 7 8 0 0 0 0\n veth1: 1 1 1 1 0 0 0 0 1 1 1 1 0 0 0 0\n",
    );
    write(
        root,
        "proc/pressure/memory",
        "some avg10=0.00 total=2500000\nfull avg10=0.00 total=1000000\n",
    );
    write(root, "proc/cpuinfo", "processor\t: 0\nmodel name\t: Some CPU\n");
    write(root, "proc/sys/kernel/osrelease", "6.1\n");
    for (core, kilohertz) in [(0, "2000000"), (1, "3000000")] {
        write(
            root,
            &format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq"),
            kilohertz,
        );
        write(
            root,
            &format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"),
            "powersave\n",
        );
    }
}

fn run(
    root: &Path,
    server: Option<u32>,
    done: impl Fn(&Kept) -> bool,
    then: impl FnOnce(&VecSink),
) -> (Kept, HostSummary) {
    let (sink, stop) = (VecSink::default(), StopToken::new());
    let config = HostConfig {
        interval: Duration::from_millis(5),
        slow_interval: Duration::from_millis(10),
        server_pid: server,
        root: root.to_owned(),
    };
    let sampler = HostSampler::start(config, Box::new(sink.clone()), stop.clone()).unwrap();
    sink.wait(done);
    then(&sink);
    stop.stop();
    let summary = sampler.join();
    (sink.kept(), summary)
}

#[test]
fn every_file_becomes_series_and_a_missing_file_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    host(root);
    process(root, 100, 1, 200, 100, 40);
    process(root, 101, 100, 50, 50, 2);
    process(root, 102, 1, 7, 7, 7);
    write(root, "proc/100/cgroup", "0::/pod/c1\n");
    write(root, "sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
    write(root, "sys/fs/cgroup/pod/cgroup.controllers", "cpu memory\n");
    write(root, "sys/fs/cgroup/pod/cpu.max", "400000 100000\n");
    write(root, "sys/fs/cgroup/pod/memory.max", "5000\n");
    write(root, "sys/fs/cgroup/pod/c1/cgroup.controllers", "cpu memory\n");
    write(root, "sys/fs/cgroup/pod/c1/cpu.max", "max 100000\n");
    write(root, "sys/fs/cgroup/pod/c1/memory.max", "9000\n");
    write(root, "sys/fs/cgroup/pod/c1/memory.current", "1234\n");
    write(
        root,
        "sys/fs/cgroup/pod/c1/memory.events",
        "low 0\noom 2\noom_kill 1\n",
    );
    write(
        root,
        "sys/fs/cgroup/pod/c1/cpu.stat",
        "usage_usec 5\nnr_throttled 4\nthrottled_usec 2000000\n",
    );
    let (kept, summary) = run(root, Some(100), |kept| kept.batches.len() > 12, |_| {});
    let first = |name: &str, labels: &[&str]| {
        let values = kept.values(name, labels);
        *values.first().unwrap_or_else(|| panic!("no {name} {labels:?}"))
    };
    let server = r#""process":"server""#;
    for (name, labels, value) in [
        ("host_cpu_seconds_total", vec![r#""mode":"user""#], 1.0),
        ("host_cpu_seconds_total", vec![r#""mode":"steal""#], 0.08),
        ("host_cpu_busy_seconds_total", vec![r#""cpu":"0""#], 1.70),
        ("host_memory_total_bytes", vec![], 1_024_000.0),
        ("host_memory_available_bytes", vec![], 614_400.0),
        ("host_page_faults_total", vec![r#""kind":"minor""#], 80.0),
        ("host_page_faults_total", vec![r#""kind":"major""#], 10.0),
        ("host_oom_kills_total", vec![], 3.0),
        (
            "host_disk_bytes_total",
            vec![r#""device":"sda""#, "read"],
            20.0 * 512.0,
        ),
        (
            "host_disk_bytes_total",
            vec![r#""device":"sda""#, "write"],
            40.0 * 512.0,
        ),
        ("host_disk_busy_seconds_total", vec![r#""device":"sda""#], 1.5),
        (
            "host_network_bytes_total",
            vec![r#""device":"eth0""#, "transmit"],
            500.0,
        ),
        (
            "host_network_drops_total",
            vec![r#""device":"eth0""#, "receive"],
            4.0,
        ),
        (
            "host_pressure_stall_seconds_total",
            vec![r#""resource":"memory""#, "some"],
            2.5,
        ),
        ("host_cpu_frequency_hertz", vec!["mean"], 2.5e9),
        ("host_process_cpu_seconds_total", vec![server, "user"], 2.5),
        ("host_process_cpu_seconds_total", vec![server, "system"], 1.5),
        ("host_process_page_faults_total", vec![server, "minor"], 42.0),
        ("host_process_disk_bytes_total", vec![server, "write"], 16384.0),
        ("host_process_resident_bytes", vec![server], 4.0 * 1024.0 * 1024.0),
        ("host_processes", vec![server], 2.0),
        ("host_process_threads", vec![server], 8.0),
        ("host_process_open_files", vec![server], 4.0),
        ("host_process_open_files_limit", vec![server], 1024.0),
        ("host_cgroup_cpu_limit_cores", vec![server], 4.0),
        ("host_cgroup_memory_limit_bytes", vec![server], 5000.0),
        ("host_cgroup_memory_used_bytes", vec![server], 1234.0),
        ("host_cgroup_oom_kills_total", vec![server], 1.0),
        ("host_cgroup_cpu_throttled_seconds_total", vec![server], 2.0),
        ("host_cgroup_cpu_throttled_periods_total", vec![server], 4.0),
    ] {
        assert!(
            (first(name, &labels) - value).abs() < 1e-9,
            "{name} {labels:?}: {}",
            first(name, &labels)
        );
    }
    assert!(
        kept.values("host_disk_bytes_total", &["sda1"]).is_empty()
            && kept.values("host_network_bytes_total", &["veth"]).is_empty()
    );
    assert!(
        kept.values("host_swap_total_bytes", &[]).is_empty(),
        "absent is not zero"
    );
    assert_eq!(kept.events("cpu_governor").len(), 1);
    let told: Vec<_> = kept
        .events("not_supported")
        .iter()
        .map(|event| event.message.to_string())
        .collect();
    let about_pressure = told
        .iter()
        .filter(|message| message.contains("proc/pressure/cpu"));
    assert_eq!(about_pressure.count(), 1, "{told:?}");
    assert!(summary.absent.contains(&"proc/pressure/io".to_owned()));
}

#[test]
fn old_cgroups_are_read_too() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    host(root);
    process(root, 100, 1, 1, 1, 1);
    write(root, "proc/100/cgroup", "4:memory:/a/b\n1:cpu,cpuacct:/a\n0::/\n");
    write(
        root,
        "sys/fs/cgroup/cpu,cpuacct/a/cpu.stat",
        "nr_throttled 2\nthrottled_time 3000000000\n",
    );
    write(root, "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "150000\n");
    write(root, "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
    write(root, "sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "77\n");
    write(
        root,
        "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
        "9223372036854771712\n",
    );
    let server = r#""process":"server""#;
    let (kept, _) = run(root, Some(100), |kept| kept.batches.len() > 3, |_| {});
    assert_eq!(kept.values("host_cgroup_cpu_limit_cores", &[server])[0], 1.5);
    assert_eq!(
        kept.values("host_cgroup_cpu_throttled_seconds_total", &[server])[0],
        3.0
    );
    assert_eq!(kept.values("host_cgroup_memory_used_bytes", &[server])[0], 77.0);
    assert!(
        kept.values("host_cgroup_memory_limit_bytes", &[server])
            .is_empty(),
        "no limit, no series"
    );
}

#[test]
fn counters_of_a_tree_do_not_fall_when_a_member_ends() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    host(root);
    process(root, 100, 1, 100, 0, 0);
    process(root, 101, 100, 400, 0, 0);
    let count = |kept: &Kept| kept.values("host_processes", &["server"]);
    let (kept, _) = run(
        root,
        Some(100),
        |kept| count(kept).contains(&2.0),
        |sink| {
            std::fs::remove_dir_all(root.join("proc/101")).unwrap();
            sink.wait(|kept| count(kept).contains(&1.0));
        },
    );
    let seconds = kept.values("host_process_cpu_seconds_total", &["server", "user"]);
    assert!(seconds.iter().all(|&seconds| seconds == 5.0), "{seconds:?}");
}

#[test]
fn what_one_member_does_not_show_is_absent_and_told_not_zero() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    host(root);
    process(root, 100, 1, 100, 0, 0);
    process(root, 101, 100, 400, 0, 0);
    // Another user's process: its traffic is not readable, and this kernel omits lines from its status.
    std::fs::remove_file(root.join("proc/101/io")).unwrap();
    write(
        root,
        "proc/101/status",
        "Name:\tx\nnonvoluntary_ctxt_switches:\t7\n",
    );
    let server = "\"process\":\"server\"";
    let (kept, summary) = run(root, Some(100), |kept| kept.batches.len() > 6, |_| {});
    for (name, label) in [
        ("host_process_resident_bytes", ""),
        ("host_process_disk_bytes_total", "read"),
        ("host_process_disk_bytes_total", "write"),
        ("host_process_context_switches_total", "\"voluntary\""),
    ] {
        assert!(kept.values(name, &[server, label]).is_empty(), "{name} {label}");
    }
    let forced = kept.values("host_process_context_switches_total", &[server, "\"forced\""]);
    assert_eq!(forced[0], 14.0, "one missing line does not cost the next");
    assert_eq!(
        kept.values("host_process_cpu_seconds_total", &[server, "user"])[0],
        5.0
    );
    for what in ["disk traffic", "context switches", "resident memory"] {
        let told = summary
            .absent
            .iter()
            .filter(|line| line.contains(what) && line.contains("server"));
        assert_eq!(told.count(), 1, "{what}: {:?}", summary.absent);
    }
}

#[test]
fn an_ended_member_that_waits_for_its_parent_holds_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    host(root);
    process(root, 100, 1, 100, 0, 0);
    process(root, 101, 100, 400, 0, 0);
    let stat = std::fs::read_to_string(root.join("proc/101/stat")).unwrap();
    write(root, "proc/101/stat", &stat.replace(") S ", ") Z "));
    write(
        root,
        "proc/101/status",
        "voluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t7\n",
    );
    let (kept, _) = run(root, Some(100), |kept| kept.batches.len() > 3, |_| {});
    let resident = kept.values("host_process_resident_bytes", &["server"]);
    assert_eq!(resident[0], 2.0 * 1024.0 * 1024.0);
}

#[test]
fn the_real_host_shows_a_busy_server_apart_from_us() {
    let mut server = Command::new("sh")
        .args(["-c", "while :; do :; done"])
        .spawn()
        .unwrap();
    let pid = server.id();
    let used = |kept: &Kept| {
        kept.values("host_process_cpu_seconds_total", &["server", "user"])
            .last()
            .copied()
    };
    let (kept, summary) = run(
        Path::new("/"),
        Some(pid),
        |kept| used(kept) > Some(0.1),
        |_| {
            server.kill().unwrap();
            server.wait().unwrap();
        },
    );
    assert!(kept.values("host_memory_total_bytes", &[])[0] > 1e8);
    assert!(
        !kept
            .values("host_cpu_busy_seconds_total", &[r#""cpu":"0""#])
            .is_empty()
    );
    assert!(!kept.values("host_process_resident_bytes", &["self"]).is_empty());
    assert!(!kept.values("host_sampler_cpu_seconds_total", &[]).is_empty());
    assert!(summary.ticks > 1 && !summary.panicked);
}

#[test]
fn a_server_that_is_not_here_is_told_once() {
    let (kept, _) = run(
        Path::new("/"),
        Some(u32::MAX),
        |kept| kept.batches.len() > 6,
        |_| {},
    );
    assert_eq!(kept.events("process_gone").len(), 1);
    assert!(kept.values("host_processes", &["server"]).is_empty());
}

#[test]
fn a_stopped_engine_is_distinguished_from_one_that_computes() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    host(root);
    process(root, 100, 1, 100, 0, 0);
    process(root, 101, 100, 400, 200, 0);
    process(root, 102, 100, 900, 0, 0);
    write(root, "proc/100/cmdline", "python\0-m\0vllm\0");
    write(root, "proc/101/cmdline", "VLLM::EngineCore\0");
    write(root, "proc/102/cmdline", "python\0-c\0tracker\0");
    let stopped = |kept: &Kept| kept.values("host_engine_processes", &[r#""state":"stopped""#]);
    let (kept, _) = run(
        root,
        Some(100),
        |kept| stopped(kept).contains(&0.0),
        |sink| {
            let path = root.join("proc/101/stat");
            let stat = std::fs::read_to_string(&path).unwrap().replace(") S ", ") T ");
            // Replaced whole: the sampler must not read half of it.
            let whole = root.join("proc/101/stat.new");
            std::fs::write(&whole, stat).unwrap();
            std::fs::rename(whole, path).unwrap();
            sink.wait(|kept| stopped(kept).contains(&1.0));
        },
    );
    let seconds = kept.values("host_engine_cpu_seconds_total", &[]);
    assert!(
        !seconds.is_empty() && seconds.iter().all(|&seconds| seconds == 6.0),
        "the tracker and the API process do not count: {seconds:?}"
    );
    let api = kept.values("host_api_processes", &[r#""state":"sleeping""#]);
    assert!(api.iter().all(|&count| count == 1.0), "{api:?}");
}
