//! The host under the server: what `/proc` and `/sys` say of its CPU, memory, disks, network and limits.

mod tree;

pub use tree::process_tree;
