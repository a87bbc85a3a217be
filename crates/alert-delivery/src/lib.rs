//! Delivers alerts to Alertmanager (API v2) and to webhooks that take Alertmanager's body.
//!
//! Nothing here decides whether an alert stands; the caller says when one begins and ends. Every delivery is tried three
//! times with a limit on each try, and counted.
//!
//! ```no_run
//! use std::sync::Arc;
//! use alert_delivery::{Alertmanager, Counts, Notice, Post, client};
//!
//! # async fn example() -> Result<(), reqwest::Error> {
//! let counts = Arc::new(Counts::default());
//! let mut manager = Alertmanager::new(&client()?, "http://127.0.0.1:9093", &counts);
//! let notice = Notice {
//!     labels: [("alertname".to_owned(), "KvCacheFull".to_owned())].into(),
//!     starts_at: "2026-01-01T00:00:00Z".into(),
//!     ..Notice::default()
//! };
//! manager.begin("kv".into(), notice).await;
//! manager.repeat().await; // every REPEAT while it stands
//! manager.end("kv", "2026-01-01T00:01:00Z").await;
//! # Ok(())
//! # }
//! ```

mod alertmanager;
mod notice;
mod post;
mod webhook;

pub use alertmanager::{Alertmanager, REPEAT};
pub use notice::Notice;
pub use post::{Counts, Post, client};
pub use webhook::Webhook;
