//! The stack machine of pickle protocols 2 to 5, over plain data.

use super::PickleError;
use super::heap::{Heap, Object, Value};
use super::names::{self, Global};

/// Runs a pickle to its end and returns what it built.
pub(super) fn run(file: &[u8]) -> Result<(Heap<'_>, Value), PickleError> {
    let mut machine = Machine {
        file,
        at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        heap: Heap::default(),
    };
    if file.first() != Some(&0x80) {
        return Err(PickleError::bad(
            "not a pickle of protocol 2 to 5 (it does not begin with the byte 0x80)",
        ));
    }
    loop {
        if machine.step()? {
            let top = machine.pop()?;
            return Ok((machine.heap, top));
        }
    }
}

struct Machine<'a> {
    file: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Stack heights at the open marks.
    marks: Vec<usize>,
    memo: Vec<Option<Value>>,
    heap: Heap<'a>,
}

/// The index of a new entry.
fn index(len: usize) -> Result<u32, PickleError> {
    u32::try_from(len).map_err(|_| PickleError::bad("more than 4 billion values"))
}

impl<'a> Machine<'a> {
    fn error(&self, what: &str) -> PickleError {
        PickleError::Bad(format!("byte {} of the pickle: {what}", self.at))
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], PickleError> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.file.len());
        let Some(end) = end else {
            return Err(self.error("the file ends in the middle of a value"));
        };
        let piece = &self.file[self.at..end];
        self.at = end;
        Ok(piece)
    }

    /// A little-endian length or number of `n` bytes.
    fn number(&mut self, n: usize) -> Result<usize, PickleError> {
        let mut value: u64 = 0;
        for (shift, byte) in self.take(n)?.iter().enumerate() {
            value |= u64::from(*byte) << (8 * shift);
        }
        usize::try_from(value).map_err(|_| self.error("a length beyond this machine's memory"))
    }

    /// A little-endian signed number.
    fn signed(&mut self, n: usize) -> Result<Value, PickleError> {
        let bytes = self.take(n)?;
        if n > 8 {
            return Ok(Value::Other("a number too large"));
        }
        let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) {
            0xff
        } else {
            0
        };
        let mut whole = [fill; 8];
        whole[..n].copy_from_slice(bytes);
        Ok(Value::Int(i64::from_le_bytes(whole)))
    }

    fn pop(&mut self) -> Result<Value, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.error("nothing on the stack"));
        }
        self.stack.pop().ok_or_else(|| self.error("nothing on the stack"))
    }

    fn top(&self) -> Result<Value, PickleError> {
        self.stack
            .last()
            .copied()
            .ok_or_else(|| self.error("nothing on the stack"))
    }

    /// The start of the values since the last mark; closes the mark.
    fn since_mark(&mut self) -> Result<usize, PickleError> {
        let mark = self.marks.pop();
        mark.filter(|at| *at <= self.stack.len())
            .ok_or_else(|| self.error("no mark is open"))
    }

    fn push_str(&mut self, n: usize) -> Result<(), PickleError> {
        let bytes = self.take(n)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.error("a text that is not UTF-8"))?;
        let at = index(self.heap.strs.len())?;
        self.heap.strs.push(text);
        self.stack.push(Value::Str(at));
        Ok(())
    }

    fn push_bytes(&mut self, n: usize) -> Result<(), PickleError> {
        let bytes = self.take(n)?;
        let at = index(self.heap.bytes.len())?;
        self.heap.bytes.push(bytes);
        self.stack.push(Value::Bytes(at));
        Ok(())
    }

    fn push_tuple(&mut self, from: usize) -> Result<(), PickleError> {
        let items = self.stack.split_off(from).into_boxed_slice();
        let at = index(self.heap.tuples.len())?;
        self.heap.tuples.push(items);
        self.stack.push(Value::Tuple(at));
        Ok(())
    }

    fn push_list(&mut self, items: Vec<Value>) -> Result<(), PickleError> {
        let at = index(self.heap.lists.len())?;
        self.heap.lists.push(items);
        self.stack.push(Value::List(at));
        Ok(())
    }

    fn push_small_tuple(&mut self, n: usize) -> Result<(), PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(n).filter(|from| *from >= floor) {
            Some(from) => self.push_tuple(from),
            None => Err(self.error("nothing on the stack")),
        }
    }

    fn extend_list(&mut self, from: usize) -> Result<(), PickleError> {
        let list = from.checked_sub(1).and_then(|at| self.stack.get(at)).copied();
        let Some(Value::List(at)) = list else {
            return Err(self.error("appends to something that is not a list"));
        };
        self.heap.lists[at as usize].extend(self.stack.drain(from..));
        Ok(())
    }

    fn extend_dict(&mut self, from: usize) -> Result<(), PickleError> {
        let dict = from.checked_sub(1).and_then(|at| self.stack.get(at)).copied();
        let Some(Value::Dict(at)) = dict else {
            return Err(self.error("sets items of something that is not a dict"));
        };
        if !(self.stack.len() - from).is_multiple_of(2) {
            return Err(self.error("a key without a value"));
        }
        let pairs = self.stack[from..].chunks_exact(2).map(|pair| (pair[0], pair[1]));
        self.heap.dicts[at as usize].extend(pairs);
        self.stack.truncate(from);
        Ok(())
    }

    fn remember(&mut self, slot: usize) -> Result<(), PickleError> {
        let value = self.top()?;
        // Slots are assigned in order; one far beyond the file's length is an attempt to exhaust memory.
        if slot > self.file.len() {
            return Err(self.error("a memo number beyond the file's length"));
        }
        if self.memo.len() <= slot {
            self.memo.resize(slot + 1, None);
        }
        self.memo[slot] = Some(value);
        Ok(())
    }

    fn recall(&mut self, slot: usize) -> Result<(), PickleError> {
        match self.memo.get(slot).copied().flatten() {
            Some(value) => {
                self.stack.push(value);
                Ok(())
            }
            None => Err(self.error("a memo number that was not set")),
        }
    }

    fn push_global(&mut self, module: &str, name: &str, at: usize) -> Result<(), PickleError> {
        let global = names::find(module, name).unwrap_or_else(|| {
            let name = || format!("{module}.{name}").chars().take(200).collect();
            self.heap.unknown.get_or_insert_with(|| (name(), at));
            Global::Unknown
        });
        self.stack.push(Value::Global(global));
        Ok(())
    }

    fn line(&mut self) -> Result<&'a str, PickleError> {
        let rest = &self.file[self.at..];
        let end = rest
            .iter()
            .position(|b| *b == b'\n')
            .ok_or_else(|| self.error("a name without an end"))?;
        let text = std::str::from_utf8(&rest[..end]).map_err(|_| self.error("a name that is not UTF-8"))?;
        self.at += end + 1;
        Ok(text)
    }

    /// Records a call; the callable can only be a name from the list.
    fn call(&mut self, at: usize) -> Result<(), PickleError> {
        let args = self.pop()?;
        let callable = self.pop()?;
        let Value::Tuple(args) = args else {
            return Err(self.error("calls with arguments that are not a tuple"));
        };
        let bound = Value::Global(Global::UnpickleBlock);
        let refused = || PickleError::Refused {
            name: "functools.partial".to_owned(),
            at,
        };
        let callable = match callable {
            Value::Global(Global::Partial) if *self.heap.tuples[args as usize] != [bound] => {
                return Err(refused());
            }
            Value::Global(callable) => callable,
            // A partial of new_block is treated as new_block; the bound argument (the number of dimensions)
            // is not needed.
            Value::Object(object) => {
                let object = self.heap.objects[object as usize];
                let state = object
                    .state
                    .and_then(|state| self.heap.items(state))
                    .unwrap_or_default();
                if object.callable != Global::Partial || state.first() != Some(&bound) {
                    return Err(self.error("calls something that is not a name"));
                }
                Global::UnpickleBlock
            }
            _ => return Err(self.error("calls something that is not a name")),
        };
        let index = index(self.heap.objects.len())?;
        self.heap.objects.push(Object {
            callable,
            args,
            state: None,
        });
        self.stack.push(Value::Object(index));
        Ok(())
    }

    fn build(&mut self) -> Result<(), PickleError> {
        let state = self.pop()?;
        match self.top()? {
            Value::Object(at) => {
                self.heap.objects[at as usize].state = Some(state);
                Ok(())
            }
            _ => Err(self.error("sets the state of something that is not an object")),
        }
    }

    /// Executes one instruction; returns true at the end.
    fn step(&mut self) -> Result<bool, PickleError> {
        let start = self.at;
        let op = self.take(1)?[0];
        match op {
            0x80 => {
                let protocol = self.number(1)?;
                if !(2..=5).contains(&protocol) {
                    return Err(self.error(&format!("protocol {protocol}; 2 to 5 are read")));
                }
            }
            0x95 => {
                self.take(8)?;
            }
            b'.' => return Ok(true),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                let from = self.since_mark()?;
                self.stack.truncate(from);
            }
            b'2' => self.stack.push(self.top()?),
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'K' => {
                let n = self.take(1)?[0];
                self.stack.push(Value::Int(i64::from(n)));
            }
            b'M' => {
                let n = self.take(2)?;
                self.stack
                    .push(Value::Int(i64::from(n[0]) | i64::from(n[1]) << 8));
            }
            b'J' => {
                let n = self.signed(4)?;
                self.stack.push(n);
            }
            0x8a => {
                let n = self.number(1)?;
                let n = self.signed(n)?;
                self.stack.push(n);
            }
            0x8b => {
                let n = self.number(4)?;
                let n = self.signed(n)?;
                self.stack.push(n);
            }
            b'G' => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(self.take(8)?);
                self.stack.push(Value::Float(f64::from_be_bytes(bytes)));
            }
            0x8c => {
                let n = self.number(1)?;
                self.push_str(n)?;
            }
            b'X' => {
                let n = self.number(4)?;
                self.push_str(n)?;
            }
            0x8d => {
                let n = self.number(8)?;
                self.push_str(n)?;
            }
            b'C' => {
                let n = self.number(1)?;
                self.push_bytes(n)?;
            }
            b'B' => {
                let n = self.number(4)?;
                self.push_bytes(n)?;
            }
            0x8e | 0x96 => {
                let n = self.number(8)?;
                self.push_bytes(n)?;
            }
            b')' => self.push_tuple(self.stack.len())?,
            0x85 => self.push_small_tuple(1)?,
            0x86 => self.push_small_tuple(2)?,
            0x87 => self.push_small_tuple(3)?,
            b't' => {
                let from = self.since_mark()?;
                self.push_tuple(from)?;
            }
            b']' => self.push_list(Vec::new())?,
            b'l' => {
                let from = self.since_mark()?;
                let items = self.stack.split_off(from);
                self.push_list(items)?;
            }
            b'a' => {
                let from = self.stack.len().saturating_sub(1);
                self.extend_list(from)?;
            }
            b'e' => {
                let from = self.since_mark()?;
                self.extend_list(from)?;
            }
            b'}' | b'd' => {
                let from = if op == b'd' {
                    self.since_mark()?
                } else {
                    self.stack.len()
                };
                let at = index(self.heap.dicts.len())?;
                self.heap.dicts.push(Vec::new());
                self.stack.insert(from, Value::Dict(at));
                self.extend_dict(from + 1)?;
            }
            b's' => {
                let from = self.stack.len().saturating_sub(2);
                self.extend_dict(from)?;
            }
            b'u' => {
                let from = self.since_mark()?;
                self.extend_dict(from)?;
            }
            b'q' => {
                let slot = self.number(1)?;
                self.remember(slot)?;
            }
            b'r' => {
                let slot = self.number(4)?;
                self.remember(slot)?;
            }
            0x94 => self.remember(self.memo.len())?,
            b'h' => {
                let slot = self.number(1)?;
                self.recall(slot)?;
            }
            b'j' => {
                let slot = self.number(4)?;
                self.recall(slot)?;
            }
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.push_global(module, name, start)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.heap.str(module), self.heap.str(name)) {
                    (Some(module), Some(name)) => self.push_global(module, name, start)?,
                    _ => return Err(self.error("a name that is not a text")),
                }
            }
            b'R' | 0x81 => self.call(start)?,
            b'b' => self.build()?,
            _ => {
                let what = refused_instruction(op);
                return Err(PickleError::Bad(format!("byte {start} of the pickle: {what}")));
            }
        }
        Ok(false)
    }
}

/// Why an instruction is refused.
fn refused_instruction(op: u8) -> String {
    let why = match op {
        b'P' | b'Q' => "a reference to something outside the file",
        0x82..=0x84 => "a number from Python's extension registry in place of a name",
        b'i' | b'o' | 0x92 => "a way to make objects that no table needs",
        0x97 | 0x98 => "a buffer outside the file",
        0x8f..=0x91 => "a set, which no table of prompts holds",
        b'I' | b'L' | b'F' | b'S' | b'V' | b'p' | b'g' => "an instruction of protocol 0",
        b'T' | b'U' => "a text of Python 2",
        _ => "not an instruction",
    };
    format!("instruction 0x{op:02x} is refused: {why}")
}
