//! Answers that are not streamed: JSON, text, and errors in the format of the OpenAI API.

use bytes::Bytes;
use hyper::{Response, StatusCode, header};

use super::body::SimBody;

/// An error answer: `{"error":{"message","type","param","code"}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: 400,
            kind: "BadRequestError",
            message: message.into(),
        }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self {
            status: 404,
            kind: "NotFoundError",
            message: message.into(),
        }
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self {
            status: 403,
            kind: "PermissionDeniedError",
            message: message.into(),
        }
    }

    pub(crate) fn unauthorized() -> Self {
        Self {
            status: 401,
            kind: "AuthenticationError",
            message: "this route needs the control token in the header `X-Monitor-Token`".to_owned(),
        }
    }

    pub(crate) fn overloaded(message: impl Into<String>) -> Self {
        Self {
            status: 503,
            kind: "Service Unavailable",
            message: message.into(),
        }
    }

    pub(crate) fn dead_engine() -> Self {
        Self {
            status: 500,
            kind: "InternalServerError",
            message: "the engine is dead".to_owned(),
        }
    }

    pub(crate) fn method_not_allowed(path: &str, method: &str) -> Self {
        Self {
            status: 405,
            kind: "MethodNotAllowed",
            message: format!("{path} does not answer {method}"),
        }
    }

    /// The answer of a fault rule.
    pub(crate) fn scripted(code: u16) -> Self {
        let kind = match code {
            404 => "NotFoundError",
            400..500 => "BadRequestError",
            503 => "Service Unavailable",
            _ => "InternalServerError",
        };
        Self {
            status: code,
            kind,
            message: "this failure is scripted".to_owned(),
        }
    }

    /// The JSON text.
    pub(crate) fn body(&self) -> String {
        format!(
            "{{\"error\":{{\"message\":{},\"type\":\"{}\",\"param\":null,\"code\":{}}}}}",
            quote(&self.message),
            self.kind,
            self.status
        )
    }

    pub(crate) fn response(&self) -> Response<SimBody> {
        json(self.status, self.body())
    }
}

/// Text as a JSON string, quotes included.
pub(crate) fn quote(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}

/// A JSON answer.
pub(crate) fn json(status: u16, body: String) -> Response<SimBody> {
    with_type(status, "application/json", body)
}

/// An answer of any type.
pub(crate) fn with_type(
    status: u16,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<SimBody> {
    let mut response = Response::new(SimBody::full(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).expect("statuses in this crate are valid");
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    response
}

/// An answer whose second half is never sent.
pub(crate) fn broken(status: u16, content_type: &'static str, whole: impl Into<Bytes>) -> Response<SimBody> {
    with_type(status, content_type, whole).map(|body| match body {
        SimBody::Full(Some(whole)) => SimBody::broken(whole),
        other => other,
    })
}

/// An empty body.
pub(crate) fn empty(status: u16) -> Response<SimBody> {
    let mut response = Response::new(SimBody::full(Bytes::new()));
    *response.status_mut() = StatusCode::from_u16(status).expect("statuses in this crate are valid");
    response
}
