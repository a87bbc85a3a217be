//! Answers that are not streamed: JSON, text and errors.

use bytes::Bytes;
use hyper::{Response, StatusCode, header};

use super::api_error::ApiError;
use super::body::SimBody;

/// The content type of JSON.
pub(crate) const JSON: &str = "application/json";

/// A JSON answer.
pub(crate) fn json(status: u16, body: String) -> Response<SimBody> {
    with_type(status, JSON, body)
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

/// The answer to a request that failed.
pub(crate) fn failed(error: &ApiError) -> Response<SimBody> {
    json(error.status, error.body())
}
