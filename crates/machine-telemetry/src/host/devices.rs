//! Disks and network interfaces. Partitions, loop devices and virtual interfaces of containers are skipped.

use std::collections::HashMap;

use super::emit::Emitter;

/// Maximum number of devices; others are only counted, since a node with containers has hundreds.
const MOST: usize = 32;
/// `/proc/diskstats` counts in sectors of this size, whatever the disk's own.
const SECTOR_BYTES: f64 = 512.0;

/// Which devices are sampled, decided when each is first seen.
#[derive(Default)]
pub(crate) struct Devices {
    disks: HashMap<String, bool>,
    interfaces: HashMap<String, bool>,
}

impl Devices {
    /// `/proc/diskstats`.
    pub(crate) fn disks(&mut self, emit: &mut Emitter<'_>) {
        emit.read("proc/diskstats", |text, emit| {
            for line in text.lines() {
                let mut words = line.split_ascii_whitespace().skip(2);
                let Some(name) = words.next() else { continue };
                let mut numbers = [0.0; 10];
                for (place, word) in numbers.iter_mut().zip(words) {
                    *place = word.parse().unwrap_or(f64::NAN);
                }
                let real = |emit: &Emitter<'_>| {
                    !name.starts_with("loop")
                        && !name.starts_with("ram")
                        && emit.exists(&format!("sys/block/{name}"))
                };
                if !watched(&mut self.disks, name, "disks", real, emit) {
                    continue;
                }
                let [
                    reads,
                    _,
                    read_sectors,
                    _,
                    writes,
                    _,
                    written_sectors,
                    _,
                    _,
                    busy_ms,
                ] = numbers;
                let device = [("device", name)];
                let read = [("device", name), ("direction", "read")];
                let write = [("device", name), ("direction", "write")];
                emit.counter(
                    "host_disk_bytes_total",
                    &read,
                    "bytes",
                    read_sectors * SECTOR_BYTES,
                );
                emit.counter(
                    "host_disk_bytes_total",
                    &write,
                    "bytes",
                    written_sectors * SECTOR_BYTES,
                );
                emit.counter("host_disk_operations_total", &read, "operations", reads);
                emit.counter("host_disk_operations_total", &write, "operations", writes);
                emit.counter("host_disk_busy_seconds_total", &device, "seconds", busy_ms / 1e3);
            }
        });
    }

    /// `/proc/net/dev`, which shows the current network namespace.
    pub(crate) fn interfaces(&mut self, emit: &mut Emitter<'_>) {
        emit.read("proc/net/dev", |text, emit| {
            for line in text.lines().skip(2) {
                let Some((name, rest)) = line.split_once(':') else {
                    continue;
                };
                let name = name.trim();
                let mut numbers = [0.0; 16];
                for (place, word) in numbers.iter_mut().zip(rest.split_ascii_whitespace()) {
                    *place = word.parse().unwrap_or(f64::NAN);
                }
                let virtual_end = |name: &str| {
                    ["veth", "cali", "lxc", "ifb", "dummy"]
                        .iter()
                        .any(|p| name.starts_with(p))
                };
                if !watched(
                    &mut self.interfaces,
                    name,
                    "network interfaces",
                    |_| !virtual_end(name),
                    emit,
                ) {
                    continue;
                }
                for (direction, at) in [("receive", 0), ("transmit", 8)] {
                    let labels = [("device", name), ("direction", direction)];
                    emit.counter("host_network_bytes_total", &labels, "bytes", numbers[at]);
                    emit.counter("host_network_packets_total", &labels, "packets", numbers[at + 1]);
                    emit.counter("host_network_errors_total", &labels, "errors", numbers[at + 2]);
                    emit.counter("host_network_drops_total", &labels, "packets", numbers[at + 3]);
                }
            }
        });
    }
}

fn watched(
    known: &mut HashMap<String, bool>,
    name: &str,
    what: &str,
    wanted: impl FnOnce(&Emitter<'_>) -> bool,
    emit: &mut Emitter<'_>,
) -> bool {
    if let Some(&watched) = known.get(name) {
        return watched;
    }
    let mut watch = wanted(emit);
    if watch && known.values().filter(|&&watched| watched).count() == MOST {
        watch = false;
        emit.note_absent(&format!("{what} beyond the first {MOST} (left out)"));
    }
    known.insert(name.to_owned(), watch);
    watch
}
