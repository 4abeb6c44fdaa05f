//! Which media the moments of an answer are of. Pure.

use serde::{Deserialize, Serialize};

use super::place::Placed;
use crate::source::MediaId;

/// A medium with its moments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Group {
    pub media_id: MediaId,
    pub path: Option<String>,
    pub uri: String,
    pub label: Option<String>,
    pub source: Option<String>,
    /// Of the best moment.
    pub score: f32,
    /// Their places among the moments of the answer, from 0.
    pub moments: Vec<usize>,
}

/// The best medium first.
pub fn groups(moments: &[Placed]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (place, moment) in moments.iter().enumerate() {
        if let Some(group) = groups.iter_mut().find(|group| group.media_id == moment.media_id) {
            group.score = group.score.max(moment.score);
            group.moments.push(place);
            continue;
        }
        let Placed { media_id, path, uri, label, source, score, .. } = moment.clone();
        groups.push(Group { media_id, path, uri, label, source, score, moments: vec![place] });
    }
    groups.sort_by(|a, b| b.score.total_cmp(&a.score));
    groups
}
