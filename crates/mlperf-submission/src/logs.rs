//! Accuracy logs as a submission contains them: truncated, with the hash of the whole file next to them.
//!
//! The result equals that of MLCommons' truncation tool, which then finds nothing to do.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Number of bytes kept from each end.
const VIEWABLE: u64 = 4096;

/// The SHA-256 hash of the whole log.
pub(super) fn hash(log: &Path) -> io::Result<String> {
    let mut file = File::open(log)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        hash.update(&piece[..read]);
    }
    let digest: [u8; 32] = hash.finalize().into();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Copies the log, truncated.
pub(super) fn shorten(from: &Path, to: &Path) -> io::Result<()> {
    let mut file = File::open(from)?;
    let size = file.metadata()?.len();
    let mut out = File::create(to)?;
    if size < VIEWABLE {
        io::copy(&mut file, &mut out)?;
    } else {
        io::copy(&mut (&file).take(VIEWABLE), &mut out)?;
        out.write_all(b"\n\n...\n\n")?;
        file.seek(SeekFrom::Start(size - VIEWABLE))?;
        io::copy(&mut (&file).take(VIEWABLE), &mut out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_logs_keep_their_ends_and_the_hash_is_of_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&from, "abc").unwrap();
        shorten(&from, &to).unwrap();
        // The hash of "abc" from the standard.
        assert_eq!(
            hash(&from).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(std::fs::read(&to).unwrap(), b"abc");
        let long: Vec<u8> = (0..20_000u32).map(|i| b'a' + (i % 26) as u8).collect();
        std::fs::write(&from, &long).unwrap();
        shorten(&from, &to).unwrap();
        let wanted = [&long[..4096], b"\n\n...\n\n", &long[20_000 - 4096..]].concat();
        assert_eq!(std::fs::read(&to).unwrap(), wanted);
    }
}
