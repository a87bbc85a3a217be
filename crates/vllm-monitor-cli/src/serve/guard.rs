//! Who may ask, and who may do more than ask.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Rules of access.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Names by which the monitor may be asked besides addresses, `localhost` and the machine's own name.
    pub hosts: Vec<String>,
    /// What opens routes that do more than read; without it they are closed.
    pub token: Option<String>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "redacted");
        f.debug_struct("Access")
            .field("hosts", &self.hosts)
            .field("token", &token)
            .finish()
    }
}

impl Access {
    fn opens(&self, given: Option<&str>) -> bool {
        let (Some(token), Some(given)) = (&self.token, given.and_then(|text| text.strip_prefix("Bearer ")))
        else {
            return false;
        };
        http_guard::is_same_secret(token, given)
    }
}

pub(super) async fn check(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    match refusal(&access, &request) {
        Some((status, why)) => (status, why).into_response(),
        None => next.run(request).await,
    }
}

fn refusal(access: &Access, request: &Request) -> Option<(StatusCode, String)> {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    match text(header::HOST) {
        Some(host) if http_guard::is_known_host(host, &access.hosts) => {}
        Some(host) => {
            let host: String = host.chars().take(100).collect();
            let why = format!("the name `{host}` is not allowed; allow it with --allow-host\n");
            return Some((StatusCode::MISDIRECTED_REQUEST, why));
        }
        None => return Some((StatusCode::BAD_REQUEST, "a Host header is needed\n".to_owned())),
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    // A page of another site cannot know the token; refusing it first keeps it from trying.
    let own_origin = text(header::HOST).map(|host| format!("http://{host}"));
    let is_foreign = text(header::ORIGIN).is_some_and(|origin| Some(origin) != own_origin.as_deref())
        || request
            .headers()
            .get("sec-fetch-site")
            .is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"));
    if !reads && is_foreign {
        return Some((
            StatusCode::FORBIDDEN,
            "requests from pages of other sites are refused\n".to_owned(),
        ));
    }
    if reads || access.opens(text(header::AUTHORIZATION)) {
        return None;
    }
    let why = if access.token.is_some() {
        "this route takes the monitor's token as `Authorization: Bearer …`\n"
    } else {
        "this route takes a token, and none is set; set one with --token-file\n"
    };
    Some((StatusCode::UNAUTHORIZED, why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_and_addresses_are_not() {
        let access = Access {
            hosts: vec!["monitor.example".into()],
            token: None,
        };
        let is_answered = |host: &str| {
            let request = Request::builder().header(header::HOST, host);
            refusal(&access, &request.body(axum::body::Body::empty()).unwrap()).is_none()
        };
        for host in [
            "127.0.0.1:9464",
            "[::1]:9464",
            "10.1.2.3",
            "localhost",
            "LocalHost:1",
            "Monitor.example:80",
        ] {
            assert!(is_answered(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:9464",
            "",
            "127.0.0.1.evil.example",
        ] {
            assert!(!is_answered(host), "{host}");
        }
    }

    #[test]
    fn the_token_opens_and_nothing_else_does() {
        let access = Access {
            hosts: Vec::new(),
            token: Some("abc".into()),
        };
        assert!(access.opens(Some("Bearer abc")));
        for wrong in [
            None,
            Some("abc"),
            Some("Bearer abd"),
            Some("Bearer abcd"),
            Some("Bearer "),
        ] {
            assert!(!access.opens(wrong), "{wrong:?}");
        }
        assert!(
            !Access::default().opens(Some("Bearer ")),
            "without a token it stays closed"
        );
        assert!(!format!("{access:?}").contains("abc"));
    }
}
