//! Figures from papers, to compare measured ones with. The data is in `published.toml`.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::annotations::Set;
use super::sampling::FrameRule;

/// The source of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sure {
    /// Stated in the authors' repository.
    #[serde(rename(deserialize = "r", serialize = "stated by the authors"))]
    Stated,
    /// Found in another public text that quotes the paper.
    #[serde(rename(deserialize = "s", serialize = "quoted by others"))]
    Quoted,
    /// From memory of the paper, not checked again.
    #[serde(rename(deserialize = "m", serialize = "unchecked"))]
    Unchecked,
}

/// A figure and its source.
pub type Figure = (f64, Sure);

/// The figures of one direction; `None`: not reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Figures {
    pub r1: Option<Figure>,
    pub r5: Option<Figure>,
    pub r10: Option<Figure>,
    pub r50: Option<Figure>,
    pub median: Option<Figure>,
    pub mean: Option<Figure>,
}

impl Figures {
    pub fn all(&self) -> [Option<Figure>; 6] {
        [self.r1, self.r5, self.r10, self.r50, self.median, self.mean]
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub set: Set,
    /// Absent: the set's usual split.
    #[serde(default)]
    pub split: Option<String>,
    /// System and variant, as `--published` takes it.
    pub name: String,
    pub title: String,
    #[serde(default)]
    pub note: Option<String>,
    /// Whether all queries were ranked together, see [`super::score::Dsl`].
    #[serde(default)]
    pub dsl: bool,
    pub text_to_video: Figures,
    #[serde(default)]
    pub video_to_text: Figures,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    row: Vec<Row>,
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let table: Table = toml::from_str(include_str!("published.toml")).expect("a test reads it");
    table.row
});

/// Names of all rows without duplicates, in order.
pub fn names() -> Vec<&'static str> {
    let mut names = Vec::new();
    for row in ROWS.iter() {
        if !names.contains(&row.name.as_str()) {
            names.push(row.name.as_str());
        }
    }
    names
}

/// The row of this name for a split of a set, if there is one.
pub fn row(set: Set, split: &str, name: &str) -> Option<&'static Row> {
    rows(set, split).find(|row| row.name.eq_ignore_ascii_case(name))
}

/// All rows for a split of a set.
pub fn rows(set: Set, split: &str) -> impl Iterator<Item = &'static Row> {
    let usual = set.splits()[0].0;
    ROWS.iter().filter(move |row| row.set == set && row.split.as_deref().unwrap_or(usual) == split)
}

/// The frame rule of a system, from the name of its row or from a bundle's summary, which begins with the system's name
/// if `clipseek_models export` wrote it.
pub fn rule_of(name: &str) -> Option<FrameRule> {
    let name = name.to_ascii_lowercase();
    let systems =
        [("clip4clip", FrameRule::Clip4Clip), ("clip2video", FrameRule::Clip2Video), ("clip-vip", FrameRule::ClipVip)];
    systems.into_iter().find(|(system, _)| name.starts_with(system)).map(|(_, rule)| rule)
}

/// The name of the row that belongs to a bundle's summary (system and variant). CLIP-ViP's rows are named by the
/// encoder's size, which the summary does not contain.
pub fn name_of(summary: &str) -> Option<&'static str> {
    let name = summary.replacen(' ', "-", 1).to_ascii_lowercase();
    names().into_iter().find(|known| known.to_ascii_lowercase() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_set_split_and_name() {
        let row = row(Set::Msrvtt1ka, "test", "clip4clip-seqtransf").unwrap();
        assert_eq!(row.text_to_video.r1, Some((44.5, Sure::Quoted)));
        assert_eq!(row.video_to_text.mean, Some((11.6, Sure::Quoted)));
        let vatex = |split| super::row(Set::Vatex, split, "clip2video").unwrap().text_to_video.r1.unwrap().0;
        assert_eq!((vatex("test1k5"), vatex("test")), (57.3, 61.2));
        assert!(super::row(Set::Msvd, "train", "clip2video").is_none());
        let activitynet = super::row(Set::Activitynet, "val1", "clip4clip-meanP").unwrap();
        assert_eq!((activitynet.text_to_video.r10, activitynet.text_to_video.r50), (None, Some((98.1, Sure::Quoted))));
        assert_eq!(activitynet.video_to_text.r10, Some((85.8, Sure::Quoted)));
    }

    #[test]
    fn every_row_is_plausible() {
        for row in ROWS.iter() {
            for figures in [&row.text_to_video, &row.video_to_text] {
                let recalls: Vec<f64> = figures.all()[..4].iter().flatten().map(|figure| figure.0).collect();
                assert!(recalls.is_sorted() && recalls.iter().all(|r| *r > 0.0 && *r < 100.0), "{row:?}");
                assert!(figures.all()[4..].iter().flatten().all(|figure| figure.0 >= 1.0), "{row:?}");
            }
            assert!(row.text_to_video.r1.is_some() && rule_of(&row.name).is_some(), "{row:?}");
            assert_eq!(row.dsl, row.name.ends_with("-dsl"));
            let splits = row.set.splits();
            assert!(row.split.as_ref().is_none_or(|split| splits.iter().any(|(name, _)| name == split)), "{row:?}");
        }
        assert_eq!(ROWS.len(), 42);
    }

    #[test]
    fn an_exported_bundle_tells_its_system() {
        assert_eq!(name_of("CLIP4Clip seqTransf"), Some("clip4clip-seqTransf"));
        assert_eq!(name_of("CLIP2Video"), Some("clip2video"));
        assert_eq!((name_of("CLIP-ViP"), rule_of("CLIP-ViP")), (None, Some(FrameRule::ClipVip)));
        assert_eq!((name_of("small model"), rule_of("small model")), (None, None));
    }
}
