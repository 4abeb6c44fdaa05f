//! Faults that were seen, each for itself.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clipseek::decode::{DecodeError, Decoder, Frame, Frames, Outcome, Probe, ProblemKind, Request, Survey};
use clipseek::embed::head::MeanHead;
use clipseek::embed::model::VideoModel;
use clipseek::embed::{EmbedError, Feature, FrameEncoder};
use clipseek::ingest::{Ingest, Lazy, Model, Priority, WorkItem, batch};
use clipseek::ledger::{FailureKind, FileState, Owned, Said};
use clipseek::source::MediaId;
use clipseek::store::Selection;
use clipseek::thumbs;
use clipseek::verify::{DifferenceKind, Repair};
use tokio_util::sync::CancellationToken;

use super::faults::FaultyCatalog;
use super::footage::{BytesDecoder, Mishap};
use super::world::{Run, World, content, frames, visible};

/// A world with one archive that stays open, and a store without faults.
struct Scene {
    world: World,
    catalog: FaultyCatalog,
}

impl Scene {
    fn new() -> Self {
        Self { world: World::new(), catalog: FaultyCatalog::default() }
    }

    async fn index(&self, run: &Run) -> batch::Totals {
        self.world.index(Arc::new(self.catalog.clone()), self.world.files(), run).await.unwrap()
    }

    async fn shown(&self, bundle: usize) -> Vec<(MediaId, String)> {
        let archive = self.world.archive(Arc::new(self.catalog.clone())).await;
        visible(&archive, &self.world.spec(bundle).name).await.into_keys().collect()
    }

    /// Kinds of what differs.
    async fn differences(&self, repair: Option<&dyn Repair>) -> Vec<DifferenceKind> {
        let (differences, _) = self.world.verify(Arc::new(self.catalog.clone()), repair).await;
        differences.into_iter().map(|difference| difference.kind).collect()
    }

