//! The quantities that rules are written in.

use serde::{Deserialize, Serialize};

/// A quantity that has a value in each second, or one for the whole run.
///
/// In the rule table each goes by its name in snake case. What a quantity is computed from stands at its description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each variant is described by `Quantity::describe`")]
pub enum Quantity {
    IssueDelaySecs,
    IssueDelayP99Secs,
    TtftP99Secs,
    TtftLimitSecs,
    TpotP99Secs,
    TpotLimitSecs,
    OutsideEngineSecs,
    E2eSecs,
    InFlight,
    ClientQueue,
    HeldBackRequests,
    ClientCpuCores,
    ClientCoresGranted,
    LittleResidualRatio,
    Running,
    WaitingForCapacity,
    WaitingDeferred,
    Waiting,
    ServerRequests,
    SequenceLimit,
    SequencesWanted,
    SequencesWithRoom,
    LoadRoomRatio,
    KvCacheUsageRatio,
    Preemptions,
    TokensPerStep,
    TokenBudget,
    RidgeTokens,
    PromptShareRatio,
    StepTimeGrowthRatio,
    KvReadToWeightsRatio,
    MfuRatio,
    MbuRatio,
    ApiServerCpuCores,
    ScrapeSecs,
    IdleScrapeSecs,
    GpuUtilizationRatio,
    ThrottledSecs,
    SmClockRatio,
    ClockLossRatio,
    NetworkUtilizationRatio,
    TcpRetransmits,
    UsualTcpRetransmits,
    SameHost,
}

/// How a quantity is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Count,
    Secs,
    Share,
    Times,
    Cores,
}

impl Quantity {
    /// All of them.
    pub const ALL: [Self; 44] = [
        Self::IssueDelaySecs,
        Self::IssueDelayP99Secs,
        Self::TtftP99Secs,
        Self::TtftLimitSecs,
        Self::TpotP99Secs,
        Self::TpotLimitSecs,
        Self::OutsideEngineSecs,
        Self::E2eSecs,
        Self::InFlight,
        Self::ClientQueue,
        Self::HeldBackRequests,
        Self::ClientCpuCores,
        Self::ClientCoresGranted,
        Self::LittleResidualRatio,
        Self::Running,
        Self::WaitingForCapacity,
        Self::WaitingDeferred,
        Self::Waiting,
        Self::ServerRequests,
        Self::SequenceLimit,
        Self::SequencesWanted,
        Self::SequencesWithRoom,
        Self::LoadRoomRatio,
        Self::KvCacheUsageRatio,
        Self::Preemptions,
        Self::TokensPerStep,
        Self::TokenBudget,
        Self::RidgeTokens,
        Self::PromptShareRatio,
        Self::StepTimeGrowthRatio,
        Self::KvReadToWeightsRatio,
        Self::MfuRatio,
        Self::MbuRatio,
        Self::ApiServerCpuCores,
        Self::ScrapeSecs,
        Self::IdleScrapeSecs,
        Self::GpuUtilizationRatio,
        Self::ThrottledSecs,
        Self::SmClockRatio,
        Self::ClockLossRatio,
        Self::NetworkUtilizationRatio,
        Self::TcpRetransmits,
        Self::UsualTcpRetransmits,
        Self::SameHost,
    ];

