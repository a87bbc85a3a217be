//! Access control: rejects requests made by web pages of other sites, and requires a token for the controls.
//!
//! A server on the loopback address is reachable from every page that is open in a browser on that machine:
//! by requests to it, and by a host name of the page's own that resolves to it (DNS rebinding). The peer's
//! address reveals neither.

use hyper::header::{HOST, HeaderMap, ORIGIN};
use hyper::{Method, Request};

use super::api_error::ApiError;
use crate::config::SimConfig;

/// Rejects a foreign `Host` and, for requests that do more than read, a request from another site.
///
/// # Errors
/// 403 with the reason and a fix.
pub(crate) fn check<B>(request: &Request<B>, config: &SimConfig) -> Result<(), ApiError> {
    let headers = request.headers();
    let host = match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => text(headers, HOST.as_str()),
    };
    if let Some(host) = host
        && !http_guard::is_known_host(host, &config.allowed_hosts)
    {
        return Err(ApiError::forbidden(format!(
            "this server is not called {}: use its address or localhost, or start it with --allowed-host",
            name_of(host)
        )));
    }
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(());
    }
    let is_foreign_site =
        text(headers, "sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let is_foreign_origin = text(headers, ORIGIN.as_str())
        .is_some_and(|origin| origin.split_once("://").map(|(_, origin)| origin) != host);
    if is_foreign_site || is_foreign_origin {
        return Err(ApiError::forbidden("requests from other sites are refused"));
    }
    Ok(())
}

/// Checks the control token.
///
/// # Errors
/// 403 if the server was started without one, 401 if the request has none or a wrong one.
pub(crate) fn check_token(headers: &HeaderMap, config: &SimConfig) -> Result<(), ApiError> {
    let Some(token) = &config.control_token else {
        return Err(ApiError::forbidden(
            "the controls are closed: start the simulator with --control-token",
        ));
    };
    // As in the plugin inside a real vLLM, where `Authorization` carries vLLM's own API key.
    match headers.get("x-monitor-token") {
        Some(given) if token.is(given.as_bytes()) => Ok(()),
        _ => Err(ApiError::unauthorized()),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// The host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        // A colon inside brackets belongs to the address.
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri("/health");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn only_own_names_are_answered() {
        let config = SimConfig {
            allowed_hosts: vec!["vllm.internal".to_owned()],
            ..SimConfig::default()
        };
        for (host, is_ok) in [
            ("127.0.0.1:8000", true),
            ("[::1]:8000", true),
            ("[::1]", true),
            ("10.1.2.3", true),
            ("LocalHost:8000", true),
            ("vllm.internal:8000", true),
            ("evil.example:8000", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:8000", false),
        ] {
            let checked = check(&request("GET", &[("host", host)]), &config);
            assert_eq!(checked.is_ok(), is_ok, "{host}");
        }
    }

    #[test]
    fn other_sites_may_read_nothing_into_being() {
        let config = SimConfig::default();
        let host = ("host", "127.0.0.1:8000");
        for (headers, is_ok) in [
            (&[host][..], true),
            (&[host, ("origin", "http://127.0.0.1:8000")], true),
            (&[host, ("origin", "http://evil.example")], false),
            (&[host, ("origin", "http://127.0.0.1:9000")], false),
            (&[host, ("origin", "null")], false),
            (&[host, ("sec-fetch-site", "same-origin")], true),
            (&[host, ("sec-fetch-site", "cross-site")], false),
            (&[host, ("sec-fetch-site", "same-site")], false),
        ] {
            assert_eq!(
                check(&request("POST", headers), &config).is_ok(),
                is_ok,
                "{headers:?}"
            );
            assert!(check(&request("GET", headers), &config).is_ok());
        }
    }

    #[test]
    fn controls_need_the_token() {
        let with = |value: &str| request("GET", &[("x-monitor-token", value)]).headers().clone();
        let config = SimConfig {
            control_token: Some("secret".to_owned().into()),
            ..SimConfig::default()
        };
        assert!(check_token(&with("secret"), &config).is_ok());
        for wrong in ["secre", "secret2", "", "Bearer secret"] {
            assert_eq!(
                check_token(&with(wrong), &config).unwrap_err().status,
                401,
                "{wrong}"
            );
        }
        let closed = check_token(&with("secret"), &SimConfig::default()).unwrap_err();
        assert_eq!(closed.status, 403);
        assert!(!format!("{config:?}").contains("secret"));
    }
}
