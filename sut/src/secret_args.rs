//! The server's key off the command line, which every user of the machine can read while a process runs.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

const FLAG: &str = "--api-key";
/// Where the flag is read from, too.
const VARIABLE: &str = "VLLM_API_KEY";

/// Starts this process anew with the key in its environment, where the command line holds one. Does not return then,
/// unless the program cannot be started again.
///
/// Between the start and this call the key can be read; a key in the environment or in a configuration file never can.
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

/// The arguments without the key, and the key. `None` where there is none, or where a subcommand has flags of its own.
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
            // Without a value it is the parser's to refuse.
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
