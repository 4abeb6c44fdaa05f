//! `clipseek verify`: checks that ledger, store and pictures agree, and repairs differences.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use serde_json::json;

use super::app::App;
use super::follow::follow;
use super::{End, text};
use crate::service::jobs::{JobRequest, JobResult, Verified};
use crate::verify::{Difference, Repair, Summary, verify};

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// Repair the differences (each repair is printed; videos are never touched)
    #[arg(long)]
    repair: bool,
    /// Answer yes when the repair asks whether to take over a collection of another data folder
    #[arg(long, requires = "repair")]
    yes: bool,
}

struct Ask {
    yes: bool,
}

impl Repair for Ask {
    fn takes_over(&self, collection: &str) -> bool {
        if self.yes {
            return true;
        }
        if !std::io::stdin().is_terminal() {
            return false;
        }
        eprint!(
            "{collection} belongs to another data folder, or to a ledger that was lost. If another clipseek writes to it, \
             do not take it over. Take it over? [y/N] "
        );
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }
}

pub(super) async fn run(app: &App, args: VerifyArgs) -> anyhow::Result<End> {
    if let Some(client) = app.daemon().await? {
        let VerifyArgs { repair, yes } = args;
        let Some(row) = follow(app, &client, &JobRequest::Verify { repair, yes }).await? else {
            return Ok(End::Interrupted);
        };
        let Some(JobResult::Verify(verified)) = row.result else { bail!("the daemon gives no result") };
        let Verified { differences, missing, unknown, records } = verified;
        if !app.json {
            differences.iter().for_each(print_difference);
        }
        let repaired = differences.iter().filter(|difference| difference.repaired).count() as u64;
        let missing = missing.into_iter().map(PathBuf::from).collect();
        let summary = Summary { differences: differences.len() as u64, repaired, missing, unknown, records };
        return Ok(report(app, &differences, &summary));
    }
    let _lock = app.lock()?;
    let Some(archive) = app.existing_archive().await? else {
        if app.json {
            println!("{}", json!({"differences": [], "missing": [], "unknown": 0}));
        } else {
            println!("nothing is indexed yet");
        }
        return Ok(End::Done);
    };
    let ask = Ask { yes: args.yes };
    let repair: Option<&dyn Repair> = if args.repair { Some(&ask) } else { None };
    let mut differences = Vec::new();
    let mut found = |difference: Difference| {
        if app.json {
            differences.push(difference);
        } else {
            print_difference(&difference);
        }
    };
    let summary = verify(&archive, repair, &mut found).await?;
    Ok(report(app, &differences, &summary))
}

/// What is said after the differences, or all of it as JSON.
fn report(app: &App, differences: &[Difference], summary: &Summary) -> End {
    if app.json {
        let missing: Vec<_> = summary.missing.iter().map(|path| path.to_string_lossy()).collect();
        println!("{}", json!({"differences": differences, "missing": missing, "unknown": summary.unknown}));
    } else {
        for path in &summary.missing {
            println!("missing: {} (still searchable; `clipseek media remove --missing` removes it)", text::path(path));
        }
        if summary.unknown > 0 {
            println!(
                "{} of media that the ledger does not know: not shown in searches, taken up when their file is indexed; \
                 `clipseek media remove --unknown` removes them",
                text::count(summary.unknown, "window")
            );
        }
        println!("{}", conclusion(summary));
    }
    if summary.differences == summary.repaired { End::Done } else { End::Failed }
}

fn print_difference(difference: &Difference) {
    let kind = serde_json::to_value(difference.kind).unwrap_or_default();
    let whose = match (&difference.path, &difference.media_id, &difference.collection) {
        (Some(path), ..) => text::path(path),
        (None, Some(media), _) => media.to_string(),
        (None, None, Some(collection)) => collection.clone(),
        (None, None, None) => "-".to_owned(),
    };
    let state = if difference.repaired { "repaired" } else { "differs" };
    println!("{state}: {whose}: {} ({})", difference.detail, kind.as_str().unwrap_or_default());
}

fn conclusion(summary: &Summary) -> String {
    let compared = text::count(summary.records, "window");
    match (summary.differences, summary.repaired) {
        (0, _) => format!("{compared} compared: ledger, store and pictures agree"),
        (all, repaired) if all == repaired => format!(
            "{compared} compared, {} repaired; `clipseek index` goes on with what was queued again",
            text::count(all, "difference")
        ),
        (all, 0) => {
            format!("{compared} compared, {}; `clipseek verify --repair` mends", text::count(all, "difference"))
        }
        (all, repaired) => format!(
            "{compared} compared, {}, {repaired} of them repaired; the others need your consent: add --yes",
            text::count(all, "difference")
        ),
    }
}
