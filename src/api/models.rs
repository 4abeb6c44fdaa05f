//! The models that are there, and the program itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{Problem, Problems};
use crate::embed::bundle::Listed;
use crate::service::Service;

#[derive(Serialize, ToSchema)]
pub(super) struct Models {
    models: Vec<Model>,
}

#[derive(Serialize, ToSchema)]
struct Model {
    name: String,
    summary: String,
    /// Values of a vector.
    dim: usize,
    /// Frames of a window.
    frames: usize,
    licence: String,
    /// Where its weights come from.
    source: String,
    /// Whether it writes captions, and whether it judges windows again.
    captions: bool,
    rerank: bool,
    /// Searches use it if they name none.
    selected: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Version {
    name: &'static str,
    version: &'static str,
}

#[utoipa::path(get, path = "/v1/models", operation_id = "list_models", tag = "daemon", responses((status = 200, body = Models, description = "the models that are installed"), Problems))]
pub(super) async fn list(State(service): State<Arc<Service>>) -> Result<Json<Models>, Problem> {
    let chosen = service.parts.choose(None, Some(&service.archive.ledger)).await;
    let chosen = chosen.map(|chosen| chosen.name).ok();
    let bundles = service.parts.bundles();
    let listed = tokio::task::spawn_blocking(move || bundles.list()).await;
    let listed = listed.map_err(|error| Problem::internal(error.to_string()))?;
    let models = listed
        .into_iter()
        .filter_map(|Listed { manifest, .. }| {
            let manifest = manifest.ok()?;
            Some(Model {
                selected: chosen.as_ref() == Some(&manifest.name),
                name: manifest.name,
                summary: manifest.summary,
                dim: manifest.dim,
                frames: manifest.video.frames,
                licence: manifest.licence,
                source: manifest.source,
                captions: manifest.captions.is_some(),
                rerank: manifest.rerank.is_some(),
            })
        })
        .collect();
    Ok(Json(Models { models }))
}

#[utoipa::path(get, path = "/v1/version", tag = "daemon", responses((status = 200, body = Version, description = "what runs here"), Problems))]
pub(super) async fn version() -> Json<Version> {
    Json(Version { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") })
}
