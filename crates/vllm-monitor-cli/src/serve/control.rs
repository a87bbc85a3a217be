//! Routes that do more than read. They need the token.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::App;
use crate::target::Note;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectStop {
    target: String,
    /// `false` withdraws it.
    #[serde(default = "yes")]
    expected: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    target: String,
}

type Answer = (StatusCode, String);

fn no_such(target: &str) -> Answer {
    (StatusCode::NOT_FOUND, format!("there is no target `{target}`\n"))
}

/// A stop of the server is planned: its exit will not be a failure.
pub(super) async fn expect_stop(State(app): State<App>, Json(body): Json<ExpectStop>) -> Answer {
    let Some(notes) = app.notes.get(body.target.as_str()) else {
        return no_such(&body.target);
    };
    match notes.send(Note::StopRequested(body.expected)).await {
        Ok(()) => (StatusCode::OK, "noted\n".to_owned()),
        Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the target is no longer observed\n".to_owned(),
        ),
    }
}

/// The present speed is the new baseline, as after a change of the server's settings.
pub(super) async fn accept_speed(State(app): State<App>, Json(body): Json<Named>) -> Answer {
    match app
        .hub
        .change_target(&body.target, vllm_monitor::TargetState::accept_speed)
    {
        Some(()) => (StatusCode::OK, "accepted\n".to_owned()),
        None => no_such(&body.target),
    }
}
