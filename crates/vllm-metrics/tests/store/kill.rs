//! Kill -9 at random moments: every file opens, and at most the records after the last flush are lost.
//!
//! By hand: `STORE_KILLS=40 STORE_KILL_KEEP=/tmp/kept cargo test -p vllm-metrics --test store kill` kills that often
//! per format and keeps the folders for `scripts/check-readers`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use vllm_metrics::store;
use vllm_metrics::{Record, StoreFormat, read_run};

use crate::fixture;

/// Kills per format within the test suite.
const KILLS: u64 = 2;

#[test]
fn every_format_survives_kills_at_random_moments() {
    let kills = std::env::var("STORE_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let keep = std::env::var_os("STORE_KILL_KEEP");
    let seed = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64;
    let mut random = seed;
    for &format in StoreFormat::ALL {
        for kill in 0..kills {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let dir = tempfile::tempdir().unwrap();
            let (flushed, written) =
                run_and_kill(format, dir.path(), (random >> 33) % 300, (random >> 20) % 3000);
            let what = format!("{format}, kill {kill}, seed {seed}: {flushed} flushed, {written} begun");
            let run = read_run(dir.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(
                run.notes.iter().any(|note| note.contains("cut")),
                "{what}: {:?}",
                run.notes
            );
            let found = run.series.first().map_or(0, |series| series.values.len());
            assert!(
                (flushed..=written).contains(&(found as u64)),
                "{what}: found {found}"
            );
            // Nothing torn: the run contains exactly the first scrapes.
            fixture::assert_same_samples(&run, &fixture::expected(found, fixture::manifest()));
            if let Some(keep) = &keep {
                let target = Path::new(keep).join(format!("{format}-{kill}"));
                std::fs::create_dir_all(&target).unwrap();
                for entry in std::fs::read_dir(dir.path()).unwrap() {
                    let path = entry.unwrap().path();
                    std::fs::copy(&path, target.join(path.file_name().unwrap())).unwrap();
                }
            }
        }
    }
}

/// Runs [`writer`] in a separate process, kills it some time after a number of flushes, and returns how many
/// scrapes were certainly flushed and the most that can have been begun.
fn run_and_kill(format: StoreFormat, dir: &Path, after_flushes: u64, then_micros: u64) -> (u64, u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::writer", "--ignored", "--nocapture", "--quiet"])
        .env("STORE_KILL_FORMAT", format.as_str())
        .env("STORE_KILL_DIR", dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut flushed = 0;
    let mut begun = 0;
    let mut take = |line: &str| match line.split_once(' ') {
        Some(("begun", n)) => begun = n.parse().unwrap(),
        Some(("flushed", n)) => flushed = n.parse().unwrap(),
        _ => {}
    };
    let mut seen = 0;
    for line in lines.by_ref() {
        take(&line);
        seen += u64::from(line.starts_with("flushed"));
        if seen > after_flushes {
            break;
        }
    }
    // Not a wait for anything: the kill should happen anywhere within a flush.
    std::thread::sleep(Duration::from_micros(then_micros));
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines {
        take(&line);
    }
    // The last line may have been cut by the kill: one more scrape may have been begun, or flushed.
    (flushed, begun + 1)
}

/// The process that is killed: writes as fast as it can, printing each step before and after it.
#[test]
#[ignore = "run by the test above, in a process of its own"]
fn writer() {
    let Some(dir) = std::env::var_os("STORE_KILL_DIR") else {
        return;
    };
    let format: StoreFormat = std::env::var("STORE_KILL_FORMAT").unwrap().parse().unwrap();
    let mut out = std::io::stdout();
    let mut store = store::open(format, Path::new(&dir), &fixture::manifest()).unwrap();
    fixture::write_series(store.as_mut());
    fixture::write_rows(store.as_mut());
    for tick in 0.. {
        writeln!(out, "begun {}", tick + 1).unwrap();
        store
            .write(Record::Samples(fixture::scrape(tick).into()))
            .unwrap();
        store.flush().unwrap();
        writeln!(out, "flushed {}", tick + 1).unwrap();
    }
}
