//! What should be so, as plainly as it can be said, and whether it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clipseek::archive::Archive;
use clipseek::ledger::{FileState, ProgressState, Said};
use clipseek::source::{MediaId, Stat};
use clipseek::store::Catalog;
use clipseek::verify::DifferenceKind;

use super::footage::DAMAGED;
use super::world::{BUNDLES, Run, World, content, frames, visible};

/// What a path stands for in one collection.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    state: FileState,
    content: Option<MediaId>,
    stat: Option<Stat>,
}

#[derive(Default)]
pub(crate) struct Model {
    entries: BTreeMap<(PathBuf, usize), Entry>,
    /// The plan under which a content is in a collection.
    plans: BTreeMap<(MediaId, usize), usize>,
    /// All that were ever seen.
    bytes: BTreeMap<MediaId, Vec<u8>>,
}

impl Model {
    /// A run over all files that went well.
    pub(crate) fn indexed(&mut self, world: &World, run: &Run, files: &[PathBuf]) {
        let (bundle, plan) = (run.bundle, run.plan);
        let mut found = BTreeSet::new();
        for path in files {
            let bytes = std::fs::read(path).unwrap();
            let (id, stat) = (content(path), Stat::of(path).unwrap());
            self.bytes.insert(id, bytes.clone());
            let before = self.entries.get(&(path.clone(), bundle)).cloned();
            let unchanged = before.as_ref().is_some_and(|entry| {
                entry.state == FileState::Indexed
                    && entry.stat == Some(stat)
                    && entry.content.is_some_and(|id| self.plans.get(&(id, bundle)) == Some(&plan))
            });
            if unchanged {
                continue;
            }
            let entry = if bytes[0] == DAMAGED {
                Entry { state: FileState::Failed, content: before.and_then(|entry| entry.content), stat: Some(stat) }
            } else {
                found.insert(id);
                self.plans.insert((id, bundle), plan);
                Entry { state: FileState::Indexed, content: Some(id), stat: Some(stat) }
            };
            self.entries.insert((path.clone(), bundle), entry);
        }
        let moved = |path: &Path, entry: &Entry| entry.content.is_some_and(|id| found.contains(&id)) && !path.exists();
        self.entries.retain(|(path, in_bundle), entry| *in_bundle != bundle || !moved(path, entry));
        self.forget_plans();
        let _ = world;
    }

    pub(crate) fn removed(&mut self, gone: impl Fn(&Path, Option<MediaId>) -> bool) {
        self.entries.retain(|(path, _), entry| !gone(path, entry.content));
        self.forget_plans();
    }

    pub(crate) fn forgot_everything(&mut self) {
        self.entries.clear();
        self.plans.clear();
    }

    fn forget_plans(&mut self) {
        let stand: BTreeSet<_> =
            self.entries.iter().filter_map(|((_, bundle), entry)| Some((entry.content?, *bundle))).collect();
        self.plans.retain(|key, _| stand.contains(key));
    }

    pub(crate) fn contents(&self) -> Vec<MediaId> {
        let mut all: Vec<_> = self.entries.values().filter_map(|entry| entry.content).collect();
        all.sort();
        all.dedup();
        all
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let mut all: Vec<_> = self.entries.keys().map(|(path, _)| path.clone()).collect();
        all.dedup();
        all
    }

    pub(crate) fn failed(&self, bundle: usize) -> Vec<PathBuf> {
        let failed = |(_, entry): &(&(PathBuf, usize), &Entry)| entry.state == FileState::Failed;
        let of_bundle = |((path, of), _): (&(PathBuf, usize), &Entry)| (*of == bundle).then(|| path.clone());
        self.entries.iter().filter(failed).filter_map(of_bundle).collect()
    }

