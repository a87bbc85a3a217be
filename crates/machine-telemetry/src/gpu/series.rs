//! The series of a GPU: names, units and labels, for single calls and for NVML's field values.

use nvml_wrapper::sys_exports::field_id as id;

use run_model::MetricType;
use run_model::MetricType::{Counter, Gauge};

/// A series that exists once per GPU, with the labels `gpu`, `uuid` and `name` in addition to `label`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GpuSeries {
    pub(crate) name: &'static str,
    pub(crate) label: Option<(&'static str, &'static str)>,
    pub(crate) unit: &'static str,
    pub(crate) metric_type: MetricType,
}

const fn gauge(name: &'static str, unit: &'static str) -> GpuSeries {
    GpuSeries {
        name,
        label: None,
        unit,
        metric_type: Gauge,
    }
}

const fn counter(name: &'static str, unit: &'static str) -> GpuSeries {
    GpuSeries {
        name,
        label: None,
        unit,
        metric_type: Counter,
    }
}

const fn labelled(series: GpuSeries, key: &'static str, value: &'static str) -> GpuSeries {
    GpuSeries {
        label: Some((key, value)),
        ..series
    }
}

const fn throttle(reason: &'static str) -> GpuSeries {
    labelled(gauge("gpu_throttle_active", "bool"), "reason", reason)
}

const fn throttle_time(reason: &'static str) -> GpuSeries {
    labelled(counter("gpu_throttle_seconds_total", "seconds"), "reason", reason)
}

const fn pcie_error(kind: &'static str) -> GpuSeries {
    labelled(counter("gpu_pcie_errors_total", "errors"), "kind", kind)
}

const fn nvlink_error(kind: &'static str) -> GpuSeries {
    labelled(counter("gpu_nvlink_errors_total", "errors"), "kind", kind)
}

/// Series filled by one NVML call each, or several by the same call. [`Slot`] names their indices.
pub(crate) const CALL_SERIES: &[GpuSeries] = &[
    // Share of the sample period in which a kernel ran, and in which device memory was read or written.
    gauge("gpu_utilization_ratio", "ratio"),
    gauge("gpu_memory_activity_ratio", "ratio"),
    gauge("gpu_memory_used_bytes", "bytes"),
    gauge("gpu_memory_reserved_bytes", "bytes"),
    gauge("gpu_power_watts", "watts"),
    gauge("gpu_sm_clock_hertz", "hertz"),
    gauge("gpu_temperature_celsius", "celsius"),
    gauge("gpu_memory_clock_hertz", "hertz"),
    gauge("gpu_server_memory_bytes", "bytes"),
    throttle("idle"),
    throttle("applications_clocks"),
    throttle("sw_power_cap"),
    throttle("hw_slowdown"),
    throttle("sync_boost"),
    throttle("sw_thermal"),
    throttle("hw_thermal"),
    throttle("hw_power_brake"),
    throttle("display_clocks"),
    // Constants, published once.
    gauge("gpu_memory_total_bytes", "bytes"),
    gauge("gpu_sm_clock_max_hertz", "hertz"),
    gauge("gpu_memory_clock_max_hertz", "hertz"),
    gauge("gpu_temperature_slowdown_celsius", "celsius"),
    gauge("gpu_temperature_shutdown_celsius", "celsius"),
];

/// Indices in [`CALL_SERIES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) usize);

pub(crate) const UTILIZATION: Slot = Slot(0);
pub(crate) const MEMORY_ACTIVITY: Slot = Slot(1);
pub(crate) const MEMORY_USED: Slot = Slot(2);
pub(crate) const MEMORY_RESERVED: Slot = Slot(3);
pub(crate) const POWER: Slot = Slot(4);
pub(crate) const SM_CLOCK: Slot = Slot(5);
pub(crate) const TEMPERATURE: Slot = Slot(6);
pub(crate) const MEMORY_CLOCK: Slot = Slot(7);
pub(crate) const SERVER_MEMORY: Slot = Slot(8);
/// The first of nine, in the order of NVML's bits from bit 0.
pub(crate) const THROTTLE: Slot = Slot(9);
pub(crate) const THROTTLE_BITS: usize = 9;
pub(crate) const MEMORY_TOTAL: Slot = Slot(18);
pub(crate) const SM_CLOCK_MAX: Slot = Slot(19);
pub(crate) const MEMORY_CLOCK_MAX: Slot = Slot(20);
pub(crate) const SLOWDOWN: Slot = Slot(21);
pub(crate) const SHUTDOWN: Slot = Slot(22);

/// Conversion of a field's number to base units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    Times(f64),
    /// Mantissa in bits 8 to 11, negative decimal exponent in bits 0 to 7.
    BitErrorRatio,
}

impl Scale {
    pub(crate) fn apply(self, raw: f64) -> f64 {
        match self {
            Self::Times(factor) => raw * factor,
            Self::BitErrorRatio => {
                let bits = raw as u64;
                let (mantissa, exponent) = ((bits >> 8) & 0xf, (bits & 0xff) as i32);
                mantissa as f64 * 10f64.powi(-exponent)
            }
        }
    }
}

