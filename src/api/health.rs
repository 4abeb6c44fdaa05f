//! Whether it runs, and whether it has seen everything once.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::error::Problem;
use crate::service::Service;

pub(super) async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

pub(super) async fn ready(State(service): State<Arc<Service>>) -> Result<Json<Value>, Problem> {
    if service.stop().is_cancelled() {
        return Err(Problem::unavailable("the daemon is ending"));
    }
    if !service.has_begun() {
        return Err(Problem::unavailable("the daemon is starting"));
    }
    let waits = service.sources.not_ready();
    if waits.is_empty() {
        return Ok(Json(json!({ "ready": true })));
    }
    Err(Problem::unavailable(format!("still looking through: {}", waits.join(", "))))
}
