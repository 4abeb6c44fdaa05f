//! Removes duplicate records after a crash. A record that was being moved between two segments (by an update or by
//! [`optimize`](super::EdgeStore)) when the process died is in both. The server removes the older copy on start; the
//! embedded engine does not, and counts the record twice.

use qdrant_edge::{
    Condition, CountRequest, EdgeShard, Filter, HasIdCondition, PointId, PointInsertOperations, PointOperations,
    ScrollRequest, UpdateOperation, WithPayloadInterface, WithVector,
};

use super::{failed, points};
use crate::store::StoreError;

const PAGE: usize = 1000;

pub(super) fn remove_duplicates(shard: &EdgeShard) -> Result<(), StoreError> {
    let mut from = None;
    let mut found = 0;
    loop {
        let (ids, next) = page_of_ids(shard, from)?;
        let twice = duplicates(shard, &ids)?;
        if !twice.is_empty() {
            keep_newest(shard, &twice)?;
            found += twice.len();
        }
        from = next;
        if from.is_none() {
            break;
        }
    }
    if found > 0 {
        shard.flush();
        tracing::info!(records = found, "removed duplicate records after an unclean shutdown");
    }
    Ok(())
}

fn page_of_ids(shard: &EdgeShard, from: Option<PointId>) -> Result<(Vec<PointId>, Option<PointId>), StoreError> {
    let request = ScrollRequest {
        offset: from,
        limit: Some(PAGE),
        filter: None,
        with_payload: Some(WithPayloadInterface::Bool(false)),
        with_vector: WithVector::Bool(false),
        order_by: None,
    };
    let (records, next) = shard.scroll(request).map_err(failed)?;
    Ok((records.into_iter().map(|record| record.id).collect(), next))
}

/// The ids that are in more than one segment, found by bisection: a count includes each copy.
fn duplicates(shard: &EdgeShard, ids: &[PointId]) -> Result<Vec<PointId>, StoreError> {
    let here = Filter::new_must(Condition::HasId(ids.iter().copied().collect::<HasIdCondition>()));
    let copies = shard.count(CountRequest { filter: Some(here), exact: true }).map_err(failed)?;
    if copies == ids.len() {
        return Ok(Vec::new());
    }
    if ids.len() == 1 {
        return Ok(ids.to_vec());
    }
    let (left, right) = ids.split_at(ids.len() / 2);
    let mut twice = duplicates(shard, left)?;
    twice.extend(duplicates(shard, right)?);
    Ok(twice)
}

/// Reading returns the newest copy. It is written again after all copies are deleted.
fn keep_newest(shard: &EdgeShard, ids: &[PointId]) -> Result<(), StoreError> {
    let newest =
        shard.retrieve(ids, Some(WithPayloadInterface::Bool(true)), Some(WithVector::Bool(true))).map_err(failed)?;
    let points: Vec<_> = newest.into_iter().filter_map(points::copy).collect();
    let delete = PointOperations::DeletePoints { ids: ids.to_vec() };
    let insert = PointOperations::UpsertPoints(PointInsertOperations::PointsList(points));
    shard.update(UpdateOperation::PointOperation(delete)).map_err(failed)?;
    shard.update(UpdateOperation::PointOperation(insert)).map_err(failed)
}
