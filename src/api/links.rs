//! Links by which a browser gets in once.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::{Deserialize, Serialize};

use super::access::Access;
use super::error::{Problem, Problems};
use crate::config::Role;
use crate::service::Service;

#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkRequest {
    pub(super) role: Role,
}

#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub(super) struct Link {
    pub(super) link: String,
}

#[utoipa::path(post, path = "/v1/links", operation_id = "make_link", tag = "daemon", request_body = LinkRequest, responses((status = 200, body = Link, description = "a link by which a browser gets in once"), Problems))]
pub(super) async fn make(
    State(service): State<Arc<Service>>,
    State(access): State<Arc<Access>>,
    request: Result<Json<LinkRequest>, JsonRejection>,
) -> Result<Json<Link>, Problem> {
    let Json(LinkRequest { role }) = request?;
    if !access.is_guarded() {
        return Err(Problem::conflict("the daemon has no [[token]], so nobody needs a link: open its address"));
    }
    let base = service.url.get().cloned().unwrap_or_default();
    Ok(Json(Link { link: base + &access.link(role) }))
}
