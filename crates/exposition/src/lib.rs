//! Prometheus text format and OpenMetrics: parse and write. Pure, no I/O.
