//! Converts text to token ids and back without a vocabulary file: ids below the vocabulary's size are short
//! words.
//!
//! `encode(decode(ids)) == ids` for every id that a simulated model can generate, so a chat history sent back
//! hits the prefix cache as on a real server. English text has about four characters per token.

use bytes::{BufMut, BytesMut};

use crate::rng::mix2;

/// Ids below this are special (padding, start, end of sequence) and have no text.
pub(crate) const FIRST_TEXT_TOKEN: u32 = 3;
/// The end-of-sequence id.
pub const EOS_TOKEN: u32 = 2;
/// Letters in the longest word of one token; 26 + 26² + 26³ + 26⁴ words cover any real vocabulary.
const MAX_LETTERS: usize = 4;

/// A tokenizer for `vocab_size` ids.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tokenizer {
    vocab_size: u32,
}

impl Tokenizer {
    /// `vocab_size` includes the special ids.
    pub(crate) fn new(vocab_size: u32) -> Self {
        Self {
            vocab_size: vocab_size.max(FIRST_TEXT_TOKEN + 1),
        }
    }

    /// Appends the text of one token: a space and a word; nothing for a special id. Never needs JSON escapes.
    pub(crate) fn decode_into(self, token: u32, out: &mut BytesMut) {
        if token < FIRST_TEXT_TOKEN {
            return;
        }
        out.put_u8(b' ');
        // Bijective base 26, most significant letter first.
        let mut rest = token - FIRST_TEXT_TOKEN + 1;
        let start = out.len();
        while rest > 0 {
            rest -= 1;
            out.put_u8(b'a' + (rest % 26) as u8);
            rest /= 26;
        }
        out[start..].reverse();
    }

    /// Splits text into words of at most four letters, single symbols and runs of spaces, and maps each to an
    /// id.
    pub(crate) fn encode_into(self, text: &str, out: &mut Vec<u32>) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            if bytes[at] == b' ' && at + 1 < bytes.len() && bytes[at + 1].is_ascii_alphanumeric() {
                at += 1;
            }
            let word = at;
            while at < bytes.len() && at - word < MAX_LETTERS && bytes[at].is_ascii_alphanumeric() {
                at += 1;
            }
            if at == word {
                // A symbol, a separate space, or one byte of a longer character.
                at += 1;
            }
            out.push(self.id_of(&bytes[start..at], word > start));
        }
    }

    fn id_of(self, piece: &[u8], spaced: bool) -> u32 {
        if spaced {
            let letters = &piece[1..];
            if letters.iter().all(u8::is_ascii_lowercase) {
                let value = letters
                    .iter()
                    .fold(0u32, |v, &b| v * 26 + u32::from(b - b'a') + 1);
                let id = value - 1 + FIRST_TEXT_TOKEN;
                if id < self.vocab_size {
                    return id;
                }
            }
        }
        let hash = piece.iter().fold(0x517C_C1B7, |h, &b| mix2(h, u64::from(b)));
        FIRST_TEXT_TOKEN + (hash % u64::from(self.vocab_size - FIRST_TEXT_TOKEN)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_text_reads_back_as_the_same_ids() {
        let tokenizer = Tokenizer::new(128_256);
        let ids: Vec<u32> = (FIRST_TEXT_TOKEN..128_256)
            .step_by(7)
            .chain([3, 28, 29, 128_255])
            .collect();
        let mut text = BytesMut::new();
        for &id in &ids {
            tokenizer.decode_into(id, &mut text);
        }
        let mut back = Vec::new();
        tokenizer.encode_into(std::str::from_utf8(&text).unwrap(), &mut back);
        assert_eq!(back, ids);
    }

    #[test]
    fn english_is_about_four_characters_a_token_and_a_prefix_stays_a_prefix() {
        let tokenizer = Tokenizer::new(1024);
        let text = "The quick brown fox jumps over the lazy dog, and then it naps for 20 minutes. Äh!";
        let (mut all, mut head) = (Vec::new(), Vec::new());
        tokenizer.encode_into(text, &mut all);
        tokenizer.encode_into(&text[..24], &mut head);
        let per_token = text.len() as f64 / all.len() as f64;
        assert!((2.5..4.5).contains(&per_token), "{per_token}");
        assert!(all.iter().all(|&id| (FIRST_TEXT_TOKEN..1024).contains(&id)));
        assert_eq!(all[..head.len() - 1], head[..head.len() - 1]);
    }

    #[test]
    fn special_ids_have_no_text() {
        let mut out = BytesMut::new();
        Tokenizer::new(1024).decode_into(EOS_TOKEN, &mut out);
        assert!(out.is_empty());
    }
}
