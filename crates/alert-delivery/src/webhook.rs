//! Webhooks that take the body which Alertmanager sends, version 4.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::{Counts, Notice, Post};

/// Alertmanager's time of an end that is not known.
const OPEN: &str = "0001-01-01T00:00:00Z";

/// One webhook.
#[derive(Debug, Clone)]
pub struct Webhook {
    post: Post,
    receiver: String,
}

impl Webhook {
    /// The webhook at `url`; `receiver` is the sender's name for it in the body.
    pub fn new(client: &reqwest::Client, url: &str, receiver: &str, counts: &Arc<Counts>) -> Self {
        Self {
            post: Post::new(client, url.to_owned(), counts),
            receiver: receiver.to_owned(),
        }
    }

    /// Sends an alert: firing without `ends_at`, resolved with it.
    pub async fn send(&self, notice: &Notice) {
        self.post.send(&body(&self.receiver, notice)).await;
    }

    /// Counts alerts that were lost because this receiver was too slow.
    pub fn lost(&self, alerts: u64) {
        self.post.lost(alerts);
    }
}

fn body(receiver: &str, notice: &Notice) -> Value {
    let status = if notice.ends_at.is_some() {
        "resolved"
    } else {
        "firing"
    };
    let name = notice.labels.get("alertname").map_or("", String::as_str);
    json!({
        "version": "4",
        "groupKey": format!("{{}}:{{alertname={name:?}}}"),
        "truncatedAlerts": 0,
        "status": status,
        "receiver": receiver,
        "groupLabels": { "alertname": name },
        "commonLabels": notice.labels,
        "commonAnnotations": notice.annotations,
        "externalURL": notice.generator_url,
        "alerts": [{
            "status": status,
            "labels": notice.labels,
            "annotations": notice.annotations,
            "startsAt": notice.starts_at,
            "endsAt": notice.ends_at.as_deref().unwrap_or(OPEN),
            "generatorURL": notice.generator_url,
            "fingerprint": fingerprint(&notice.labels),
        }],
    })
}

/// Prometheus' fingerprint of a label set: FNV-1a over names and values in order, each followed by a byte 255.
fn fingerprint(labels: &BTreeMap<String, String>) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let texts = labels.iter().flat_map(|(name, value)| [name, value]);
    for byte in texts.flat_map(|text| text.bytes().chain([255])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_alertmanagers() {
        let mut notice = Notice {
            labels: [("alertname", "A"), ("engine", "0")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            starts_at: "2026-01-01T00:00:00Z".into(),
            ..Notice::default()
        };
        let firing = body("sut", &notice);
        assert_eq!(firing["status"], "firing");
        assert_eq!(firing["alerts"][0]["endsAt"], OPEN);
        assert_eq!(firing["groupKey"], r#"{}:{alertname="A"}"#);
        notice.ends_at = Some("2026-01-01T00:01:00Z".into());
        let resolved = body("sut", &notice);
        assert_eq!(
            (&resolved["status"], &resolved["alerts"][0]["status"]),
            (&"resolved".into(), &"resolved".into())
        );
        assert_eq!(
            resolved["alerts"][0]["fingerprint"],
            firing["alerts"][0]["fingerprint"]
        );
        assert_eq!(firing["alerts"][0]["fingerprint"].as_str().unwrap().len(), 16);
    }

    #[test]
    fn an_empty_label_set_has_the_offset_of_fnv() {
        assert_eq!(fingerprint(&BTreeMap::new()), "cbf29ce484222325");
    }
}
