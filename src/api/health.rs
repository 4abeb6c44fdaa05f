//! Whether it runs, and whether it has seen everything once.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{Problem, Problems};
use crate::service::Service;

#[derive(Serialize, ToSchema)]
pub(super) struct Live {
    live: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Ready {
    ready: bool,
}

#[utoipa::path(get, path = "/livez", tag = "daemon", responses((status = 200, body = Live, description = "it runs"), Problems))]
pub(super) async fn live() -> Json<Live> {
    Json(Live { live: true })
}

#[utoipa::path(get, path = "/readyz", tag = "daemon", responses((status = 200, body = Ready, description = "every source has been looked through once, or is away"), Problems))]
pub(super) async fn ready(State(service): State<Arc<Service>>) -> Result<Json<Ready>, Problem> {
    if service.stop().is_cancelled() {
        return Err(Problem::unavailable("the daemon is ending"));
    }
    if !service.has_begun() {
        return Err(Problem::unavailable("the daemon is starting"));
    }
    let waits = service.sources.not_ready();
    if waits.is_empty() {
        return Ok(Json(Ready { ready: true }));
    }
    Err(Problem::unavailable(format!("still looking through: {}", waits.join(", "))))
}
