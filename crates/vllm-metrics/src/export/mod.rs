//! The session's own Prometheus endpoint: own series at `/metrics`, newest scraped values at `/federate`.

mod page;
mod serve;

pub(crate) use serve::Server;
