//! Errors in the format of the OpenAI API.

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
}

/// Text as a JSON string, quotes included.
pub(crate) fn quote(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}
