//! A bounded reader of Thrift's compact protocol, in which Parquet writes its footer and its page headers.
//!
//! It allocates nothing, so that numbers of a hostile file can be checked before the Parquet library trusts
//! them.

/// The bytes end in the middle of a value, or are not of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Types of values.
pub(super) const LIST: u8 = 9;
pub(super) const STRUCT: u8 = 12;

/// Deepest nesting of values; Parquet needs seven.
const DEPTH: u32 = 32;

/// A position in the bytes.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            depth: 0,
        }
    }

    /// Number of bytes that were read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(n).ok_or(Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// An integer of any width.
    pub(super) fn integer(&mut self) -> Result<i64, Malformed> {
        let raw = self.varint()?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// Text or bytes.
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
        self.take(len)
    }

    /// Type and number of the elements of a list, which follow.
    pub(super) fn list(&mut self) -> Result<(u8, usize), Malformed> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => usize::try_from(self.varint()?).map_err(|_| Malformed)?,
            short => usize::from(short),
        };
        // Every element takes at least one byte.
        if count > self.bytes.len() - self.at {
            return Err(Malformed);
        }
        Ok((head & 15, count))
    }

    /// The fields of a struct: `visit` gets the number and the type of each, and returns whether it read the
    /// value; otherwise the value is skipped.
    pub(super) fn fields(
        &mut self,
        mut visit: impl FnMut(&mut Self, i64, u8) -> Result<bool, Malformed>,
    ) -> Result<(), Malformed> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(Malformed);
        }
        let mut id = 0;
        loop {
            let head = self.byte()?;
            if head == 0 {
                self.depth -= 1;
                return Ok(());
            }
            id = match head >> 4 {
                0 => self.integer()?,
                delta => id + i64::from(delta),
            };
            let kind = head & 15;
            if !visit(self, id, kind)? {
                self.skip(kind, false)?;
            }
        }
    }

    /// Skips a value. Booleans have no bytes of their own in a struct, but one in a list.
    pub(super) fn skip(&mut self, kind: u8, in_list: bool) -> Result<(), Malformed> {
        match kind {
            1 | 2 if !in_list => {}
            1..=3 => {
                self.byte()?;
            }
            4..=6 => {
                self.varint()?;
            }
            7 => {
                self.take(8)?;
            }
            8 => {
                self.binary()?;
            }
            LIST | 10 => {
                self.depth += 1;
                if self.depth > DEPTH {
                    return Err(Malformed);
                }
                let (kind, count) = self.list()?;
                for _ in 0..count {
                    self.skip(kind, true)?;
                }
                self.depth -= 1;
            }
            STRUCT => self.fields(|_, _, _| Ok(false))?,
            // Parquet has no maps.
            _ => return Err(Malformed),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_visited_or_skipped() {
        // 1: integer -3; 2: binary "ab"; 4: list of two integers; 20: true.
        let bytes = [0x15, 5, 0x18, 2, b'a', b'b', 0x29, 0x25, 2, 4, 0x01, 40, 0];
        let mut reader = Reader::new(&bytes);
        let mut seen = Vec::new();
        reader
            .fields(|reader, id, kind| {
                seen.push((id, kind));
                if id == 1 {
                    assert_eq!(reader.integer(), Ok(-3));
                    return Ok(true);
                }
                Ok(false)
            })
            .unwrap();
        assert_eq!(seen, [(1, 5), (2, 8), (4, LIST), (20, 1)]);
        assert_eq!(reader.position(), bytes.len());
    }

    #[test]
    fn nesting_and_lengths_are_bounded() {
        let deep = [0x1c; 100];
        let lists = [0x19; 100];
        let long = [0x18, 0xff, 0xff, 0xff, 0xff, 0x0f];
        let many = [0x19, 0xf5, 0xff, 0xff, 0xff, 0xff, 0x07];
        for bytes in [&deep[..], &lists, &long, &many, &[0x15], &[0x1d, 0]] {
            assert_eq!(
                Reader::new(bytes).fields(|_, _, _| Ok(false)),
                Err(Malformed),
                "{bytes:?}"
            );
        }
    }
}
