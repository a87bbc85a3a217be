//! Answers that are not streams: JSON, text, and errors in the shape of the OpenAI API.

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

    pub(crate) fn overloaded(message: impl Into<String>) -> Self {
        Self {
            status: 503,
            kind: "Service Unavailable",
            message: message.into(),
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

/// No body at all.
pub(crate) fn empty(status: u16) -> Response<SimBody> {
    let mut response = Response::new(SimBody::full(Bytes::new()));
    *response.status_mut() = StatusCode::from_u16(status).expect("statuses in this crate are valid");
    response
}
