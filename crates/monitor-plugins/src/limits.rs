//! The resources that a plugin may use.

use std::time::Duration;

/// Limits of every plugin. With the defaults one call uses at most about 64 MiB and 20 ms.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Operations of one call.
    pub operations: u64,
    /// Time of one call.
    pub time: Duration,
    /// Bytes of all strings in one value.
    pub string_bytes: usize,
    /// Items of all arrays in one value.
    pub array_items: usize,
    /// Items of all maps in one value.
    pub map_items: usize,
    /// Variables of one scope.
    pub variables: usize,
    /// Calls within calls.
    pub call_levels: usize,
    /// Bytes of a file.
    pub source_bytes: usize,
    /// Plugins in a folder.
    pub plugins: usize,
    /// Items that one call may return.
    pub returned: usize,
    /// Faults in a row after which a plugin is quarantined.
    pub faults: u32,
    /// Recorded snapshots kept for dry runs.
    pub recorded: usize,
    /// Time of a whole dry run.
    pub dry_run: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            operations: 100_000,
            time: Duration::from_millis(20),
            string_bytes: 16 << 10,
            array_items: 2000,
            map_items: 4000,
            variables: 32,
            call_levels: 8,
            source_bytes: 64 << 10,
            plugins: 200,
            returned: 100,
            faults: 3,
            recorded: 60,
            dry_run: Duration::from_millis(500),
        }
    }
}
