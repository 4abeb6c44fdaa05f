//! Work that may take long.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::error::Problem;
use crate::service::Service;
use crate::service::jobs::{JobRequest, JobRow};

pub(super) async fn list(State(service): State<Arc<Service>>) -> Json<Value> {
    Json(json!({ "jobs": service.jobs.rows() }))
}

pub(super) async fn ask(
    State(service): State<Arc<Service>>,
    request: Result<Json<JobRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<JobRow>), Problem> {
    let Json(request) = request?;
    let id = service.jobs.ask(request)?;
    Ok((StatusCode::ACCEPTED, Json(service.jobs.row(id)?)))
}

pub(super) async fn show(
    State(service): State<Arc<Service>>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<JobRow>, Problem> {
    let Path(id) = id?;
    Ok(Json(service.jobs.row(id)?))
}

pub(super) async fn cancel(
    State(service): State<Arc<Service>>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<JobRow>, Problem> {
    let Path(id) = id?;
    service.jobs.cancel(id)?;
    Ok(Json(service.jobs.row(id)?))
}
