//! The models that are there, and the program itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::error::Problem;
use crate::embed::bundle::Listed;
use crate::service::Service;

pub(super) async fn list(State(service): State<Arc<Service>>) -> Result<Json<Value>, Problem> {
    let chosen = service.parts.choose(None, Some(&service.archive.ledger)).await;
    let chosen = chosen.map(|chosen| chosen.name).ok();
    let bundles = service.parts.bundles();
    let listed = tokio::task::spawn_blocking(move || bundles.list()).await;
    let listed = listed.map_err(|error| Problem::internal(error.to_string()))?;
    let models: Vec<Value> = listed
        .into_iter()
        .filter_map(|Listed { manifest, .. }| {
            let manifest = manifest.ok()?;
            Some(json!({
                "name": manifest.name,
                "summary": manifest.summary,
                "dim": manifest.dim,
                "frames": manifest.video.frames,
                "licence": manifest.licence,
                "source": manifest.source,
                "captions": manifest.captions.is_some(),
                "rerank": manifest.rerank.is_some(),
                "selected": chosen.as_ref() == Some(&manifest.name),
            }))
        })
        .collect();
    Ok(Json(json!({ "models": models })))
}

pub(super) async fn version() -> Json<Value> {
    Json(json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") }))
}
