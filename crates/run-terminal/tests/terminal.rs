//! A screen on a pseudo-terminal: it is restored after its end, a key, and a panic of any thread.
//!
//! The test runs itself once more, on a pseudo-terminal, with the case in an environment variable.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};
use run_analysis::view::LiveView;
use run_terminal::{Options, Output, Screen, Source, Status, Stop, is_usable};

const CASE: &str = "RUN_TERMINAL_CASE";
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const LIMIT: Duration = Duration::from_secs(20);

struct Fed {
    panics: bool,
    pictures: u32,
}

impl Source for Fed {
    fn advance(&mut self, _: &mut LiveView) -> Status {
        self.pictures += 1;
        assert!(!self.panics || self.pictures < 3, "the source panics");
        Status {
            title: "a run".into(),
            ..Status::default()
        }
    }

    fn stop(&mut self, _: Stop) {}
}

/// The part that runs on the pseudo-terminal.
fn on_terminal(case: &str) {
    is_usable(Output::Stderr).expect("a pseudo-terminal can be drawn on");
    let fed = Fed {
        panics: case == "source",
        pictures: 0,
    };
    let options = Options {
        output: Output::Stderr,
        keep: Duration::from_secs(60),
        whole: false,
        asks: false,
    };
    let screen = Screen::start(Box::new(fed), options).expect("the screen starts");
    match case {
        "thread" => {
            let panicked = std::thread::spawn(|| panic!("another thread panics")).join();
            assert!(panicked.is_err());
            while !screen.is_closed() {
                std::thread::yield_now();
            }
        }
        "finish" => assert!(screen.finish().frames > 0),
        // Until the key, or the panic of the source.
        _ => {
            while !screen.is_closed() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    writeln!(std::io::stderr(), "\nafter the screen").expect("the terminal takes it");
}

/// Runs a case and returns everything written to the terminal. `keys` are pressed once the screen is shown.
fn run(case: &str, keys: &str) -> String {
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
    let before = tcgetattr(&pty.slave).expect("its mode");
    let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().expect("another descriptor"));
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "the_terminal_is_restored", "--nocapture"])
        .env(CASE, case)
        .env("TERM", "xterm-256color")
        .stdin(end(&pty.slave))
        .stdout(end(&pty.slave))
        .stderr(end(&pty.slave))
        .spawn()
        .expect("this program starts");
    let mut master = File::from(pty.master);
    let mut keyboard = master.try_clone().expect("another descriptor");
    let (sender, parts) = mpsc::channel();
    std::thread::spawn(move || {
        let mut part = [0; 4096];
        // An error is the end of the terminal.
        while let Ok(length) = master.read(&mut part) {
            if length == 0 || sender.send(part[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut written = String::new();
    let mut pressed = false;
    while !written.contains("after the screen") {
        let part = parts.recv_timeout(LIMIT).expect("the child writes");
        written.push_str(&String::from_utf8_lossy(&part));
        if !pressed && written.contains("a run") {
            pressed = true;
            keyboard.write_all(keys.as_bytes()).expect("a key");
        }
    }
    // Drained all the time, so that the child can write.
    std::thread::spawn(move || while parts.recv().is_ok() {});
    assert!(
        child.wait().expect("the child ends").success(),
        "{case}: {written}"
    );
    let after = tcgetattr(&pty.slave).expect("its mode");
    assert_eq!(before.local_flags, after.local_flags, "{case}");
    assert!(
        after.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO),
        "{case}"
    );
    written
}

#[test]
fn the_terminal_is_restored() {
    if let Ok(case) = std::env::var(CASE) {
        return on_terminal(&case);
    }
    for (case, keys, message) in [
        ("finish", "", ""),
        ("key", "q", ""),
        ("source", "", "the source panics"),
        ("thread", "", "another thread panics"),
    ] {
        let written = run(case, keys);
        let (entered, left) = (written.find(ENTER), written.rfind(LEAVE));
        assert!(entered.is_some() && entered < left, "{case}: {written:?}");
        // A panic's message is on the restored terminal, and nothing is drawn after it.
        let after = &written[left.unwrap_or_default()..];
        assert!(after.contains(message), "{case}: {after:?}");
        assert_eq!(
            after.matches("\x1b[").count(),
            1 + after.matches("\x1b[?25h").count(),
            "{case}: {after:?}"
        );
    }
}