    async fn is_clean(&self) {
        let (differences, summary) = self.world.verify(Arc::new(self.catalog.clone()), None).await;
        assert!(differences.is_empty() && summary.unknown == 0, "{differences:#?} {summary:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_written_to_while_it_is_read_leaves_no_window() {
    let scene = Scene::new();
    scene.world.write(&scene.world.path(0), &[7; 30]);
    let totals = scene.index(&Run { mishap: Mishap::Grows(20), ..Run::default() }).await;
    assert_eq!(totals.failed[0].1.kind, FailureKind::ChangedWhileRead);
    assert_eq!(scene.shown(0).await, []);
    let archive = scene.world.archive(Arc::new(scene.catalog.clone())).await;
    let store = archive.existing(&scene.world.spec(0).name).await.unwrap().unwrap();
    assert_eq!(store.count(None).await.unwrap(), 0);
    drop(archive);
    scene.is_clean().await;
    assert_eq!(scene.index(&Run::default()).await.indexed, 1);
}

#[tokio::test]
async fn another_plan_that_fails_half_way_leaves_the_old_one_as_it_was() {
    let scene = Scene::new();
    let path = scene.world.path(0);
    scene.world.write(&path, &[7; 30]);
    scene.index(&Run::default()).await;
    let before = scene.shown(0).await;
    let totals = scene.index(&Run { plan: 1, mishap: Mishap::Dies(25), ..Run::default() }).await;
    assert_eq!(totals.failed[0].1.kind, FailureKind::DecoderDied);
    assert_eq!(scene.shown(0).await, before);
    scene.is_clean().await;
    let archive = scene.world.archive(Arc::new(scene.catalog.clone())).await;
    let file = archive.ledger.file(&path, &scene.world.spec(0).name).await.unwrap().unwrap();
    assert_eq!((file.state, file.media_id), (FileState::Failed, Some(content(&path))));
    drop(archive);
    assert_eq!(scene.index(&Run::default()).await.known, 1, "nothing of the old plan was lost");
}

#[tokio::test]
async fn a_retry_keeps_label_and_tags() {
    let scene = Scene::new();
    scene.world.write(&scene.world.path(0), &[7; 30]);
    let said = Said { label: Some("garage".into()), tags: vec!["night".into()] };
    scene.index(&Run { mishap: Mishap::Grows(5), said: said.clone(), ..Run::default() }).await;
    assert_eq!(scene.index(&Run::default()).await.indexed, 1);
    let archive = scene.world.archive(Arc::new(scene.catalog.clone())).await;
    let store = archive.existing(&scene.world.spec(0).name).await.unwrap().unwrap();
    for record in store.scan(None, None, 100).await.unwrap().items {
        assert_eq!((record.payload.label, record.payload.tags), (said.label.clone(), said.tags.clone()));
    }
}

#[tokio::test]
async fn two_models_do_not_interrupt_each_others_pictures() {
    let scene = Scene::new();
    let path = scene.world.path(0);
    scene.world.write(&path, &[7; 200]);
    let stopped = scene.index(&Run { stop_at: Some(1), ..Run::default() }).await;
    assert_eq!(stopped.interrupted.len() as u64 + stopped.left, 1);
    scene.index(&Run { bundle: 1, ..Run::default() }).await;
    scene.index(&Run::default()).await;
    scene.is_clean().await;
    let archive = scene.world.archive(Arc::new(scene.catalog.clone())).await;
    for (bundle, end) in [(0, 200 / 4), (1, 200 / 2)] {
        let plan = scene.world.plan(bundle, 0).key();
        let owned = Owned { media_id: content(&path), collection: scene.world.spec(bundle).name, plan };
        let last = archive.thumbs.last(&thumbs::Key::of(&owned)).unwrap().unwrap();
        assert!(last.as_secs() + 2 >= end, "{last:?} of {end} s");
    }
}

/// How many decode the same content at once.
#[derive(Default)]
struct Watched {
    inside: Arc<Mutex<HashMap<MediaId, u32>>>,
    most: Arc<AtomicU32>,
    opened: AtomicU32,
}

struct Inside {
    frames: Box<dyn Frames>,
    media: MediaId,
    inside: Option<Arc<Mutex<HashMap<MediaId, u32>>>>,
}

impl Inside {
    /// Before the last item is given: what the decoder does behind it concerns nobody.
    fn leave(&mut self) {
        if let Some(inside) = self.inside.take() {
            *inside.lock().unwrap().get_mut(&self.media).unwrap() -= 1;
        }
    }
}

impl Iterator for Inside {
    type Item = Result<Frame, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        std::thread::sleep(Duration::from_millis(3));
        let item = self.frames.next();
        if !matches!(item, Some(Ok(_))) {
            self.leave();
        }
        item
    }
}

impl Frames for Inside {
    fn probe(&self) -> &Probe {
        self.frames.probe()
    }

    fn outcome(&self) -> Option<&Outcome> {
        self.frames.outcome()
    }
}

impl Decoder for Watched {
    fn open(&self, request: &Request, stop: CancellationToken) -> Result<Box<dyn Frames>, DecodeError> {
        let media = content(&request.path);
        let mishap = if self.opened.fetch_add(1, SeqCst) == 0 { Mishap::Dies(3) } else { Mishap::None };
        let frames = BytesDecoder::with(mishap).open(request, stop)?;
        let mut inside = self.inside.lock().unwrap();
        let now = inside.entry(media).or_default();
        *now += 1;
        self.most.fetch_max(*now, SeqCst);
        Ok(Box::new(Inside { frames, media, inside: Some(Arc::clone(&self.inside)) }))
    }

