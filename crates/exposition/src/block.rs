//! Classifying a page 64 bytes at a time: which bytes cannot belong to a name, and where quoted text may end.
//!
//! The parser never looks at single characters of names and labels: it asks for the next byte that is not a name's,
//! or the next one that ends quoted text, and both are one bit scan in a mask. Each block is classified once.

use wide::u8x16;

/// One bit for each of a block's 64 bytes, the first byte in the lowest bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Masks {
    /// Bytes other than `[a-zA-Z0-9_]`.
    not_name: u64,
    /// `"`, `\`, line feeds, and bytes that are not ASCII: where a scan of quoted text must stop and look.
    stop: u64,
}

/// Answers questions about the page from the masks of its blocks, of which it keeps the one last asked about.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    blocks: &'a [[u8; 64]],
    /// What is left behind the last whole block, filled up with line feeds.
    tail: [u8; 64],
    len: usize,
    current: usize,
    masks: Masks,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(page: &'a [u8]) -> Self {
        let (blocks, rest) = page.as_chunks::<64>();
        let mut tail = [b'\n'; 64];
        tail[..rest.len()].copy_from_slice(rest);
        let masks = masks(blocks.first().unwrap_or(&tail));
        Self {
            blocks,
            tail,
            len: page.len(),
            current: 0,
            masks,
        }
    }

    /// Position of the first byte at or after `from` that cannot belong to a name; the page's length if there is
    /// none.
    #[inline]
    pub(crate) fn not_name(&mut self, from: usize) -> usize {
        self.find(from, |masks| masks.not_name)
    }

    /// Position of the first byte at or after `from` where quoted text ends or needs a closer look; the page's
    /// length if there is none.
    #[inline]
    pub(crate) fn stop(&mut self, from: usize) -> usize {
        self.find(from, |masks| masks.stop)
    }

    #[inline]
    fn find(&mut self, from: usize, mask: impl Fn(&Masks) -> u64) -> usize {
        let mut block = from / 64;
        if block != self.current {
            self.load(block);
        }
        let mut left = mask(&self.masks) & (!0 << (from % 64));
        while left == 0 {
            block += 1;
            if block * 64 >= self.len {
                return self.len;
            }
            self.load(block);
            left = mask(&self.masks);
        }
        // The tail is filled up with line feeds, which are in every mask.
        (block * 64 + left.trailing_zeros() as usize).min(self.len)
    }

    #[inline]
    fn load(&mut self, block: usize) {
        self.current = block;
        self.masks = masks(self.blocks.get(block).unwrap_or(&self.tail));
    }
}

/// Sixteen bytes at a time, by what every architecture of interest has an instruction for.
#[inline]
fn masks(block: &[u8; 64]) -> Masks {
    /// Lanes whose byte lies between `low` and `high`.
    #[inline]
    fn between(bytes: u8x16, low: u8, high: u8) -> u8x16 {
        let offset = bytes - u8x16::splat(low);
        offset.min(u8x16::splat(high - low)).simd_eq(offset)
    }

    let mut masks = Masks { not_name: 0, stop: 0 };
    let (quarters, _) = block.as_chunks::<16>();
    for (i, quarter) in quarters.iter().enumerate() {
        let bytes = u8x16::new(*quarter);
        let equals = |byte: u8| bytes.simd_eq(u8x16::splat(byte));

        let lower_case = bytes | u8x16::splat(0x20);
        let name = between(lower_case, b'a', b'z') | between(bytes, b'0', b'9') | equals(b'_');
        // Besides the three, the bytes themselves: their highest bit, all that is taken here, marks what is not ASCII.
        let stop = equals(b'"') | equals(b'\\') | equals(b'\n') | bytes;

        masks.not_name |= u64::from(!name.to_bitmask() & 0xffff) << (16 * i);
        masks.stop |= u64::from(stop.to_bitmask()) << (16 * i);
    }
    masks
}

/// The definition of the masks.
#[cfg(test)]
fn masks_by_definition(block: &[u8; 64]) -> Masks {
    let mut masks = Masks { not_name: 0, stop: 0 };
    for (i, &byte) in block.iter().enumerate() {
        let not_name = !(byte.is_ascii_alphanumeric() || byte == b'_');
        let stop = matches!(byte, b'"' | b'\\' | b'\n') || !byte.is_ascii();
        masks.not_name |= u64::from(not_name) << i;
        masks.stop |= u64::from(stop) << i;
    }
    masks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_classified_as_defined() {
        for byte in 0..=255 {
            for at in [0, 17, 63] {
                let mut block = [b'a'; 64];
                block[at] = byte;
                assert_eq!(masks(&block), masks_by_definition(&block), "byte {byte} at {at}");
            }
        }
    }

    #[test]
    fn scanning_crosses_blocks_in_both_directions() {
        let mut page = vec![b'a'; 200];
        page[130] = b'"';
        page[199] = b' ';
        let mut scanner = Scanner::new(&page);
        assert_eq!(scanner.not_name(0), 130);
        assert_eq!(scanner.not_name(131), 199);
        assert_eq!(scanner.stop(3), 130);
        assert_eq!(scanner.stop(131), 200);
        assert_eq!(scanner.not_name(200), 200);
        assert_eq!(Scanner::new(b"").stop(0), 0);
        assert_eq!(Scanner::new(&page[..128]).stop(5), 128);
        assert_eq!(Scanner::new(&page[..128]).stop(128), 128);
    }
}
