//! What happens, as server-sent events. A client that is too slow loses the oldest ones and gets a `lost` event that says
//! how many.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::error::Problems;
use crate::service::Service;
use crate::service::news::News;

#[utoipa::path(get, path = "/v1/events", operation_id = "events", tag = "daemon", responses((status = 200, body = News, content_type = "text/event-stream", description = "server-sent events: each has one of these as JSON"), Problems))]
pub(super) async fn stream(State(service): State<Arc<Service>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (news, closing) = (service.news.listen(), service.closing().clone());
    let events = stream::unfold((news, closing), |(mut news, closing)| async {
        let next = tokio::select! {
            biased;
            next = news.recv() => next,
            () = closing.cancelled() => return None,
        };
        let data = match next {
            Ok(news) => serde_json::to_string(&news).unwrap_or_default(),
            Err(RecvError::Lagged(count)) => json!({ "event": "lost", "count": count }).to_string(),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(Event::default().data(data)), (news, closing)))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}
