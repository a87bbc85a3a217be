//! Programs that exchange JSON lines: one request on their input, one answer on their output.
//!
//! The program's environment contains only `PATH`. It runs in its own process group, which is killed after a
//! time limit. Its error output is included in error messages.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use duration_text::Shown;
use serde_json::Value;

use crate::error::{Error, Result};

/// Longest answer that is read, in bytes.
const LONGEST_ANSWER: u64 = 64 << 10;

/// A program that executes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subprocess {
    /// The program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Time limit.
    pub limit: Duration,
}

impl Subprocess {
    /// Sends one request and returns the answer, which must be an object with `"ok": true`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use monitor_plugins::subprocess::Subprocess;
    ///
    /// let echo = Subprocess {
    ///     program: "sh".into(),
    ///     arguments: vec!["-c".into(), r#"read line; echo "{\"ok\":true,\"got\":$line}""#.into()],
    ///     limit: Duration::from_secs(10),
    /// };
    /// let answer = echo.ask(&serde_json::json!({ "schema": 1, "do": "scale" })).unwrap();
    /// assert_eq!(answer["got"]["do"], "scale");
    /// ```
    ///
    /// # Errors
    /// [`Error::Subprocess`] if it cannot be started, takes too long, or answers anything else; with its error output.
    pub fn ask(&self, request: &Value) -> Result<Value> {
        let wrong = |problem: String| Error::Subprocess {
            command: self.program.clone(),
            problem,
        };
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|e| wrong(format!("it cannot be started: {e}")))?;
        let answer = self.talk(&mut child, request);
        // Kills its child processes with it.
        kill_group(&child);
        let _reaped = child.wait();
        answer.map_err(|problem| {
            let mut said = String::new();
            if let Some(stderr) = child.stderr.take() {
                let _best_effort = stderr.take(1000).read_to_string(&mut said);
            }
            let said = said.trim();
            wrong(if said.is_empty() {
                problem
            } else {
                format!("{problem}; it said: {said}")
            })
        })
    }

    fn talk(&self, child: &mut Child, request: &Value) -> std::result::Result<Value, String> {
        let mut stdin = child.stdin.take().expect("it is piped");
        let stdout = child.stdout.take().expect("it is piped");
        let line = format!("{request}\n");
        let (sender, receiver) = mpsc::channel();
        // Both pipes may block; the threads end when the group is killed and the pipes close.
        std::thread::spawn(move || {
            let _it_may_not_read = stdin.write_all(line.as_bytes());
        });
        std::thread::spawn(move || {
            let mut answer = String::new();
            let read = BufReader::new(stdout).take(LONGEST_ANSWER).read_line(&mut answer);
            let _asker_may_be_gone = sender.send(read.map(|_| answer));
        });
        let answer = receiver
            .recv_timeout(self.limit)
            .map_err(|_| format!("no answer within {}", Shown(self.limit)))?
            .map_err(|e| format!("its answer cannot be read: {e}"))?;
        if answer.is_empty() {
            return Err("it ended without an answer".into());
        }
        let answer: Value =
            serde_json::from_str(&answer).map_err(|e| format!("its answer is not a JSON line: {e}"))?;
        match answer.get("ok") {
            Some(Value::Bool(true)) => Ok(answer),
            Some(Value::Bool(false)) => Err(format!(
                "it refused: {}",
                answer
                    .get("error")
                    .and_then(Value::as_str)
                    .unwrap_or("no reason given")
            )),
            _ => Err("its answer has no \"ok\"".into()),
        }
    }
}

fn kill_group(child: &Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _it_may_have_ended =
            nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn sh(script: &str) -> Subprocess {
        Subprocess {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            limit: Duration::from_secs(10),
        }
    }

    #[test]
    fn what_goes_wrong_is_said() {
        for (script, part) in [
            ("exit 3", "without an answer"),
            ("echo no", "not a JSON line"),
            ("echo '{}'", "no \"ok\""),
            ("echo '{\"ok\":false,\"error\":\"no quota\"}'", "no quota"),
            ("echo because >&2; exit 1", "because"),
        ] {
            let error = sh(script).ask(&Value::Null).expect_err(script).to_string();
            assert!(error.contains(part), "{script}: {error}");
        }
        let missing = Subprocess {
            program: "/nonexistent/program".into(),
            arguments: Vec::new(),
            limit: Duration::from_secs(1),
        };
        assert!(
            missing
                .ask(&Value::Null)
                .expect_err("missing")
                .to_string()
                .contains("cannot be started")
        );
    }

    #[test]
    fn one_that_hangs_is_killed_with_its_children() {
        let mut hanging = sh("sleep 1000 & sleep 1000");
        hanging.limit = Duration::from_millis(200);
        let started = Instant::now();
        let error = hanging.ask(&Value::Null).expect_err("it hangs").to_string();
        assert!(error.contains("no answer within"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn the_environment_is_empty() {
        let answer = sh("n=$(env | grep -vc '^\\(PATH\\|PWD\\|SHLVL\\|_\\|OLDPWD\\)='); echo \"{\\\"ok\\\":true,\\\"n\\\":$n}\"")
            .ask(&Value::Null)
            .expect("it answers");
        assert_eq!(answer["n"], 0);
    }
}
