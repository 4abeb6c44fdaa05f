//! Metrics, for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::error::{Problem, Problems};
use crate::service::Service;

#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "daemon", responses((status = 200, body = String, content_type = "text/plain", description = "for Prometheus"), Problems))]
pub(super) async fn text(State(service): State<Arc<Service>>) -> Result<Response, Problem> {
    let text = service.metrics_text().await.map_err(Problem::internal)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
