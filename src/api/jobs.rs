//! Work that may take long.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::access::{self, Asker};
use super::error::{Problem, Problems};
use crate::service::Service;
use crate::service::jobs::{JobRequest, JobRow};

#[derive(Serialize, ToSchema)]
pub(super) struct JobList {
    jobs: Vec<JobRow>,
}

#[utoipa::path(get, path = "/v1/jobs", operation_id = "list_jobs", tag = "jobs", responses((status = 200, body = JobList, description = "all that are remembered, the oldest first, without results"), Problems))]
pub(super) async fn list(State(service): State<Arc<Service>>) -> Json<JobList> {
    Json(JobList { jobs: service.jobs.rows() })
}

#[utoipa::path(post, path = "/v1/jobs", operation_id = "ask_for_job", tag = "jobs", request_body = JobRequest, responses((status = 202, body = JobRow, description = "it was asked for"), Problems))]
pub(super) async fn ask(
    State(service): State<Arc<Service>>,
    asker: Option<Extension<Asker>>,
    request: Result<Json<JobRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<JobRow>), Problem> {
    let Json(request) = request?;
    access::check_model(asker.as_ref(), request.model())?;
    let id = service.jobs.ask(request)?;
    Ok((StatusCode::ACCEPTED, Json(service.jobs.row(id)?)))
}

#[utoipa::path(get, path = "/v1/jobs/{id}", operation_id = "show_job", tag = "jobs", params(("id" = u64, Path, description = "Number of a job")), responses((status = 200, body = JobRow, description = "the job"), Problems))]
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<JobRow>, Problem> {
    let Path(id) = id?;
    Ok(Json(service.jobs.row(id)?))
}

#[utoipa::path(delete, path = "/v1/jobs/{id}", operation_id = "cancel_job", tag = "jobs", params(("id" = u64, Path, description = "Number of a job")), responses((status = 200, body = JobRow, description = "it ends, or ended already"), Problems))]
pub(super) async fn cancel(
    State(service): State<Arc<Service>>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<JobRow>, Problem> {
    let Path(id) = id?;
    service.jobs.cancel(id)?;
    Ok(Json(service.jobs.row(id)?))
}
