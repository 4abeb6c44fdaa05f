//! The sources: how they are doing; adding, pausing and removing them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::error::Problem;
use crate::config::SourceSettings;
use crate::service::Service;
use crate::service::added::SourceError;
use crate::service::sources::SourceRow;

pub(super) async fn list(State(service): State<Arc<Service>>) -> Result<Json<Value>, Problem> {
    Ok(Json(json!({ "sources": service.sources.rows().await? })))
}

pub(super) async fn add(
    State(service): State<Arc<Service>>,
    source: Result<Json<SourceSettings>, JsonRejection>,
) -> Result<(StatusCode, Json<SourceRow>), Problem> {
    let Json(source) = source?;
    let row = whole(async move { service.add_source(source).await }).await?;
    Ok((StatusCode::CREATED, Json(row)))
}

pub(super) async fn remove(
    State(service): State<Arc<Service>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path(name) = name?;
    whole(async move { service.remove_source(&name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn pause(
    State(service): State<Arc<Service>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<SourceRow>, Problem> {
    let Path(name) = name?;
    Ok(Json(whole(async move { service.pause_source(&name, true).await }).await?))
}

pub(super) async fn resume(
    State(service): State<Arc<Service>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<SourceRow>, Problem> {
    let Path(name) = name?;
    Ok(Json(whole(async move { service.pause_source(&name, false).await }).await?))
}

/// Not cut off if the client leaves in the middle.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, SourceError>> + Send + 'static,
) -> Result<T, Problem> {
    Ok(tokio::spawn(work).await.map_err(|panic| Problem::internal(panic.to_string()))??)
}