/// One of NVML's field values and the series it fills.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    /// NVML's id in the numbering before driver 580.82; the binding translates.
    pub(crate) id: u32,
    pub(crate) series: GpuSeries,
    pub(crate) scale: Scale,
}

const fn field(id: u32, series: GpuSeries) -> Field {
    Field {
        id,
        series,
        scale: Scale::Times(1.0),
    }
}

const fn scaled(id: u32, series: GpuSeries, factor: f64) -> Field {
    Field {
        id,
        series,
        scale: Scale::Times(factor),
    }
}

/// Read at every tick in one call: energy is needed at the ends of phases, so it is not in the slow tier.
pub(crate) const FAST_FIELDS: &[Field] = &[
    scaled(
        id::NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION,
        counter("gpu_energy_joules_total", "joules"),
        1e-3,
    ),
    scaled(
        id::NVML_FI_DEV_POWER_INSTANT,
        gauge("gpu_power_instant_watts", "watts"),
        1e-3,
    ),
];

/// Read every few seconds, all in one call.
///
/// The NVLink bit error ratios are those of link 0: the binding cannot pass a link number.
pub(crate) const SLOW_FIELDS: &[Field] = &[
    field(
        id::NVML_FI_DEV_MEMORY_TEMP,
        gauge("gpu_memory_temperature_celsius", "celsius"),
    ),
    scaled(
        id::NVML_FI_DEV_POWER_CURRENT_LIMIT,
        gauge("gpu_power_limit_watts", "watts"),
        1e-3,
    ),
    field(
        id::NVML_FI_DEV_ECC_SBE_VOL_TOTAL,
        labelled(counter("gpu_ecc_errors_total", "errors"), "kind", "corrected"),
    ),
    field(
        id::NVML_FI_DEV_ECC_DBE_VOL_TOTAL,
        labelled(counter("gpu_ecc_errors_total", "errors"), "kind", "uncorrected"),
    ),
    field(
        id::NVML_FI_DEV_REMAPPED_COR,
        labelled(counter("gpu_row_remaps_total", "rows"), "kind", "corrected"),
    ),
    field(
        id::NVML_FI_DEV_REMAPPED_UNC,
        labelled(counter("gpu_row_remaps_total", "rows"), "kind", "uncorrected"),
    ),
    field(
        id::NVML_FI_DEV_REMAPPED_PENDING,
        gauge("gpu_row_remap_pending", "bool"),
    ),
    field(
        id::NVML_FI_DEV_REMAPPED_FAILURE,
        gauge("gpu_row_remap_failed", "bool"),
    ),
    field(
        id::NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL,
        nvlink_error("crc_flit"),
    ),
    field(
        id::NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL,
        nvlink_error("crc_data"),
    ),
    field(
        id::NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL,
        nvlink_error("replay"),
    ),
    field(
        id::NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL,
        nvlink_error("recovery"),
    ),
    Field {
        id: id::NVML_FI_DEV_NVLINK_COUNT_RAW_BER,
        series: labelled(gauge("gpu_nvlink0_bit_error_ratio", "ratio"), "kind", "raw"),
        scale: Scale::BitErrorRatio,
    },
    Field {
        id: id::NVML_FI_DEV_NVLINK_COUNT_EFFECTIVE_BER,
        series: labelled(gauge("gpu_nvlink0_bit_error_ratio", "ratio"), "kind", "effective"),
        scale: Scale::BitErrorRatio,
    },
    Field {
        id: id::NVML_FI_DEV_NVLINK_COUNT_SYMBOL_BER,
        series: labelled(gauge("gpu_nvlink0_bit_error_ratio", "ratio"), "kind", "symbol"),
        scale: Scale::BitErrorRatio,
    },
    field(
        id::NVML_FI_DEV_PCIE_REPLAY_COUNTER,
        counter("gpu_pcie_replays_total", "replays"),
    ),
    field(
        id::NVML_FI_DEV_PCIE_COUNT_CORRECTABLE_ERRORS,
        pcie_error("correctable"),
    ),
    field(
        id::NVML_FI_DEV_PCIE_COUNT_NAKS_RECEIVED,
        pcie_error("naks_received"),
    ),
    field(id::NVML_FI_DEV_PCIE_COUNT_RECEIVER_ERROR, pcie_error("receiver")),
    field(id::NVML_FI_DEV_PCIE_COUNT_BAD_TLP, pcie_error("bad_tlp")),
    field(id::NVML_FI_DEV_PCIE_COUNT_NAKS_SENT, pcie_error("naks_sent")),
    field(id::NVML_FI_DEV_PCIE_COUNT_BAD_DLLP, pcie_error("bad_dllp")),
    field(
        id::NVML_FI_DEV_PCIE_COUNT_NON_FATAL_ERROR,
        pcie_error("non_fatal"),
    ),
    field(id::NVML_FI_DEV_PCIE_COUNT_FATAL_ERROR, pcie_error("fatal")),
    field(
        id::NVML_FI_DEV_PCIE_COUNT_UNSUPPORTED_REQ,
        pcie_error("unsupported_request"),
    ),
    field(id::NVML_FI_DEV_PCIE_COUNT_LCRC_ERROR, pcie_error("lcrc")),
    field(id::NVML_FI_DEV_PCIE_COUNT_LANE_ERROR, pcie_error("lane")),
    // Byte counters instead of the throughput call, which blocks for its measuring window.
    field(
        id::NVML_FI_DEV_PCIE_COUNT_TX_BYTES,
        labelled(counter("gpu_pcie_bytes_total", "bytes"), "direction", "transmit"),
    ),
    field(
        id::NVML_FI_DEV_PCIE_COUNT_RX_BYTES,
        labelled(counter("gpu_pcie_bytes_total", "bytes"), "direction", "receive"),
    ),
    scaled(id::NVML_FI_DEV_PERF_POLICY_POWER, throttle_time("power"), 1e-9),
    scaled(
        id::NVML_FI_DEV_PERF_POLICY_THERMAL,
        throttle_time("thermal"),
        1e-9,
    ),
    scaled(
        id::NVML_FI_DEV_PERF_POLICY_SYNC_BOOST,
        throttle_time("sync_boost"),
        1e-9,
    ),
    scaled(
        id::NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT,
        throttle_time("board_limit"),
        1e-9,
    ),
    scaled(
        id::NVML_FI_DEV_PERF_POLICY_LOW_UTILIZATION,
        throttle_time("low_utilization"),
        1e-9,
    ),
    scaled(
        id::NVML_FI_DEV_PERF_POLICY_RELIABILITY,
        throttle_time("reliability"),
        1e-9,
    ),
    scaled(
        id::NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN,
        throttle_time("sw_thermal"),
        1e-9,
    ),
    scaled(
        id::NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN,
        throttle_time("hw_thermal"),
        1e-9,
    ),
    scaled(
        id::NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN,
        throttle_time("hw_power_brake"),
        1e-9,
    ),
    // 0 none, 1 reset the GPU, 2 reboot the node, 3 drain peer traffic, 4 drain and reset.
    field(
        id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION,
        gauge("gpu_recovery_action", "code"),
    ),
];

