//! Finding the structure of lines 64 bytes at a time, so that nobody looks at single characters of names and labels.
//!
//! Each block of the page is classified once into bit masks, one bit per byte. From them follows, by a running
//! parity of the quotes, which bytes are inside quoted text, and so which bytes give a line its structure. The
//! parser then steps from one of those to the next by a bit scan each.

use wide::{i8x16, u8x16};

/// Steps through the bytes that give a line its structure.
///
/// In `name{label="value",…} 1` these are, behind the name, the `{`, each `=`, each closing quote, and the space:
/// what follows an opening quote is text, and what follows a closing one is known to be looked at together with it.
/// Bytes inside quoted text that need a closer look (backslash, line feed, not ASCII) are stepped on as well, where
/// a closing quote is expected.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    blocks: &'a [[u8; 64]],
    /// What is left behind the last whole block, filled up with line feeds.
    tail: [u8; 64],
    /// Where the block begins that the masks are of.
    base: usize,
    masks: Masks,
    /// Bits of the block that are still to be stepped on.
    ahead: u64,
    /// All ones if the next block begins inside quoted text.
    inside: u64,
    /// One if the next block begins right behind a closing quote.
    behind_quote: u64,
}

/// One bit for each of a block's 64 bytes, the first byte in the lowest bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Masks {
    /// Bytes other than `[a-zA-Z0-9_]`.
    not_name: u64,
    /// `"`.
    quote: u64,
    /// `\`, line feeds, and bytes that are not ASCII.
    odd: u64,
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
            base: 0,
            masks,
            ahead: 0,
            inside: 0,
            behind_quote: 0,
        }
    }

    /// Goes to `at`, which is not inside quoted text; what was stepped on before does not matter.
    #[inline(never)]
    pub(crate) fn start(&mut self, at: usize) {
        if at & !63 != self.base {
            self.load(at & !63);
        }
        self.inside = 0;
        self.behind_quote = 0;
        self.look_ahead(!0 << (at % 64));
    }

    /// The same, when every quoted text before `at` was stepped through to its end.
    #[inline(always)]
    pub(crate) fn skip_to(&mut self, at: usize) {
        if at & !63 == self.base {
            self.ahead &= !0 << (at % 64);
        } else {
            self.start(at);
        }
    }

    /// Position of the next structural byte; behind the page's end if there is none.
    #[inline(always)]
    pub(crate) fn step(&mut self) -> usize {
        if self.ahead == 0 {
            self.refill();
            if self.ahead == 0 {
                return usize::MAX;
            }
        }
        let at = self.base + self.ahead.trailing_zeros() as usize;
        self.ahead &= self.ahead - 1;
        at
    }

    /// Goes on to the next block that has structure; if there is none, behind the last one.
    // Apart from `step`, which is small enough then to be part of every caller.
    #[inline(never)]
    fn refill(&mut self) {
        while self.ahead == 0 && self.base < self.blocks.len() * 64 {
            self.load(self.base + 64);
            self.look_ahead(!0);
        }
    }

    #[inline(always)]
    fn load(&mut self, base: usize) {
        self.base = base;
        self.masks = masks(self.blocks.get(base / 64).unwrap_or(&self.tail));
    }

    /// Finds the structural bytes among those of the block that `wanted` marks.
    #[inline]
    fn look_ahead(&mut self, wanted: u64) {
        let quote = self.masks.quote & wanted;
        // Ones from each opening quote up to, not including, its closing one.
        let inside = parity(quote) ^ self.inside;
        let closing = quote & !inside;
        let behind_quote = (closing << 1) | self.behind_quote;
        self.inside = ((inside as i64) >> 63) as u64;
        self.behind_quote = closing >> 63;
        let structure = (self.masks.not_name & !inside) | (self.masks.odd & inside);
        self.ahead = structure & !behind_quote & wanted;
    }
}

/// Each bit the exclusive or of itself and all bits below it.
#[inline]
fn parity(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

/// Sixteen bytes at a time, by what every architecture of interest has an instruction for.
#[inline]
fn masks(block: &[u8; 64]) -> Masks {
    /// Lanes whose byte lies between `low` and `high`: moved to where one comparison of signed numbers tells.
    #[inline]
    fn between(bytes: u8x16, low: u8, high: u8) -> u8x16 {
        let moved = bytes + u8x16::splat(0x80_u8.wrapping_sub(low));
        moved
            .cast_signed()
            .simd_lt(i8x16::splat((0x80 + (high - low + 1)) as i8))
            .cast_unsigned()
    }

    let mut masks = Masks {
        not_name: 0,
        quote: 0,
        odd: 0,
    };
    let (quarters, _) = block.as_chunks::<16>();
    for (i, quarter) in quarters.iter().enumerate() {
        let bytes = u8x16::new(*quarter);
        let equals = |byte: u8| bytes.simd_eq(u8x16::splat(byte));

        let lower_case = bytes | u8x16::splat(0x20);
        let name = between(lower_case, b'a', b'z') | between(bytes, b'0', b'9') | equals(b'_');
        // The bytes themselves: of each lane only the highest bit is taken, which marks what is not ASCII.
        let odd = equals(b'\\') | equals(b'\n') | bytes;

        masks.not_name |= u64::from(name.to_bitmask()) << (16 * i);
        masks.quote |= u64::from(equals(b'"').to_bitmask()) << (16 * i);
        masks.odd |= u64::from(odd.to_bitmask()) << (16 * i);
    }
    masks.not_name = !masks.not_name;
    masks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks_by_definition(block: &[u8; 64]) -> Masks {
        let mut masks = Masks {
            not_name: 0,
            quote: 0,
            odd: 0,
        };
        for (i, &byte) in block.iter().enumerate() {
            let not_name = !(byte.is_ascii_alphanumeric() || byte == b'_');
            masks.not_name |= u64::from(not_name) << i;
            masks.quote |= u64::from(byte == b'"') << i;
            masks.odd |= u64::from(matches!(byte, b'\\' | b'\n') || !byte.is_ascii()) << i;
        }
        masks
    }

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

    /// The bytes stepped on, as text.
    fn steps(page: &str, start: usize) -> String {
        let mut scanner = Scanner::new(page.as_bytes());
        scanner.start(start);
        let mut found = String::new();
        while let Some(&byte) = page.as_bytes().get(scanner.step()) {
            found.push(byte as char);
        }
        found
    }

    #[test]
    fn steps_on_what_gives_a_line_its_structure() {
        let line = r#"a:b{c="d, {=}",e="\\ü"} 1.5"#;
        let expected = ":{=\"=\\\\\u{c3}\u{bc}\" .";
        assert_eq!(steps(line, 0), expected);
        // The same wherever the borders between blocks fall.
        for n in 1..200 {
            let page = format!("{}\n{line}", "x".repeat(n));
            assert_eq!(steps(&page, n + 1), expected, "{n}");
        }
        assert_eq!(steps("", 0), "");
        assert_eq!(steps(&"a".repeat(64), 3), "");
        assert_eq!(steps(&"a".repeat(64), 64), "");
    }
}