    /// What it is, as sentences say it.
    pub fn describe(self) -> &'static str {
        self.facts().0
    }

    /// Unit of its values: `seconds`, `ratio`, `cores`, `times`, or empty for counts.
    pub fn unit_name(self) -> &'static str {
        match self.unit() {
            Unit::Count => "",
            Unit::Secs => "seconds",
            Unit::Share => "ratio",
            Unit::Times => "times",
            Unit::Cores => "cores",
        }
    }

    pub(super) fn unit(self) -> Unit {
        self.facts().1
    }

    fn facts(self) -> (&'static str, Unit) {
        use Unit::{Cores, Count, Secs, Share, Times};
        match self {
            Self::IssueDelaySecs => ("delay of issuing, p99 of the second", Secs),
            Self::IssueDelayP99Secs => ("delay of issuing, p99 of the window", Secs),
            Self::TtftP99Secs => ("time to first token, p99 of the window", Secs),
            Self::TtftLimitSecs => ("limit on the time to first token", Secs),
            Self::TpotP99Secs => ("time per output token, p99 of the window", Secs),
            Self::TpotLimitSecs => ("limit on the time per output token", Secs),
            Self::OutsideEngineSecs => (
                "time outside the engine, median of the requests issued in the second",
                Secs,
            ),
            Self::E2eSecs => (
                "end-to-end latency, median of the requests issued in the second",
                Secs,
            ),
            Self::InFlight => ("requests in flight at the client", Count),
            Self::ClientQueue => ("requests queued in the client", Count),
            Self::HeldBackRequests => ("requests in flight that the server does not have", Count),
            Self::ClientCpuCores => ("cores used by the client", Cores),
            Self::ClientCoresGranted => ("cores granted to the client", Cores),
            Self::LittleResidualRatio => (
                "difference between requests in flight at client and server",
                Share,
            ),
            Self::Running => ("running requests", Count),
            Self::WaitingForCapacity => ("requests waiting for capacity", Count),
            Self::WaitingDeferred => ("deferred requests", Count),
            Self::Waiting => ("waiting requests", Count),
            Self::ServerRequests => ("running and waiting requests", Count),
            Self::SequenceLimit => ("limit on running requests", Count),
            Self::SequencesWanted => ("running requests and those waiting for capacity", Count),
            Self::SequencesWithRoom => (
                "requests that want to run, as far as cache and ridge leave room",
                Count,
            ),
            Self::LoadRoomRatio => ("limit on running requests over those running", Times),
            Self::KvCacheUsageRatio => ("KV cache usage", Share),
            Self::Preemptions => ("preemptions per second", Count),
            Self::TokensPerStep => ("tokens per step", Count),
            Self::TokenBudget => ("limit on tokens per step", Count),
            Self::RidgeTokens => (
                "ridge, the tokens per step at which arithmetic takes as long as reading weights",
                Count,
            ),
            Self::PromptShareRatio => ("share of prompt tokens in the computed tokens", Share),
            Self::StepTimeGrowthRatio => ("growth of step time when tokens per step double", Share),
            Self::KvReadToWeightsRatio => ("time for keys and values over time for weights", Times),
            Self::MfuRatio => ("model FLOPs utilization", Share),
            Self::MbuRatio => ("memory bandwidth utilization", Share),
            Self::ApiServerCpuCores => ("cores used by an API-server process", Cores),
            Self::ScrapeSecs => ("duration of a scrape", Secs),
            Self::IdleScrapeSecs => ("duration of a scrape while idle", Secs),
            Self::GpuUtilizationRatio => ("GPU utilization", Share),
            Self::ThrottledSecs => ("seconds per second with a power or thermal limit", Count),
            Self::SmClockRatio => ("SM clock over its maximum", Share),
            Self::ClockLossRatio => ("loss of SM clock", Share),
            Self::NetworkUtilizationRatio => ("network utilization", Share),
            Self::TcpRetransmits => ("TCP retransmits per second", Count),
            Self::UsualTcpRetransmits => ("usual TCP retransmits per second", Count),
            Self::SameHost => ("client and server on one host (1) or not (0)", Count),
        }
    }

    /// A value with its unit.
    pub(super) fn print(self, value: f64) -> String {
        match self.unit() {
            Unit::Secs => crate::words::secs(value),
            Unit::Share => crate::words::share(value),
            Unit::Times => format!("{value:.1}"),
            Unit::Cores => format!("{value:.2} cores"),
            Unit::Count if value.is_infinite() => "no limit".to_owned(),
            Unit::Count if value.fract() != 0.0 && value.abs() < 10.0 => format!("{value:.2}"),
            Unit::Count => format!("{value:.0}"),
        }
    }
}
