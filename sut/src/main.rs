//! Thin program over the library.

fn main() {}
