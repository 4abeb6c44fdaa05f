//! `clipseek sources`: what the daemon watches.

use anyhow::Context;
use serde::Serialize;
use serde_json::json;

use super::app::App;
use super::{End, text};
use crate::service::sources::SourceRow;

pub(super) async fn run(app: &App) -> anyhow::Result<End> {
    let client = app.daemon().await?.with_context(|| {
        format!("no daemon is running for {}: clipseek serve FOLDER", app.settings.data_dir.display())
    })?;
    let rows = client.sources().await?;
    if app.json {
        println!("{}", json!({ "sources": rows }));
    } else if rows.is_empty() {
        println!("nothing is watched");
    } else {
        print!("{}", table(&rows));
    }
    Ok(if rows.is_empty() { End::Nothing } else { End::Done })
}

fn table(rows: &[SourceRow]) -> String {
    let line = |row: &SourceRow| {
        vec![
            row.name.clone(),
            word(row.kind),
            word(row.state),
            row.since.clone(),
            row.pending.to_string(),
            row.files.to_string(),
            row.failed.to_string(),
            row.frames.to_string(),
            row.last_frame_age_s.map(|age| format!("{age:.1} s")).unwrap_or_default(),
            (row.dropped + row.dropped_windows).to_string(),
            row.path
                .as_deref()
                .map(|path| text::path(std::path::Path::new(path)))
                .or(row.uri.clone())
                .unwrap_or_default(),
            row.error.clone().unwrap_or_default(),
        ]
    };
    let head = [
        "name",
        "kind",
        "state",
        "since",
        "pending",
        "files",
        "failed",
        "frames",
        "last frame",
        "dropped",
        "path",
        "error",
    ];
    text::table(&head, &rows.iter().map(line).collect::<Vec<_>>())
}

/// A value's name in JSON.
fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
