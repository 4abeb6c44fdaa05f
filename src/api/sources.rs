//! The sources: how they are doing; adding, pausing and removing them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{Problem, Problems};
use crate::config::SourceSettings;
use crate::service::Service;
use crate::service::added::SourceError;
use crate::service::sources::SourceRow;

#[derive(Serialize, ToSchema)]
pub(super) struct SourceList {
    sources: Vec<SourceRow>,
}

#[utoipa::path(get, path = "/v1/sources", operation_id = "list_sources", tag = "sources", responses((status = 200, body = SourceList, description = "how each is doing"), Problems))]
pub(super) async fn list(State(service): State<Arc<Service>>) -> Result<Json<SourceList>, Problem> {
    Ok(Json(SourceList { sources: service.sources.rows().await? }))
}

#[utoipa::path(post, path = "/v1/sources", operation_id = "add_source", tag = "sources", request_body = SourceSettings, responses((status = 201, body = SourceRow, description = "it was added"), Problems))]
pub(super) async fn add(
    State(service): State<Arc<Service>>,
    source: Result<Json<SourceSettings>, JsonRejection>,
) -> Result<(StatusCode, Json<SourceRow>), Problem> {
    let Json(source) = source?;
    let row = whole(async move { service.add_source(source).await }).await?;
    Ok((StatusCode::CREATED, Json(row)))
}

#[utoipa::path(delete, path = "/v1/sources/{name}", operation_id = "remove_source", tag = "sources", params(("name" = String, Path, description = "Name of a source")), responses((status = 204, description = "it was removed; what it brought stays"), Problems))]
pub(super) async fn remove(
    State(service): State<Arc<Service>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path(name) = name?;
    whole(async move { service.remove_source(&name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(post, path = "/v1/sources/{name}/pause", operation_id = "pause_source", tag = "sources", params(("name" = String, Path, description = "Name of a source")), responses((status = 200, body = SourceRow, description = "it is paused"), Problems))]
pub(super) async fn pause(
    State(service): State<Arc<Service>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<SourceRow>, Problem> {
    let Path(name) = name?;
    Ok(Json(whole(async move { service.pause_source(&name, true).await }).await?))
}

#[utoipa::path(post, path = "/v1/sources/{name}/resume", operation_id = "resume_source", tag = "sources", params(("name" = String, Path, description = "Name of a source")), responses((status = 200, body = SourceRow, description = "it goes on"), Problems))]
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
