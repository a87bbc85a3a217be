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

/// Writes the log to `out`, truncated.
pub(super) fn shorten(from: &Path, out: &mut impl Write) -> io::Result<()> {
    let mut file = File::open(from)?;
    let size = file.metadata()?.len();
    if size < VIEWABLE {
        io::copy(&mut file, out)?;
    } else {
        io::copy(&mut (&file).take(VIEWABLE), out)?;
        out.write_all(b"\n\n...\n\n")?;
        file.seek(SeekFrom::Start(size - VIEWABLE))?;
        io::copy(&mut (&file).take(VIEWABLE), out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_logs_keep_their_ends_and_the_hash_is_of_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("a");
        let mut out = Vec::new();
        std::fs::write(&from, "abc").unwrap();
        shorten(&from, &mut out).unwrap();
        // The hash of "abc" from the standard.
        assert_eq!(
            hash(&from).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(out, b"abc");
        let long: Vec<u8> = (0..20_000u32).map(|i| b'a' + (i % 26) as u8).collect();
        std::fs::write(&from, &long).unwrap();
        out.clear();
        shorten(&from, &mut out).unwrap();
        let wanted = [&long[..4096], b"\n\n...\n\n", &long[20_000 - 4096..]].concat();
        assert_eq!(out, wanted);
    }
}
