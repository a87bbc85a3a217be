//! Answers of the control routes.

use serde::Deserialize;

/// The names that `/v1/models` lists, and the longest sequence if it says so.
///
/// # Errors
/// What is wrong with the answer.
pub fn models(body: &[u8]) -> Result<(Vec<String>, Option<f64>), String> {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Model>,
    }
    #[derive(Deserialize)]
    struct Model {
        id: String,
        max_model_len: Option<f64>,
    }
    let list: List = serde_json::from_slice(body).map_err(|e| format!("/v1/models: {e}"))?;
    let longest = list.data.iter().find_map(|model| model.max_model_len);
    Ok((list.data.into_iter().map(|model| model.id).collect(), longest))
}

/// The version that `/version` gives.
pub fn version(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    let version = serde_json::from_slice::<Version>(body).ok()?.version;
    (version.len() <= 100).then_some(version)
}

/// Whether the body of a 503 says that the server is changing its size: every route answers so meanwhile.
pub fn says_scaling(status: u16, body: &[u8]) -> bool {
    status == 503
        && String::from_utf8_lossy(&body[..body.len().min(4096)])
            .to_ascii_lowercase()
            .contains("currently scaling")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let body = br#"{"object":"list","data":[{"id":"tiny","object":"model","max_model_len":2048}]}"#;
        assert_eq!(models(body), Ok((vec!["tiny".to_owned()], Some(2048.0))));
        assert!(models(b"{}").is_err_and(|problem| problem.contains("data")));
        assert_eq!(version(br#"{"version":"0.32.0"}"#).as_deref(), Some("0.32.0"));
        assert_eq!(version(b"null"), None);
        assert!(says_scaling(
            503,
            br#"{"error":"The model is currently scaling. Please try again later."}"#
        ));
        assert!(!says_scaling(503, b"") && !says_scaling(200, b"currently scaling"));
    }
}
