//! The parser and the writer from outside: recorded and handwritten pages, every odd line, and properties.

mod grammar;
mod pages;
mod properties;
