//! One alert as receivers take it.

use std::collections::BTreeMap;

use serde::Serialize;

/// An alert. Its labels are its identity for the receiver.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// What it is about, `alertname` included. Names are letters, digits and `_`; Alertmanager refuses a whole request
    /// with another one in it.
    pub labels: BTreeMap<String, String>,
    /// What a reader should know: `summary`, `description`, `runbook_url`.
    pub annotations: BTreeMap<String, String>,
    /// When it began, RFC 3339.
    pub starts_at: String,
    /// When it ended or, for one that stands, when it is over unless it is repeated. RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<String>,
    /// Page that shows its cause; empty if there is none.
    #[serde(rename = "generatorURL", skip_serializing_if = "String::is_empty")]
    pub generator_url: String,
}
