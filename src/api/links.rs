//! Links by which a browser gets in once.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::{Deserialize, Serialize};

use super::access::Access;
use super::error::Problem;
use crate::config::Role;
use crate::service::Service;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkRequest {
    pub(super) role: Role,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) link: String,
}

pub(super) async fn make(
    State((service, access)): State<(Arc<Service>, Arc<Access>)>,
    request: Result<Json<LinkRequest>, JsonRejection>,
) -> Result<Json<Link>, Problem> {
    let Json(LinkRequest { role }) = request?;
    if !access.is_guarded() {
        return Err(Problem::conflict("the daemon has no [[token]], so nobody needs a link: open its address"));
    }
    let base = service.url.get().cloned().unwrap_or_default();
    Ok(Json(Link { link: base + &access.link(role) }))
}
