//! The session's own Prometheus endpoint: its own series at `/metrics`, the newest scraped ones at `/federate`.

mod page;
mod serve;

pub(crate) use serve::Server;
