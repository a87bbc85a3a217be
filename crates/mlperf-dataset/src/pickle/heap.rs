//! The objects that a pickle builds, as plain data in flat vectors.
//!
//! Objects refer to each other by index, so that deep nesting cannot overflow the stack and sharing has no
//! cost.

use super::names::Global;

/// A value on the machine's stack. Small and `Copy`; larger data is in the [`Heap`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(u32),
    Bytes(u32),
    List(u32),
    Tuple(u32),
    Dict(u32),
    Global(Global),
    Object(u32),
    /// Something that is not part of a table of prompts; the word names its kind.
    Other(&'static str),
}

/// A recorded call: the callable, its arguments, and the state that was set afterwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Object {
    pub(super) callable: Global,
    /// Index of the argument tuple.
    pub(super) args: u32,
    pub(super) state: Option<Value>,
}

/// Everything that a pickle has built. Texts and bytes are borrowed from the file.
#[derive(Debug, Default)]
pub(super) struct Heap<'a> {
    pub(super) strs: Vec<&'a str>,
    pub(super) bytes: Vec<&'a [u8]>,
    pub(super) lists: Vec<Vec<Value>>,
    pub(super) tuples: Vec<Box<[Value]>>,
    pub(super) dicts: Vec<Vec<(Value, Value)>>,
    pub(super) objects: Vec<Object>,
    /// The first name that is not on the list, and its position in the file.
    pub(super) unknown: Option<(String, usize)>,
}

impl<'a> Heap<'a> {
    pub(super) fn str(&self, value: Value) -> Option<&'a str> {
        match value {
            Value::Str(at) => Some(self.strs[at as usize]),
            _ => None,
        }
    }

    pub(super) fn raw_bytes(&self, value: Value) -> Option<&'a [u8]> {
        match value {
            Value::Bytes(at) => Some(self.bytes[at as usize]),
            _ => None,
        }
    }

    /// Items of a list or a tuple.
    pub(super) fn items(&self, value: Value) -> Option<&[Value]> {
        match value {
            Value::List(at) => Some(&self.lists[at as usize]),
            Value::Tuple(at) => Some(&self.tuples[at as usize]),
            _ => None,
        }
    }

    pub(super) fn object(&self, value: Value) -> Option<Object> {
        match value {
            Value::Object(at) => Some(self.objects[at as usize]),
            _ => None,
        }
    }

    /// The arguments of an object that was created by calling `callable`.
    pub(super) fn call(&self, value: Value, callable: Global) -> Option<&[Value]> {
        let object = self.object(value).filter(|o| o.callable == callable)?;
        Some(&self.tuples[object.args as usize])
    }

    /// The value of a text key in a dictionary; the last one set wins.
    pub(super) fn get(&self, dict: Value, key: &str) -> Option<Value> {
        let Value::Dict(at) = dict else { return None };
        self.dicts[at as usize]
            .iter()
            .rev()
            .find(|(k, _)| self.str(*k) == Some(key))
            .map(|(_, v)| *v)
    }

    /// The kind of a value, for messages.
    pub(super) fn kind(&self, value: Value) -> String {
        match value {
            Value::None => "None".to_owned(),
            Value::Bool(_) => "a bool".to_owned(),
            Value::Int(_) => "an int".to_owned(),
            Value::Float(_) => "a float".to_owned(),
            Value::Str(_) => "a str".to_owned(),
            Value::Bytes(_) => "bytes".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Tuple(_) => "a tuple".to_owned(),
            Value::Dict(_) => "a dict".to_owned(),
            Value::Global(global) => format!("the name {global:?}"),
            Value::Object(at) => format!("a {:?}", self.objects[at as usize].callable),
            Value::Other(kind) => kind.to_owned(),
        }
    }
}
