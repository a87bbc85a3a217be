//! `/dev/shm`, through which the processes of a server talk.

use super::{Facts, Finding, ParsedArguments, gib};

/// For each worker: ring buffers and the collectives' own segments.
const PER_WORKER_BYTES: f64 = 1e9;

pub(super) fn check(facts: &Facts, arguments: &ParsedArguments) -> Vec<Finding> {
    let Some(memory) = facts.shared_memory else {
        return vec![Finding::unknown("shared memory", "/dev/shm was not checked")];
    };
    let factor = |flag: &str| arguments.number(flag).unwrap_or(1.0).max(1.0);
    let workers = factor("--tensor-parallel-size")
        * factor("--pipeline-parallel-size")
        * factor("--data-parallel-size");
    if workers <= 1.0 {
        return vec![Finding::pass(
            "shared memory",
            format!("{} free, one worker", gib(memory.free_bytes)),
        )];
    }
    let needed = workers * PER_WORKER_BYTES;
    let sum = format!(
        "{} free, {workers} workers × {} = {}",
        gib(memory.free_bytes),
        gib(PER_WORKER_BYTES),
        gib(needed)
    );
    vec![if memory.free_bytes < needed {
        Finding::blocks("shared memory", sum)
            .way_out("docker run --shm-size, or --ipc=host: too little ends a worker with a bus error")
    } else {
        Finding::pass("shared memory", sum)
    }]
}

#[cfg(test)]
mod tests {
    use super::super::{ArgumentTable, Outcome, SharedMemoryFacts};
    use super::*;

    #[test]
    fn dockers_default_is_too_small_for_several_gpus() {
        let memory = Some(SharedMemoryFacts {
            total_bytes: 67_108_864.0,
            free_bytes: 67_108_864.0,
        });
        let facts = Facts {
            shared_memory: memory,
            ..Facts::default()
        };
        let parse = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
            ArgumentTable::for_version(None).parse(&args)
        };
        assert_eq!(check(&facts, &parse(&[]))[0].outcome, Outcome::Pass);
        assert_eq!(check(&facts, &parse(&["-tp", "4"]))[0].outcome, Outcome::Fail);
    }
}
