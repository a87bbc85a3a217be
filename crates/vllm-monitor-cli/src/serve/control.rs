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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Switch {
    on: bool,
}

/// Turns the kill switch on or off. While it is on nothing is done, and what was done is taken back.
pub(super) async fn kill_switch(State(app): State<App>, Json(body): Json<Switch>) -> Answer {
    let switched = tokio::task::spawn_blocking(move || {
        app.acting.set_kill_switch(body.on);
        app.acting.status()
    });
    match switched.await {
        Ok(status) if status.kill_switch == body.on => (StatusCode::OK, "switched\n".to_owned()),
        Ok(_) => (
            StatusCode::CONFLICT,
            "the kill switch stays on while its file exists\n".to_owned(),
        ),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")),
    }
}

/// Resets a breaker that tripped.
pub(super) async fn reset_breaker(State(app): State<App>) -> Answer {
    match tokio::task::spawn_blocking(move || app.acting.reset_breaker()).await {
        Ok(Ok(())) => (StatusCode::OK, "reset\n".to_owned()),
        Ok(Err(problem)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")),
    }
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
