//! What is known about a run, as plain data that a reader of records fills in.
//!
//! Nothing here has a default value for something unknown: what is absent stays absent, with its reason, and is
//! reported as missing by whatever needed it.

mod column;
mod facts;
mod per_second;
mod requests;
mod span;

pub use column::Column;
pub use facts::{Experts, MathFormat, RunFacts, Scenario};
pub use per_second::PerSecond;
pub use requests::RequestTimes;
pub use span::Span;

/// One run: its facts, its seconds and its requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Settings and environment.
    pub facts: RunFacts,
    /// Series with one cell per second.
    pub seconds: PerSecond,
    /// Requests in the order in which they were issued.
    pub requests: Vec<RequestTimes>,
}

impl Run {
    /// The whole run: from the first issued request to the last event of a request. `None` without requests.
    pub fn whole(&self) -> Option<Span> {
        let from_ns = self.requests.iter().map(|request| request.issued_ns).min()?;
        let to_ns = self
            .requests
            .iter()
            .filter_map(|request| {
                request
                    .done_ns
                    .or(request.first_token_ns)
                    .or(Some(request.issued_ns))
            })
            .max()?;
        Some(Span { from_ns, to_ns })
    }
}