    fn survey(&self, _: &Path, _: CancellationToken) -> Result<Survey, DecodeError> {
        Err(DecodeError::Setup("indexing does not survey".into()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_with_the_same_content_wait_for_each_other_even_where_the_first_one_fails() {
    let scene = Scene::new();
    for path in 0..5 {
        scene.world.write(&scene.world.path(path), &[7; 30]);
    }
    let archive = Arc::new(scene.world.archive(Arc::new(scene.catalog.clone())).await);
    let watched = Arc::new(Watched::default());
    let ingest =
        Ingest { decoder: Arc::clone(&watched) as Arc<dyn Decoder>, ..scene.world.ingest(&archive, &Run::default()) };
    let totals = batch::run(&Arc::new(ingest), items(&scene.world), 4, &CancellationToken::new()).await;
    assert_eq!((totals.failed.len(), totals.indexed, totals.known), (1, 1, 3), "{totals:?}");
    assert_eq!(watched.most.load(SeqCst), 1);
    drop(archive);
    scene.is_clean().await;
}

/// A picture of zeros has no direction; the device refuses pictures of thirteens.
struct Moody;

impl FrameEncoder for Moody {
    fn encode(&mut self, frames: &[Frame]) -> Result<Vec<Feature>, EmbedError> {
        if frames.iter().any(|frame| frame.pixels.data[0] == 13) {
            return Err(EmbedError::Runtime("the device refused it".into()));
        }
        let feature = |frame: &Frame| {
            let value = f32::from(frame.pixels.data[0]);
            Feature { pts: frame.pts, values: (0..16).map(|n| value * (n + 1) as f32).collect() }
        };
        Ok(frames.iter().map(feature).collect())
    }
}

fn items(world: &World) -> Vec<WorkItem> {
    let plan = world.plan(0, 0);
    let item = |path| WorkItem { path, said: Said::default(), plan: Arc::clone(&plan), priority: Priority::Asked };
    world.files().into_iter().map(item).collect()
}

async fn with_a_moody_model(scene: &Scene) -> batch::Totals {
    let archive = Arc::new(scene.world.archive(Arc::new(scene.catalog.clone())).await);
    let model = || Model {
        video: VideoModel::of_frames(Box::new(Moody), Box::new(MeanHead), "moody", 4).unwrap(),
        scope: None,
    };
    let ingest = Ingest {
        model: Lazy::new(move || std::future::ready(Ok(model()))),
        ..scene.world.ingest(&archive, &Run::default())
    };
    batch::run(&Arc::new(ingest), items(&scene.world), 2, &CancellationToken::new()).await
}

#[tokio::test]
async fn a_window_without_direction_is_a_problem_of_that_window() {
    let scene = Scene::new();
    scene.world.write(&scene.world.path(0), &[&[5; 12][..], &[0; 8], &[6; 12]].concat());
    let totals = with_a_moody_model(&scene).await;
    assert_eq!((totals.indexed, totals.failed.len()), (1, 0), "{totals:?}");
    let problems = &totals.with_problems[0].1;
    assert!(problems.iter().all(|problem| problem.kind == ProblemKind::NoDirection), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.start_s == Some(3.0)), "{problems:?}");
    scene.is_clean().await;
}

#[tokio::test]
async fn a_batch_that_the_device_refuses_fails_its_file_and_many_in_a_row_end_the_run() {
    let scene = Scene::new();
    scene.world.write(&scene.world.path(0), &[13; 12]);
    scene.world.write(&scene.world.path(1), &[5; 12]);
    let totals = with_a_moody_model(&scene).await;
    assert_eq!((totals.indexed, totals.failed.len()), (1, 1), "{totals:?}");
    assert_eq!(totals.failed[0].1.kind, FailureKind::Model);
    assert!(totals.fatal.is_none(), "{totals:?}");

    for path in 0..12 {
        scene.world.write(&scene.world.path(path), &[&[13; 12][..], &[path as u8]].concat());
    }
    let totals = with_a_moody_model(&scene).await;
    let fatal = totals.fatal.expect("it is not the files' fault").to_string();
    assert!(fatal.contains("files in a row failed in the model") && fatal.contains("refused"), "{fatal}");
    assert!(totals.failed.len() < 12 && totals.left > 0);
    scene.is_clean().await;
}

struct Everything;

impl Repair for Everything {
    fn takes_over(&self, _: &str) -> bool {
        true
    }
}

#[tokio::test]
async fn a_check_finds_that_times_of_frames_are_missing_and_has_them_made_again() {
    let scene = Scene::new();
    for path in 0..2 {
        scene.world.write(&scene.world.path(path), &[7 + path as u8; 30]);
    }
    scene.index(&Run::default()).await;
    let collection = scene.world.spec(0).name;
    let archive = scene.world.archive(Arc::new(scene.catalog.clone())).await;
    let store = archive.existing(&collection).await.unwrap().unwrap();
    // What is scanned has no frames.
    let record = store.scan(None, None, 1).await.unwrap().items.remove(0);
    assert!(!store.keys(None, None, 1).await.unwrap().items[0].frames.is_empty());
    store.upsert(&[record]).await.unwrap();
    store.flush().await.unwrap();
    drop((store, archive));
    assert_eq!(scene.differences(None).await, [DifferenceKind::RecordsDiffer]);
    assert_eq!(scene.differences(Some(&Everything)).await, [DifferenceKind::RecordsDiffer]);
    scene.is_clean().await;
    assert_eq!(scene.index(&Run::default()).await.indexed, 1, "it was queued again");
    scene.is_clean().await;
}

#[tokio::test]
async fn a_check_finds_that_features_of_frames_are_missing_and_has_them_made_again() {
    let scene = Scene::new();
    for path in 0..2 {
        scene.world.write(&scene.world.path(path), &[7 + path as u8; 30]);
    }
    scene.index(&Run::default()).await;
    let (path, plan) = (scene.world.path(1), scene.world.plan(0, 0).key());
    let lost = content(&path);
    scene.catalog.lose_frames(lost);
    assert_eq!(scene.differences(None).await, [DifferenceKind::FramesLost]);
    assert_eq!(scene.differences(Some(&Everything)).await, [DifferenceKind::FramesLost]);
    assert_eq!(scene.index(&Run::default()).await.indexed, 1, "it was queued again");
    scene.is_clean().await;

    // Where its file is gone, the windows are kept.
    let before = scene.shown(0).await;
    std::fs::remove_file(path).unwrap();
    scene.catalog.lose_frames(lost);
    assert_eq!(scene.differences(Some(&Everything)).await, [DifferenceKind::FramesLost]);
    scene.is_clean().await;
    assert_eq!(scene.shown(0).await, before);
    let archive = scene.world.archive(Arc::new(scene.catalog.clone())).await;
    let store = archive.existing(&scene.world.spec(0).name).await.unwrap().unwrap();
    assert_eq!(frames(store.as_ref(), lost, &plan).await, []);
    assert_eq!(
        store.with_frames(None).await.unwrap(),
        store.with_frames(Some(&Selection::medium(content(&scene.world.path(0))))).await.unwrap()
    );
}

/// Windows that the model gave no direction are not stored; those beside them keep what frames they have of them.
#[tokio::test]
async fn a_window_without_direction_takes_no_frames_with_it() {
    let scene = Scene::new();
    let path = scene.world.path(0);
    // Five windows of four frames each, half overlapping; that of the zeros alone has no direction.
    scene.world.write(&path, &[5, 5, 5, 5, 0, 0, 0, 0, 6, 6, 6, 6]);
    let totals = with_a_moody_model(&scene).await;
    assert_eq!((totals.indexed, totals.windows), (1, 4), "{totals:?}");
    let archive = scene.world.archive(Arc::new(scene.catalog.clone())).await;
    let store = archive.existing(&scene.world.spec(0).name).await.unwrap().unwrap();
    let kept = frames(store.as_ref(), content(&path), &scene.world.plan(0, 0).key()).await;
    let times: Vec<u128> = kept.iter().map(|frame| frame.feature.pts.as_millis()).collect();
    assert_eq!(times, (0..12).map(|number| number * 250).collect::<Vec<_>>());
    let first_values: Vec<f32> = kept.iter().map(|frame| frame.feature.values[0]).collect();
    assert_eq!(first_values, [5.0, 5.0, 5.0, 5.0, 0.0, 0.0, 0.0, 0.0, 6.0, 6.0, 6.0, 6.0]);
}