    /// Everything is as it should be.
    pub(crate) async fn check(&self, world: &World, catalog: &Arc<dyn Catalog>, said: Option<&Said>) {
        let (differences, _) = world.verify(Arc::clone(catalog), None).await;
        assert!(differences.is_empty(), "verify: {differences:#?}");
        let archive = world.archive(Arc::clone(catalog)).await;
        for bundle in 0..BUNDLES {
            let collection = world.spec(bundle).name;
            let store = archive.existing(&collection).await.unwrap();
            let mut wanted = BTreeMap::new();
            for ((id, of), plan) in &self.plans {
                if *of == bundle {
                    let (tally, all) = world.expected(bundle, *plan, &self.bytes[id]).await;
                    let plan = world.plan(bundle, *plan).key();
                    assert_eq!(frames(store.as_deref().unwrap(), *id, &plan).await, all, "frames of {id}");
                    wanted.insert((*id, plan), tally);
                }
            }
            assert_eq!(visible(&archive, &collection).await, wanted, "records shown in {collection}");
        }
        self.check_files(world, &archive).await;
        self.check_labels(world, &archive, said).await;
    }

    async fn check_files(&self, world: &World, archive: &Archive) {
        let listed: BTreeMap<_, _> = archive
            .ledger
            .listing(|_| true)
            .await
            .unwrap()
            .into_iter()
            .map(|(file, _)| {
                let bundle = (0..BUNDLES).find(|bundle| world.spec(*bundle).name == file.collection).unwrap();
                ((file.path, bundle), (file.state, file.media_id))
            })
            .collect();
        let wanted: BTreeMap<_, _> =
            self.entries.iter().map(|(key, entry)| (key.clone(), (entry.state, entry.content))).collect();
        assert_eq!(listed, wanted, "files in the ledger");
    }

    /// Records say what the ledger says of their medium, and that is what was said last.
    async fn check_labels(&self, world: &World, archive: &Archive, said: Option<&Said>) {
        for bundle in 0..BUNDLES {
            let collection = world.spec(bundle).name;
            let shown = visible(archive, &collection).await;
            let Some(store) = archive.existing(&collection).await.unwrap() else { continue };
            for record in store.scan(None, None, 1_000_000).await.unwrap().items {
                let id = record.payload.media_id;
                if !shown.contains_key(&(id, record.payload.plan.clone())) {
                    continue;
                }
                let row = archive.ledger.media(id).await.unwrap().unwrap();
                assert_eq!((&record.payload.label, &record.payload.tags), (&row.said.label, &row.said.tags));
                let is_here = world.files().iter().any(|path| content(path) == id);
                if let Some(said) = said.filter(|said| said.label.is_some() && is_here) {
                    assert_eq!(row.said.label, said.label, "the label said last");
                }
            }
        }
    }

    /// After a run that was disturbed: nothing is shown that no path stands for, nothing that is half replaced, and
    /// nothing differs but what the next run settles.
    pub(crate) async fn check_disturbed(&self, world: &World, catalog: &Arc<dyn Catalog>) {
        let (differences, _) = world.verify(Arc::clone(catalog), None).await;
        let serious: Vec<_> =
            differences.iter().filter(|difference| difference.kind != DifferenceKind::Unsettled).collect();
        assert!(serious.is_empty(), "verify: {serious:#?}");
        let archive = world.archive(Arc::clone(catalog)).await;
        for bundle in 0..BUNDLES {
            for ((id, plan), tally) in visible(&archive, &world.spec(bundle).name).await {
                let files = archive.ledger.files_of(id).await.unwrap();
                assert!(!files.is_empty(), "{id} is shown and lies nowhere");
                let rows = archive.ledger.progress(id, &world.spec(bundle).name).await.unwrap();
                let row = rows.into_iter().find(|row| row.plan == plan).expect("what is shown is known");
                match row.state {
                    ProgressState::Done => assert_eq!(tally, row.tally),
                    ProgressState::Writing => assert!(tally.windows >= row.tally.windows),
                    ProgressState::Leaving => panic!("{id} is shown while it leaves"),
                }
            }
        }
    }
}
