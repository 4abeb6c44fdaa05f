//! `clipseek media export`: prints a JSON line per window.

use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use super::app::App;
use super::index::absolute_model;
use super::{End, output};
use crate::media::Export;

#[derive(Args)]
pub(super) struct ExportArgs {
    /// Name of a model or its folder
    #[arg(long, value_name = "NAME|DIR")]
    model: Option<String>,
    /// Include each window's vector
    #[arg(long)]
    vectors: bool,
}

pub(super) async fn run(app: &App, args: ExportArgs) -> anyhow::Result<End> {
    if let Some(client) = app.daemon().await? {
        let mut lines = client.export(absolute_model(args.model)?.as_deref(), args.vectors).await?;
        while let Some(lines) = lines.next().await?.filter(|_| output::is_open()) {
            print!("{lines}");
        }
        return Ok(End::Done);
    }
    let archive = app.existing_archive().await?.context("nothing is indexed yet")?;
    let collection = app.outline(args.model.as_deref(), Some(&archive.ledger)).await?.1.collection();
    let mut export = Export::begin(Arc::new(archive), collection, args.vectors).await?;
    while let Some(lines) = export.next().await?.filter(|_| output::is_open()) {
        print!("{lines}");
    }
    Ok(End::Done)
}
