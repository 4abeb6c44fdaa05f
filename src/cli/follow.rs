//! Follows a job of the daemon to its end. Ctrl-C leaves it to itself.

use std::path::Path;
use std::time::Duration;

use anyhow::bail;

use super::app::App;
use super::progress::ProgressBars;
use super::text;
use crate::api::client::Client;
use crate::ingest::{Event, Indexed, Observer, Report};
use crate::ledger::Failure;
use crate::service::jobs::{JobRequest, JobRow};
use crate::service::news::{JobState, News, Outcome};

/// Follows it to its end. `None`: the user left it to itself, and has been told.
pub(super) async fn follow(app: &App, client: &Client, request: &JobRequest) -> anyhow::Result<Option<JobRow>> {
    // Listen first, so that nothing is missed.
    let mut events = client.events().await?;
    let row = client.ask(request).await?;
    let (id, mut bars) = (row.id, None);
    if let Some(before) = client.jobs().await?.into_iter().find(|row| row.id < id && row.state == JobState::Running) {
        app.say(format_args!("the daemon does this after job {} ({})", before.id, before.kind));
    }
    let left = tokio::signal::ctrl_c();
    tokio::pin!(left);
    loop {
        tokio::select! {
            biased;
            _ = &mut left => {
                finish(bars.as_ref());
                app.say(format_args!("the daemon goes on with it by itself (job {id})"));
                return Ok(None);
            }
            news = events.next() => match news? {
                Some(news) => {
                    for news in news {
                        if is_over(&news, id) {
                            finish(bars.as_ref());
                            return over(client.job(id).await?).map(Some);
                        }
                        tell(app, id, news, &mut bars);
                    }
                }
                None => {
                    finish(bars.as_ref());
                    bail!("the daemon ended before the job did: the same command goes on from there");
                }
            },
        }
    }
}

fn over(row: JobRow) -> anyhow::Result<JobRow> {
    match row {
        JobRow { error: Some(error), .. } => bail!("{error}"),
        JobRow { state: JobState::Cancelled, result: None, id, .. } => bail!("job {id} was cancelled"),
        row => Ok(row),
    }
}

fn finish(bars: Option<&ProgressBars>) {
    if let Some(bars) = bars {
        bars.finish();
    }
}

fn is_over(news: &News, id: u64) -> bool {
    matches!(news, News::Job { job, state } if *job == id && state.is_over())
}

fn tell(app: &App, id: u64, news: News, bars: &mut Option<ProgressBars>) {
    if let News::Found { job, files, bytes, unreadable, loops } = &news {
        if *job == id {
            for file in unreadable {
                app.say(format_args!("failed: {}: {}", text::path(Path::new(&file.path)), file.reason));
            }
            for path in loops {
                app.say(format_args!("{} leads back to a folder above it: not followed", text::path(Path::new(path))));
            }
            *bars = Some(ProgressBars::new(*files, *bytes, app.quiet));
        }
        return;
    }
    let Some(bars) = bars else { return };
    let of_job = Some(id);
    match news {
        // The model may be opened for a source at the same time.
        News::Model { model, device, .. } => bars.event(Event::ModelOpened { model: &model, device: &device }),
        News::Begun { job, path, probe } if job == of_job => {
            bars.event(Event::Probed { path: Path::new(&path), probe: &probe });
        }
        News::Advanced { job, path, at_s } if job == of_job => {
            let pts = Duration::try_from_secs_f64(at_s).unwrap_or_default();
            bars.event(Event::Advanced { path: Path::new(&path), pts, frames: 0 });
        }
        News::Ended { job, path, outcome } if job == of_job => {
            bars.event(Event::Ended { path: Path::new(&path), report: &report(outcome) });
        }
        News::Failed { job, path, kind, reason } if job == of_job => {
            bars.event(Event::Failed { path: Path::new(&path), failure: &Failure { kind, reason } });
        }
        News::Optimizing { job, windows } if job == of_job => bars.event(Event::Optimizing { windows }),
        _ => {}
    }
}

/// As much of a report as progress shows.
fn report(outcome: Outcome) -> Report {
    match outcome {
        Outcome::Unchanged => Report::Unchanged,
        Outcome::Known => Report::Known,
        Outcome::Interrupted => Report::Interrupted { at: Duration::ZERO },
        Outcome::Indexed { windows, duration_s, sampling } => Report::Indexed(Indexed {
            windows,
            duration: Duration::try_from_secs_f64(duration_s).unwrap_or_default(),
            sampling,
            problems: Vec::new(),
            decode_cpu_secs: 0.0,
            out_of_scope: false,
        }),
    }
}
