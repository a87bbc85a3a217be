//! Finds the structure of lines 64 bytes at a time, without inspecting single characters of names and labels.
//!
//! Each block of the page is classified once into bit masks, one bit per byte. A running parity of the quotes
//! shows which bytes are inside quoted text, and so which bytes are structural. The parser then steps from
//! one structural byte to the next by a bit scan.

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x64};

/// Blocks classified at once: enough to amortise the dispatch on CPU features, few enough to stay in cache.
const WINDOW: usize = 16;

/// Steps through the structural bytes of lines.
///
/// In `name{label="value",…} 1` these are, after the name, the `{`, each `=`, each closing quote, and the
/// space: the text after an opening quote needs no step, and the byte after a closing quote is inspected
/// together with it. Bytes inside quoted text that need closer inspection (backslash, line feed, not ASCII)
/// are stepped on as well, in place of a closing quote.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    blocks: &'a [[u8; 64]],
    /// The rest after the last whole block, padded with line feeds.
    tail: [u8; 64],
    /// CPU features.
    level: Level,
    /// The masks of consecutive blocks.
    window: [Masks; WINDOW],
    /// Number of the first of them.
    window_start: usize,
    /// Start of the current block.
    base: usize,
    /// Remaining bits of the current block.
    ahead: u64,
    /// All ones if the next block begins inside quoted text.
    inside: u64,
    /// One if the next block begins directly after a closing quote.
    behind_quote: u64,
}

/// One bit for each of a block's 64 bytes, the first byte in the lowest bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
        let mut scanner = Self {
            blocks,
            tail,
            level: Level::new(),
            window: [Masks::default(); WINDOW],
            window_start: 0,
            base: 0,
            ahead: 0,
            inside: 0,
            behind_quote: 0,
        };
        scanner.classify(0);
        scanner.start(0);
        scanner
    }

    /// Moves to `at`, which is not inside quoted text, independent of earlier steps.
    #[inline(never)]
    pub(crate) fn start(&mut self, at: usize) {
        self.base = at & !63;
        self.inside = 0;
        self.behind_quote = 0;
        self.look_ahead(!0 << (at % 64));
    }

    /// The same, if every quoted text before `at` was stepped through to its end.
    #[inline(always)]
    pub(crate) fn skip_to(&mut self, at: usize) {
        if at & !63 == self.base {
            self.ahead &= !0 << (at % 64);
        } else {
            self.start(at);
        }
    }

    /// Position of the next structural byte; past the page's end if there is none.
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

    /// Moves to the next block with structural bytes; past the last one if there is none.
    // Separate from `step`, so that `step` is small enough to be inlined into every caller.
    #[inline(never)]
    fn refill(&mut self) {
        while self.ahead == 0 && self.base < self.blocks.len() * 64 {
            self.base += 64;
            self.look_ahead(!0);
        }
    }

    /// Finds the structural bytes among those marked by `wanted` in the block.
    #[inline(always)]
    fn look_ahead(&mut self, wanted: u64) {
        let block = self.base / 64;
        if block.wrapping_sub(self.window_start) >= WINDOW {
            self.classify(block);
        }
        let Masks { not_name, quote, odd } = self.window[(block - self.window_start) % WINDOW];
        let quote = quote & wanted;
        // Ones from each opening quote up to, but excluding, its closing one.
        let inside = parity(quote) ^ self.inside;
        let closing = quote & !inside;
        let behind_quote = (closing << 1) | self.behind_quote;
        self.inside = ((inside as i64) >> 63) as u64;
        self.behind_quote = closing >> 63;
        let structure = (not_name & !inside) | (odd & inside);
        self.ahead = structure & !behind_quote & wanted;
    }

    /// Classifies the blocks from `first` on.
    #[inline(never)]
    fn classify(&mut self, first: usize) {
        self.window_start = first;
        let whole = self.blocks.get(first..).unwrap_or_default();
        let n_whole = whole.len().min(WINDOW);
        let (for_whole, for_tail) = self.window.split_at_mut(n_whole);
        dispatch!(self.level, simd => masks(simd, whole, for_whole));
        // The masks are not used beyond the tail.
        if !for_tail.is_empty() {
            dispatch!(self.level, simd => masks(simd, &[self.tail], &mut for_tail[..1]));
        }
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

/// The masks of each block, up to the length of the output.
#[inline(always)]
fn masks<S: Simd>(simd: S, blocks: &[[u8; 64]], masks: &mut [Masks]) {
    for (block, masks) in blocks.iter().zip(masks) {
        let bytes = u8x64::simd_from(simd, *block);
        let lower_case = bytes | 0x20;
        let letter = lower_case.simd_ge(b'a') & lower_case.simd_le(b'z');
        let digit = bytes.simd_ge(b'0') & bytes.simd_le(b'9');
        let name = letter | digit | bytes.simd_eq(b'_');
        let odd = bytes.simd_eq(b'\\') | bytes.simd_eq(b'\n') | bytes.simd_ge(0x80);
        *masks = Masks {
            not_name: !name.to_bitmask(),
            quote: bytes.simd_eq(b'"').to_bitmask(),
            odd: odd.to_bitmask(),
        };
    }
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
                let mut found = [Masks::default()];
                dispatch!(Level::new(), simd => masks(simd, &[block], &mut found));
                assert_eq!(found, [masks_by_definition(&block)], "byte {byte} at {at}");
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
        // The result does not depend on the block boundaries.
        for n in 1..200 {
            let page = format!("{}\n{line}", "x".repeat(n));
            assert_eq!(steps(&page, n + 1), expected, "{n}");
        }
        assert_eq!(steps("", 0), "");
        assert_eq!(steps(&"a".repeat(64), 3), "");
        assert_eq!(steps(&"a".repeat(64), 64), "");
    }
}
