//! Learning in a process that is repeatedly killed with SIGKILL, compared with an undisturbed one.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use monitor_acting::store::MemoryFile;
use monitor_acting::verify::Outcome;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::bandit::fixed;

const ROUNDS: u64 = 200;

/// Continues from the state saved in the folder, saves after every round, and writes the regret of each.
pub(crate) fn child(words: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [folder, seed] = words else {
        return Err("usage: child FOLDER SEED".into());
    };
    let seed: u64 = seed.parse()?;
    let file = MemoryFile::new(Path::new(folder).join("state"));
    let mut memory = file.load()?.unwrap_or_default();
    let mut curve = OpenOptions::new()
        .create(true)
        .append(true)
        .open(Path::new(folder).join("curve"))?;
    let (context, candidates, means) = fixed();
    while memory.decisions < ROUNDS {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(memory.decisions);
        let choice = memory.learner.choose(&context, &candidates, &mut rng);
        let place = candidates
            .iter()
            .position(|c| c.arm == choice.arm)
            .ok_or("an unknown arm")?;
        let reward = means[place] + rng.random_range(-0.2..0.2);
        memory
            .learner
            .observe(&context, &choice.arm, reward, Outcome::Success);
        // One write, so that a kill leaves no partial line.
        curve.write_all(format!("{} {}\n", memory.decisions, 0.85 - means[place]).as_bytes())?;
        memory.decisions += 1;
        file.save(&memory)?;
    }
    Ok(())
}

/// Regret by round, and whether rounds that were played twice had the same result.
fn curve(folder: &Path) -> Result<(BTreeMap<u64, String>, bool), Box<dyn std::error::Error>> {
    let mut rounds = BTreeMap::new();
    let mut same = true;
    for line in std::fs::read_to_string(folder.join("curve"))?.lines() {
        // The last line before a kill may be cut.
        let Some((round, regret)) = line.split_once(' ') else {
            continue;
        };
        if let Some(before) = rounds.insert(round.parse()?, regret.to_owned()) {
            same &= before == regret;
        }
    }
    Ok((rounds, same))
}

pub(crate) fn report(seeds: u64) -> Result<(), Box<dyn std::error::Error>> {
    let program = std::env::current_exe()?;
    let mut rng = ChaCha8Rng::seed_from_u64(99);
    let (mut equal, mut kills) = (0, 0);
    for seed in 0..seeds {
        let folders = [
            scratch(&format!("whole-{seed}"))?,
            scratch(&format!("killed-{seed}"))?,
        ];
        let start = |folder: &Path| {
            Command::new(&program)
                .arg("child")
                .arg(folder)
                .arg(seed.to_string())
                .stdout(Stdio::null())
                .spawn()
        };
        start(&folders[0])?.wait()?;
        loop {
            let mut child = start(&folders[1])?;
            std::thread::sleep(Duration::from_millis(rng.random_range(5..60)));
            // Kill is SIGKILL.
            child.kill()?;
            if child.wait()?.success() {
                break;
            }
            kills += 1;
        }
        let (whole, _) = curve(&folders[0])?;
        let (killed, same) = curve(&folders[1])?;
        equal += u64::from(whole == killed && same && whole.len() as u64 == ROUNDS);
        for folder in folders {
            std::fs::remove_dir_all(folder)?;
        }
    }
    println!("## Killed with SIGKILL\n");
    println!(
        "{equal} of {seeds} regret curves of {ROUNDS} rounds are the same as without kills; {kills} kills in all\n"
    );
    Ok(())
}

fn scratch(name: &str) -> std::io::Result<std::path::PathBuf> {
    let folder = std::env::temp_dir().join(format!("acting-eval-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