/// Read once: thresholds in degrees below the GPU's limits, on NVML's "T.Limit" scale.
pub(crate) const STATIC_FIELDS: &[Field] = &[
    field(
        id::NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT,
        labelled(gauge("gpu_tlimit_celsius", "celsius"), "kind", "shutdown"),
    ),
    field(
        id::NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT,
        labelled(gauge("gpu_tlimit_celsius", "celsius"), "kind", "slowdown"),
    ),
    field(
        id::NVML_FI_DEV_TEMPERATURE_MEM_MAX_TLIMIT,
        labelled(gauge("gpu_tlimit_celsius", "celsius"), "kind", "memory_max"),
    ),
    field(
        id::NVML_FI_DEV_TEMPERATURE_GPU_MAX_TLIMIT,
        labelled(gauge("gpu_tlimit_celsius", "celsius"), "kind", "gpu_max"),
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn slots_point_at_their_names_and_no_series_is_named_twice() {
        for (slot, name) in [
            (UTILIZATION, "gpu_utilization_ratio"),
            (MEMORY_ACTIVITY, "gpu_memory_activity_ratio"),
            (MEMORY_USED, "gpu_memory_used_bytes"),
            (MEMORY_RESERVED, "gpu_memory_reserved_bytes"),
            (POWER, "gpu_power_watts"),
            (SM_CLOCK, "gpu_sm_clock_hertz"),
            (TEMPERATURE, "gpu_temperature_celsius"),
            (MEMORY_CLOCK, "gpu_memory_clock_hertz"),
            (SERVER_MEMORY, "gpu_server_memory_bytes"),
            (THROTTLE, "gpu_throttle_active"),
            (Slot(THROTTLE.0 + THROTTLE_BITS - 1), "gpu_throttle_active"),
            (MEMORY_TOTAL, "gpu_memory_total_bytes"),
            (SM_CLOCK_MAX, "gpu_sm_clock_max_hertz"),
            (MEMORY_CLOCK_MAX, "gpu_memory_clock_max_hertz"),
            (SLOWDOWN, "gpu_temperature_slowdown_celsius"),
            (SHUTDOWN, "gpu_temperature_shutdown_celsius"),
        ] {
            assert_eq!(CALL_SERIES[slot.0].name, name);
        }
        let fields = FAST_FIELDS
            .iter()
            .chain(SLOW_FIELDS)
            .chain(STATIC_FIELDS)
            .map(|field| field.series);
        let all: Vec<_> = CALL_SERIES
            .iter()
            .copied()
            .chain(fields)
            .map(|s| (s.name, s.label))
            .collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn a_bit_error_ratio_is_mantissa_and_exponent() {
        assert_eq!(Scale::BitErrorRatio.apply(f64::from(3 << 8 | 12)), 3e-12);
        assert_eq!(Scale::BitErrorRatio.apply(0.0), 0.0);
    }
}
