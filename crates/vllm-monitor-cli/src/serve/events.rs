//! Records as server-sent events. A reader that reconnects with `Last-Event-ID` misses nothing that is still kept.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;

use super::App;
use crate::hub::Record;

#[derive(Debug, Deserialize)]
pub(super) struct After {
    after: Option<u64>,
}

pub(super) async fn stream(
    State(app): State<App>,
    Query(After { after }): Query<After>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let last_seen = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    let (kept, later) = app.hub.listen(after.or(last_seen).unwrap_or(u64::MAX));
    // The hub is not held by the stream: its end closes the channel and with it the stream.
    let later = stream::unfold(later, |mut later| async move {
        let event = match later.recv().await {
            Ok(record) => event(&record),
            Err(RecvError::Lagged(lost)) => Event::default().event("lost").data(lost.to_string()),
            Err(RecvError::Closed) => return None,
        };
        Some((event, later))
    });
    let all = stream::iter(kept).map(|record| event(&record)).chain(later);
    Sse::new(all.map(Ok)).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}

fn event(record: &Record) -> Event {
    Event::default().id(record.id.to_string()).data(record.to_json())
}
