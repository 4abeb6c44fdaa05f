//! `clipseek media export`: prints a JSON line per window.

use std::fmt::Write;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::app::App;
use super::text::seconds;
use super::{End, output};

const PAGE: usize = 1000;

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
    let archive = app.existing_archive().await?.context("nothing is indexed yet")?;
    let ledger = &archive.ledger;
    let collection = app.outline(args.model.as_deref(), Some(ledger)).await?.1.collection();
    let store = archive.existing(&collection).await?.with_context(|| format!("nothing is indexed in {collection}"))?;
    let mut after = None;
    loop {
        let (page, mut lines) = (store.scan(None, after, PAGE).await?, String::new());
        let mut whose: Vec<_> = page.items.iter().map(|r| (r.payload.media_id, r.payload.plan.clone())).collect();
        whose.sort();
        whose.dedup();
        let hidden = ledger.hidden(&collection, whose).await?;
        for record in &page.items {
            let payload = &record.payload;
            if hidden.iter().any(|(media, plan)| *media == payload.media_id && *plan == payload.plan) {
                continue;
            }
            let files = ledger.files_of(payload.media_id).await?;
            let path = files.iter().find(|file| file.path.exists()).or(files.first());
            let mut line = json!({
                "id": record.id,
                "media_id": payload.media_id,
                "path": path.map(|file| file.path.to_string_lossy().into_owned()),
                "start_s": seconds(payload.start),
                "end_s": seconds(payload.end),
                "label": payload.label,
                "tags": payload.tags,
                "caption": payload.caption,
            });
            if args.vectors {
                line["vector"] = json!(record.vector.as_slice());
            }
            writeln!(lines, "{line}")?;
        }
        print!("{lines}");
        after = page.next;
        if after.is_none() || !output::is_open() {
            return Ok(End::Done);
        }
    }
}
