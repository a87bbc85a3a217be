//! Driver calls, with their tiers and the series they fill.

use super::series::{self, CALL_SERIES, FAST_FIELDS, Field, GpuSeries, SLOW_FIELDS, STATIC_FIELDS, Slot};

/// One driver call, timed and counted separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Utilization,
    Memory,
    Power,
    SmClock,
    Throttle,
    Temperature,
    FastFields,
    MemoryClock,
    SlowFields,
    StaticFields,
    Processes,
}

/// Every tick.
pub(crate) const CALLS_EVERY_TICK: &[Call] = &[
    Call::Utilization,
    Call::Memory,
    Call::Power,
    Call::SmClock,
    Call::Throttle,
    Call::Temperature,
    Call::FastFields,
];
/// Every slow tick.
pub(crate) const CALLS_SLOW: &[Call] = &[Call::SlowFields, Call::MemoryClock];
pub(crate) const CALLS: usize = 11;

impl Call {
    pub(crate) const ALL: [Self; CALLS] = [
        Self::Utilization,
        Self::Memory,
        Self::Power,
        Self::SmClock,
        Self::Throttle,
        Self::Temperature,
        Self::FastFields,
        Self::MemoryClock,
        Self::SlowFields,
        Self::StaticFields,
        Self::Processes,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Utilization => "utilization",
            Self::Memory => "memory",
            Self::Power => "power",
            Self::SmClock => "sm_clock",
            Self::Throttle => "throttle",
            Self::Temperature => "temperature",
            Self::FastFields => "fast_fields",
            Self::MemoryClock => "memory_clock",
            Self::SlowFields => "slow_fields",
            Self::StaticFields => "static_fields",
            Self::Processes => "processes",
        }
    }

    /// The fields of a batched call, and the index of the first among all fields.
    pub(crate) fn fields(self) -> Option<(usize, &'static [Field])> {
        match self {
            Self::FastFields => Some((0, FAST_FIELDS)),
            Self::SlowFields => Some((FAST_FIELDS.len(), SLOW_FIELDS)),
            Self::StaticFields => Some((FAST_FIELDS.len() + SLOW_FIELDS.len(), STATIC_FIELDS)),
            _ => None,
        }
    }

    /// The series that a single call fills.
    pub(crate) fn slots(self) -> std::ops::Range<usize> {
        let one = |slot: Slot| slot.0..slot.0 + 1;
        match self {
            Self::Utilization => series::UTILIZATION.0..series::MEMORY_ACTIVITY.0 + 1,
            Self::Memory => series::MEMORY_USED.0..series::MEMORY_RESERVED.0 + 1,
            Self::Power => one(series::POWER),
            Self::SmClock => one(series::SM_CLOCK),
            Self::Throttle => series::THROTTLE.0..series::THROTTLE.0 + series::THROTTLE_BITS,
            Self::Temperature => one(series::TEMPERATURE),
            Self::MemoryClock => one(series::MEMORY_CLOCK),
            Self::Processes => one(series::SERVER_MEMORY),
            Self::FastFields | Self::SlowFields | Self::StaticFields => 0..0,
        }
    }
}

/// The series at an index: those of single calls first, then those of the fields.
pub(crate) fn series_of(slot: usize) -> &'static GpuSeries {
    let mut fields = FAST_FIELDS.iter().chain(SLOW_FIELDS).chain(STATIC_FIELDS);
    match CALL_SERIES.get(slot) {
        Some(series) => series,
        None => fields
            .nth(slot - CALL_SERIES.len())
            .map(|field| &field.series)
            .expect("a slot has a series"),
    }
}

/// Name with its own label, as in an exposition.
pub(crate) fn spelled(series: &GpuSeries) -> String {
    match series.label {
        Some((key, value)) => format!("{}{{{key}=\"{value}\"}}", series.name),
        None => series.name.to_owned(),
    }
}
