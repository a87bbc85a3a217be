//! Alertmanager's API v2. An alert that stands is sent again regularly, since Alertmanager resolves one that is not
//! repeated before its `endsAt`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::{Counts, Notice, Post};

/// Time between repetitions of the firing alerts.
pub const REPEAT: Duration = Duration::from_secs(60);
/// Time after which an alert that is no longer repeated is over: some repetitions may be lost.
const EXPIRES: Duration = Duration::from_secs(4 * 60);

/// One Alertmanager, with the alerts that fire there.
#[derive(Debug)]
pub struct Alertmanager {
    post: Post,
    firing: BTreeMap<String, Notice>,
}

impl Alertmanager {
    /// The Alertmanager at `base`, for example `http://127.0.0.1:9093`.
    pub fn new(client: &reqwest::Client, base: &str, counts: &Arc<Counts>) -> Self {
        let url = format!("{}/api/v2/alerts", base.trim_end_matches('/'));
        Self {
            post: Post::new(client, url, counts),
            firing: BTreeMap::new(),
        }
    }

    /// Sends an alert that begins or changes. `key` identifies it to [`Alertmanager::end`]. One with other labels under the
    /// same key ends with it, because Alertmanager takes it for another alert.
    pub async fn begin(&mut self, key: String, notice: Notice) {
        let mut bodies = vec![expiring(&notice)];
        let before = self.firing.insert(key, notice.clone());
        if let Some(mut before) = before.filter(|before| before.labels != notice.labels) {
            before.ends_at = Some(notice.starts_at);
            bodies.push(before);
        }
        self.post.send(&bodies).await;
    }

    /// Sends the end of an alert, at a time in RFC 3339. Does nothing if that alert does not fire.
    pub async fn end(&mut self, key: &str, at: &str) {
        if let Some(mut notice) = self.firing.remove(key) {
            notice.ends_at = Some(at.to_owned());
            self.post.send(&[notice]).await;
        }
    }

    /// Sends all firing alerts again. Call it every [`REPEAT`].
    pub async fn repeat(&self) {
        if !self.firing.is_empty() {
            let all: Vec<Notice> = self.firing.values().map(expiring).collect();
            self.post.send(&all).await;
        }
    }

    /// Counts alerts that were lost because this receiver was too slow.
    pub fn lost(&self, alerts: u64) {
        self.post.lost(alerts);
    }
}

fn expiring(notice: &Notice) -> Notice {
    let until = Timestamp::now().checked_add(EXPIRES).ok();
    Notice {
        ends_at: until.map(|at| at.to_string()),
        ..notice.clone()
    }
}
