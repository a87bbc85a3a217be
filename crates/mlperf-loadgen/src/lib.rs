//! MLPerf LoadGen as safe Rust.
