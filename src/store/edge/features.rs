//! Keeping frame features in a collection that was made without: its records are copied into another shard, which takes
//! the place of the first when it is complete. Rare, so it may take as long as writing them all did; the graph is built anew.

use qdrant_edge::{
    EdgeShard, PointId, PointInsertOperations, PointOperations, ScrollRequest, UpdateOperation, WithPayloadInterface,
    WithVector,
};

use super::folder::{Folder, io_failed, remove_folder};
use super::{check_free_space, failed, guarded, points};
use crate::store::{CollectionSpec, IndexParams, StoreError};

const COPIED_AT_ONCE: usize = 200;

impl Folder {
    /// The engine can add a vector to one segment after the other, but it refuses a shard whose segments differ in that,
    /// which is what a process killed within would leave.
    pub(super) fn copy(
        &self,
        from: &EdgeShard,
        namespace: &str,
        spec: &CollectionSpec,
        index: &IndexParams,
    ) -> Result<(), StoreError> {
        tracing::info!(path = %self.path().display(), "copying the collection, so that it can keep frame features");
        let to = self.make(namespace, spec, index)?;
        let mut next: Option<PointId> = None;
        loop {
            check_free_space(self.path())?;
            let request = ScrollRequest {
                offset: next,
                limit: Some(COPIED_AT_ONCE),
                filter: None,
                with_payload: Some(WithPayloadInterface::Bool(true)),
                with_vector: WithVector::Bool(true),
                order_by: None,
            };
            guarded(|| {
                let (records, after) = from.scroll(request).map_err(failed)?;
                next = after;
                let copies = records.into_iter().filter_map(points::copy).collect();
                let insert = PointOperations::UpsertPoints(PointInsertOperations::PointsList(copies));
                to.update(UpdateOperation::PointOperation(insert)).map_err(failed)
            })?;
            if next.is_none() {
                // On disk then.
                return guarded(|| {
                    drop(to);
                    Ok(())
                });
            }
        }
    }

    pub(super) fn replace(&self) -> Result<(), StoreError> {
        self.rename(&self.shard(), &self.old_shard())?;
        self.rename(&self.new_shard(), &self.shard())?;
        remove_folder(&self.old_shard()).map_err(|error| io_failed(self.path(), &error))
    }

    /// What a crash within [`replace`](Self::replace) left.
    pub(super) fn undo_replacing(&self) -> Result<(), StoreError> {
        if !self.shard().exists() && self.old_shard().exists() {
            self.rename(&self.old_shard(), &self.shard())?;
        }
        remove_folder(&self.old_shard()).map_err(|error| io_failed(self.path(), &error))
    }
}
