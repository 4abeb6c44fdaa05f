//! How the sources are doing.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::error::Problem;
use crate::service::Service;

pub(super) async fn list(State(service): State<Arc<Service>>) -> Result<Json<Value>, Problem> {
    Ok(Json(json!({ "sources": service.sources.rows().await? })))
}
