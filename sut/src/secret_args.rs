//! Removes the server's key from the command line, which every user of the machine can read while a process
//! runs.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

const FLAG: &str = "--api-key";
/// Environment variable that can replace the flag.
const VARIABLE: &str = "VLLM_API_KEY";

/// If the command line contains a key, restarts this process with the key in its environment and does not
/// return, unless the program cannot be restarted.
///
/// The key is readable between the start of the process and this call; a key in the environment or in a
/// configuration file is never exposed.
pub fn hide_secret_args() {
    let mut args = std::env::args_os();
    let Some(name) = args.next() else { return };
    let Some((kept, key)) = without_key(args.collect()) else {
        return;
    };
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let error = Command::new(program)
        .arg0(name)
        .args(kept)
        .env(VARIABLE, key)
        .exec();
    tracing::debug!("the key stays on the command line: {error}");
}

/// The arguments without the key, and the key. `None` if there is none, or for a subcommand, which has its
/// own flags.
fn without_key(args: Vec<OsString>) -> Option<(Vec<OsString>, OsString)> {
    if args
        .first()
        .is_some_and(|first| !first.to_string_lossy().starts_with('-'))
    {
        return None;
    }
    let (mut kept, mut key) = (Vec::with_capacity(args.len()), None);
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy();
        if text == FLAG {
            // The parser reports a missing value.
            key = Some(args.next()?);
        } else if let Some(value) = text.strip_prefix("--api-key=") {
            key = Some(value.into());
        } else {
            kept.push(arg);
        }
    }
    Some((kept, key?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_is_taken_off_the_line() {
        let split = |line: &str| {
            let found = without_key(line.split(' ').map(OsString::from).collect())?;
            let kept: Vec<_> = found
                .0
                .iter()
                .map(|arg| arg.to_string_lossy().into_owned())
                .collect();
            Some((kept.join(" "), found.1.to_string_lossy().into_owned()))
        };
        let found = Some(("--url u --seed 1".to_owned(), "k".to_owned()));
        assert_eq!(split("--url u --api-key k --seed 1"), found);
        assert_eq!(split("--url u --api-key=k --seed 1"), found);
        assert_eq!(split("--url u"), None);
        assert_eq!(split("--url u --api-key"), None);
        assert_eq!(split("sim --api-key k"), None);
    }
}
