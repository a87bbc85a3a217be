//! Integration tests of parser and writer: recorded and handwritten pages, unusual lines, and properties.

mod grammar;
mod pages;
mod properties;
