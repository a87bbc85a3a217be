//! The roles of a vLLM server's processes, which it puts into their titles, and what each role is doing.
//!
//! A stopped or sleeping engine process distinguishes a hang from a long computation.

use super::emit::Emitter;

/// The role of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Answers HTTP: the first process, and further API servers.
    Api,
    /// Computes: the engine and its workers.
    Engine,
}

impl Role {
    /// From the contents of `/proc/<pid>/cmdline`. vLLM's titles are `VLLM::EngineCore_DP0`, `VLLM::Worker_TP1`,
    /// `VLLM::APIServer_0`; the prefix is a setting of the server.
    pub(crate) fn of(command_line: &str, is_root: bool) -> Option<Self> {
        let first = command_line.split('\0').next().unwrap_or_default();
        let title = first.rsplit_once("::").map(|(_, title)| title);
        match title {
            Some(title) if title.starts_with("EngineCore") || title.starts_with("Worker") => {
                Some(Self::Engine)
            }
            Some(title) if title.starts_with("APIServer") => Some(Self::Api),
            _ => is_root.then_some(Self::Api),
        }
    }
}

/// States of processes, as labels.
const STATES: [&str; 4] = ["running", "sleeping", "disk", "stopped"];

/// How many processes of each role are in each state.
#[derive(Debug, Default)]
pub(crate) struct RoleStates {
    api: [u32; STATES.len()],
    engine: [u32; STATES.len()],
}

impl RoleStates {
    /// Counts a process by the letter of its state. One that has ended is not counted.
    pub(crate) fn add(&mut self, role: Option<Role>, letter: char) {
        let place = match letter {
            'R' => 0,
            'D' => 2,
            'T' | 't' => 3,
            'Z' | 'X' | 'x' => return,
            _ => 1,
        };
        match role {
            Some(Role::Api) => self.api[place] += 1,
            Some(Role::Engine) => self.engine[place] += 1,
            None => {}
        }
    }

    /// Publishes the counts, and the engine's CPU time if it has processes of its own.
    pub(crate) fn publish(&self, engine_seconds: f64, emit: &mut Emitter<'_>) {
        for (name, counts) in [
            ("host_api_processes", self.api),
            ("host_engine_processes", self.engine),
        ] {
            if counts.iter().any(|&count| count > 0) {
                for (state, count) in STATES.into_iter().zip(counts) {
                    emit.gauge(name, &[("state", state)], "processes", f64::from(count));
                }
            }
        }
        if self.engine.iter().any(|&count| count > 0) {
            emit.counter("host_engine_cpu_seconds_total", &[], "seconds", engine_seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_in_the_titles() {
        for (line, is_root, role) in [
            ("VLLM::EngineCore", false, Some(Role::Engine)),
            ("VLLM::EngineCore_DP1\0", false, Some(Role::Engine)),
            ("mine::Worker_TP0_EP0", false, Some(Role::Engine)),
            ("VLLM::APIServer_1", false, Some(Role::Api)),
            (
                "/usr/bin/python\0-m\0vllm.entrypoints.openai.api_server",
                true,
                Some(Role::Api),
            ),
            (
                "python\0-c\0from multiprocessing.resource_tracker import main",
                false,
                None,
            ),
            ("", false, None),
        ] {
            assert_eq!(Role::of(line, is_root), role, "{line}");
        }
    }
}
