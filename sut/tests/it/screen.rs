//! Runs and records on a terminal: the screen, its restoration, and what happens without a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::tcgetattr;
use nix::unistd::Pid;

use crate::support::{Run, simulator};

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

/// A program whose terminal is a pseudo-terminal of 80 columns and 24 rows.
struct OnTerminal {
    child: Child,
    slave: OwnedFd,
    keyboard: File,
    parts: Receiver<Vec<u8>>,
    written: String,
    before: nix::sys::termios::LocalFlags,
}

/// Text without spaces and without the sequences that move the cursor or set colours.
fn letters(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part
            .find(|c: char| c.is_ascii_alphabetic())
            .map_or(part.len(), |at| at + 1);
        out.push_str(&part[end..]);
    }
    out.retain(|c| !c.is_whitespace());
    out
}

impl OnTerminal {
    fn start(mut command: Command) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(&size, None).expect("a pseudo-terminal");
        // A child that holds the other end itself would not notice that this process is gone.
        for end in [&pty.master, &pty.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("an open descriptor");
        }
        let before = tcgetattr(&pty.slave).expect("its mode").local_flags;
        let end = || Stdio::from(pty.slave.try_clone().expect("another descriptor"));
        let child = command
            .env("TERM", "xterm-256color")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            // Ctrl-C reaches the process group.
            .process_group(0)
            .spawn()
            .expect("the program starts");
        let keyboard = File::from(pty.master);
        let mut master = keyboard.try_clone().expect("another descriptor");
        let (sender, parts) = channel();
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length) = master.read(&mut part) {
                if length == 0 || sender.send(part[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            slave: pty.slave,
            keyboard,
            parts,
            written: String::new(),
            before,
        }
    }

    /// Waits until this text was written. Spaces do not count: a screen moves the cursor over them.
    fn expect(&mut self, text: &str) {
        let wanted = letters(text);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !letters(&self.written).contains(&wanted) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.parts.recv_timeout(left) {
                Ok(part) => self.written.push_str(&String::from_utf8_lossy(&part)),
                Err(_) => panic!("{text} does not come: {:?}", self.written),
            }
        }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("a key");
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process");
        kill(Pid::from_raw(pid), signal).expect("a signal");
    }

    /// Waits for the end, checks the terminal, and returns the status and what was written after the screen.
    fn end(mut self) -> (Option<i32>, String) {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                break status;
            }
            // Read all the time, so that the program can write.
            if let Ok(part) = self.parts.recv_timeout(Duration::from_millis(20)) {
                self.written.push_str(&String::from_utf8_lossy(&part));
            }
        };
        while let Ok(part) = self.parts.recv_timeout(Duration::from_millis(200)) {
            self.written.push_str(&String::from_utf8_lossy(&part));
        }
        let (entered, left) = (self.written.find(ENTER), self.written.rfind(LEAVE));
        assert!(entered.is_some() && entered < left, "{:?}", self.written);
        let after = tcgetattr(&self.slave).expect("its mode").local_flags;
        assert_eq!(after, self.before, "the terminal's mode is restored");
        let after = self.written.split_off(left.unwrap_or_default());
        (status.code(), after)
    }
}

/// A run that lasts longer than any test, on a screen.
fn long_run(url: &str) -> Run {
    let flags = "--scenario Offline --duration 60s --num-samples 64 --target-qps 2000 --max-tokens 16 --concurrency 32 \
                 --no-plots --ui tui";
    let mut flags: Vec<&str> = flags.split_whitespace().collect();
    flags.extend(["--url", url]);
    Run::new(&flags)
}

#[test]
fn the_terminal_is_restored_after_signals_and_keys() {
    let simulator = simulator(&[]);
    let cases: [(&str, Option<Signal>); 5] = [
        ("", Some(Signal::SIGTERM)),
        ("", Some(Signal::SIGINT)),
        ("", Some(Signal::SIGHUP)),
        ("\x03", None),
        ("q", None),
    ];
    for (keys, signal) in cases {
        let run = long_run(&simulator.url());
        let mut screen = OnTerminal::start(run.command());
        screen.expect("running");
        screen.expect("completed");
        match signal {
            Some(signal) => screen.signal(signal),
            None => screen.press(keys),
        }
        if keys == "q" {
            screen.expect("Stop the run?");
            screen.press("y");
        }
        let (status, after) = screen.end();
        let expected = signal.unwrap_or(Signal::SIGINT);
        let shown = format!("{keys:?} {signal:?} {status:?} {after}");
        assert_eq!(status, Some(4), "{shown}");
        // The log that was held is written, and the closing table follows on the restored terminal.
        assert!(
            after.contains(&format!("ending the run: {expected} was received")),
            "{shown}"
        );
        assert!(
            after.contains("ABORTED") && after.contains("the screen took"),
            "{shown}"
        );
    }
    simulator.stop();
}

#[test]
fn without_a_terminal_there_are_lines() {
    let simulator = simulator(&[]);
    let flags = "--scenario Offline --duration 100ms --num-samples 64 --target-qps 2000 --max-tokens 16 --no-plots --ui tui";
    let mut flags: Vec<&str> = flags.split_whitespace().collect();
    let url = simulator.url();
    flags.extend(["--url", &url]);
    let run = Run::new(&flags).finish();
    assert_eq!(run.status, Some(0), "{}", run.shown());
    let said = run
        .stderr
        .matches("no screen is shown: standard error is not a terminal")
        .count();
    assert_eq!(said, 1, "{}", run.shown());
    assert!(!run.stderr.contains('\x1b'), "{}", run.shown());

    // The record that it left, as a line and on a screen.
    let folder = run.metrics_dir();
    let watch = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sut"));
        command.arg("watch").arg(&folder).stdin(Stdio::null());
        command
    };
    let watched = watch().output().expect("the program starts");
    let (out, err) = (
        String::from_utf8_lossy(&watched.stdout).into_owned(),
        String::from_utf8_lossy(&watched.stderr).into_owned(),
    );
    assert_eq!(watched.status.code(), Some(0), "{out}{err}");
    let completed = format!("{} completed, 0 failed", run.record().requests.len());
    assert!(
        out.contains(&completed) && out.contains("whole record") && out.contains("VALID"),
        "{out}{err}"
    );
    let mut screen = OnTerminal::start(watch());
    screen.expect("whole record");
    screen.expect("VALID");
    screen.press("q");
    assert_eq!(screen.end().0, Some(0));
    let mut screen = OnTerminal::start(watch());
    screen.expect("whole record");
    screen.signal(Signal::SIGTERM);
    assert_eq!(screen.end().0, Some(0));
    simulator.stop();
}

#[test]
fn a_server_is_watched_without_a_record() {
    let simulator = simulator(&[]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sut"));
    command
        .args(["watch", &simulator.url(), "--interval", "100ms"])
        .current_dir(folder.path());
    let mut screen = OnTerminal::start(command);
    screen.expect("nothing is written");
    // A graph has values: only cells that change are written, so that the figure alone cannot be waited for.
    screen.expect("max 0");
    screen.press("q");
    assert_eq!(screen.end().0, Some(0));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    simulator.stop();
}

#[test]
fn what_cannot_be_watched_is_an_error() {
    for (target, status) in [("no/such/folder", 2), ("http://127.0.0.1:9", 3)] {
        let output = Command::new(env!("CARGO_BIN_EXE_sut"))
            .args(["watch", target])
            .output()
            .expect("the program starts");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{target}: {error}");
        assert!(error.contains(target), "{target}: {error}");
    }
}
