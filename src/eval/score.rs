//! Ranks captions against videos block by block, because the matrix of all scores may not fit into memory.

use std::ops::Range;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayViewMut2, s};

use super::metrics::Rank;
use super::{EvalError, Vectors};

/// Scores in one block: 16 MiB.
const BLOCK: usize = 4 << 20;

/// Scores how well captions fit videos: by dot products like a vector search ([`Dot`]), or by a model that reads both
/// together. The score of a pair must not depend on the block that it is computed in.
pub trait Scorer: Send {
    fn captions(&self) -> usize;
    fn videos(&self) -> usize;
    /// Most captions to score in one call. An evaluation can be stopped only between calls.
    fn captions_at_once(&self) -> usize {
        usize::MAX
    }
    /// Fills `into`, `[captions, videos]` in row-major order.
    fn score(&mut self, captions: Range<usize>, videos: Range<usize>, into: &mut [f32]) -> Result<(), EvalError>;
}

impl Scorer for Box<dyn Scorer> {
    fn captions(&self) -> usize {
        (**self).captions()
    }

    fn videos(&self) -> usize {
        (**self).videos()
    }

    fn captions_at_once(&self) -> usize {
        (**self).captions_at_once()
    }

    fn score(&mut self, captions: Range<usize>, videos: Range<usize>, into: &mut [f32]) -> Result<(), EvalError> {
        (**self).score(captions, videos, into)
    }
}

/// Dot products of unit vectors: their cosines.
pub struct Dot {
    captions: Array2<f32>,
    videos: Array2<f32>,
}

impl Dot {
    pub fn new(captions: Vectors, videos: Vectors) -> Self {
        Self { captions: captions.into_array(), videos: videos.into_array() }
    }
}

impl Scorer for Dot {
    fn captions(&self) -> usize {
        self.captions.nrows()
    }

    fn videos(&self) -> usize {
        self.videos.nrows()
    }

    fn score(&mut self, captions: Range<usize>, videos: Range<usize>, into: &mut [f32]) -> Result<(), EvalError> {
        let shape = (captions.len(), videos.len());
        let mut into = ArrayViewMut2::from_shape(shape, into).expect("room for every pair of the block");
        let (captions, videos) = (self.captions.slice(s![captions, ..]), self.videos.slice(s![videos, ..]));
        general_mat_mul(1.0, &captions, &videos.t(), 0.0, &mut into);
        Ok(())
    }
}

/// CLIP-ViP's dual softmax loss at inference ("DSL"): each score times the softmax, over all captions, of 100 times the
/// scores of its video (arXiv 2209.06430, section 4). It needs all queries together, so a search cannot use it.
pub struct Dsl<S> {
    inner: S,
    /// Per video: the largest scaled score, and the sum of exp(scaled score − largest).
    columns: Vec<(f32, f32)>,
}

const DSL_SCALE: f32 = 100.0;

impl<S: Scorer> Dsl<S> {
    pub fn new(mut inner: S) -> Result<Self, EvalError> {
        let videos = inner.videos();
        let mut columns = vec![(f32::NEG_INFINITY, 0.0f32); videos];
        blocks(&mut inner, |_, row| {
            for ((most, sum), score) in columns.iter_mut().zip(row) {
                let score = score * DSL_SCALE;
                if score > *most {
                    *sum = *sum * (*most - score).exp() + 1.0;
                    *most = score;
                } else {
                    *sum += (score - *most).exp();
                }
            }
            Ok(())
        })?;
        Ok(Self { inner, columns })
    }
}

impl<S: Scorer> Scorer for Dsl<S> {
    fn captions(&self) -> usize {
        self.inner.captions()
    }

    fn videos(&self) -> usize {
        self.inner.videos()
    }

    fn score(&mut self, captions: Range<usize>, videos: Range<usize>, into: &mut [f32]) -> Result<(), EvalError> {
        self.inner.score(captions, videos.clone(), into)?;
        for row in into.chunks_mut(videos.len().max(1)) {
            for (score, (most, sum)) in row.iter_mut().zip(&self.columns[videos.clone()]) {
                *score *= (*score * DSL_SCALE - most).exp() / sum;
            }
        }
        Ok(())
    }
}

/// The ranks of both directions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking {
    /// For each caption, the rank of its video among all videos.
    pub captions: Vec<Rank>,
    /// For each caption, the best video.
    pub first: Vec<usize>,
    /// For each video, the rank of its captions among those of all videos. The best caption of each video counts.
    pub videos: Vec<Rank>,
}

/// Ranks every caption and every video. `captions_per_video`: captions are in the order of videos, those of a video
/// together. `watch` gets the number of finished captions and can stop the ranking by an error.
pub fn rank(
    scorer: &mut dyn Scorer,
    captions_per_video: &[usize],
    watch: &mut dyn FnMut(usize) -> Result<(), EvalError>,
) -> Result<Ranking, EvalError> {
    let videos = captions_per_video.len();
    assert_eq!((scorer.videos(), scorer.captions()), (videos, captions_per_video.iter().sum()));
    let owner: Vec<usize> =
        captions_per_video.iter().enumerate().flat_map(|(video, count)| std::iter::repeat_n(video, *count)).collect();
    // A video's rank counts the groups with a better score than its own, so its own score is needed first.
    let own = own_scores(scorer, captions_per_video, watch)?;
    let mut ranking = Ranking { videos: vec![Rank::default(); videos], ..Ranking::default() };
    let mut best = vec![f32::NEG_INFINITY; videos];
    blocks(scorer, |caption, row| {
        let group = owner[caption];
        ranking.captions.push(rank_in(row, group)?);
        ranking.first.push(first_of(row));
        for (best, score) in best.iter_mut().zip(row) {
            *best = best.max(*score);
        }
        if owner.get(caption + 1) != Some(&group) {
            for (video, best) in best.iter_mut().enumerate() {
                let rank = &mut ranking.videos[video];
                rank.better += u32::from(video != group && *best > own[video]);
                rank.tied += u32::from(video != group && *best == own[video]);
                *best = f32::NEG_INFINITY;
            }
        }
        watch(caption)
    })?;
    Ok(ranking)
}

/// Each video's score for the best of its own captions.
fn own_scores(
    scorer: &mut dyn Scorer,
    captions_per_video: &[usize],
    watch: &mut dyn FnMut(usize) -> Result<(), EvalError>,
) -> Result<Vec<f32>, EvalError> {
    let mut own = Vec::with_capacity(captions_per_video.len());
    let mut next = 0;
    let mut scores = Vec::new();
    for (video, count) in captions_per_video.iter().enumerate() {
        watch(0)?;
        scores.resize(*count, 0.0);
        scorer.score(next..next + count, video..video + 1, &mut scores)?;
        own.push(scores.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        next += count;
    }
    Ok(own)
}

/// Calls `each` with every caption and its scores for all videos, in order.
fn blocks<S: Scorer + ?Sized>(
    scorer: &mut S,
    mut each: impl FnMut(usize, &[f32]) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let (captions, videos) = (scorer.captions(), scorer.videos());
    if videos == 0 {
        return Ok(());
    }
    let rows = (BLOCK / videos).min(scorer.captions_at_once()).clamp(1, captions.max(1));
    let mut scores = vec![0.0; rows * videos];
    let mut next = 0;
    while next < captions {
        let block = next..captions.min(next + rows);
        let scores = &mut scores[..block.len() * videos];
        scorer.score(block.clone(), 0..videos, scores)?;
        for (caption, row) in block.zip(scores.chunks(videos)) {
            each(caption, row)?;
        }
        next += rows;
    }
    Ok(())
}

fn rank_in(row: &[f32], own: usize) -> Result<Rank, EvalError> {
    let score = row[own];
    if !score.is_finite() {
        return Err(EvalError::Score(score));
    }
    let better = row.iter().filter(|other| **other > score).count() as u32;
    let tied = row.iter().filter(|other| **other == score).count() as u32 - 1;
    Ok(Rank { better, tied })
}

fn first_of(row: &[f32]) -> usize {
    let mut first = 0;
    for (video, score) in row.iter().enumerate() {
        if *score > row[first] {
            first = video;
        }
    }
    first
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "a measured figure")]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::eval::metrics::{Median, scores};

    /// Returns given scores.
    struct Given(Array2<f32>);

    impl Given {
        fn new(rows: &[Vec<f32>]) -> Self {
            Self(Array2::from_shape_fn((rows.len(), rows[0].len()), |(i, j)| rows[i][j]))
        }
    }

    impl Scorer for Given {
        fn captions(&self) -> usize {
            self.0.nrows()
        }

        fn videos(&self) -> usize {
            self.0.ncols()
        }

        fn score(&mut self, captions: Range<usize>, videos: Range<usize>, into: &mut [f32]) -> Result<(), EvalError> {
            for (to, from) in into.iter_mut().zip(self.0.slice(s![captions, videos])) {
                *to = *from;
            }
            Ok(())
        }
    }

    fn rank_all(scorer: &mut dyn Scorer, groups: &[usize]) -> Ranking {
        rank(scorer, groups, &mut |_| Ok(())).unwrap()
    }

    /// Counts like the systems' own code: one rank for each tied place.
    fn with_ties(ranks: &[Rank]) -> Vec<u32> {
        ranks.iter().flat_map(|rank| rank.better..=rank.better + rank.tied).collect()
    }

    fn check(expected: &Value, ranks: &[Rank], median: Median, case: &str) {
        // With ties, the official count has more ranks than queries.
        let counted: Vec<Rank> = with_ties(ranks).into_iter().map(|better| Rank { better, tied: 0 }).collect();
        if let Some(cols) = expected.get("cols") {
            let cols: Vec<u32> = serde_json::from_value(cols.clone()).unwrap();
            assert_eq!(with_ties(ranks), cols, "{case}");
        }
        let found = scores(&counted, median).unwrap();
        let pairs = [
            ("R1", found.r1),
            ("R5", found.r5),
            ("R10", found.r10),
            ("MeanR", found.mean_rank),
            ("MedianR", found.median_rank),
            ("MR", found.median_rank),
        ];
        for (key, value) in pairs {
            let Some(expected) = expected[key].as_f64() else { continue };
            // The official code uses single precision in places.
            assert!((value - expected).abs() < 1e-4 * expected.max(1.0), "{case} {key}: {value}, not {expected}");
        }
    }

    #[test]
    fn ranks_and_scores_are_those_of_the_official_code() {
        let golden: Value = serde_json::from_str(include_str!("../../tests/fixtures/metrics/cases.json")).unwrap();
        let mut ties = 0;
        for case in golden["cases"].as_array().unwrap() {
            let name = case["name"].as_str().unwrap();
            let rows: Vec<Vec<f32>> = serde_json::from_value(case["similarity"].clone()).unwrap();
            let groups: Option<Vec<usize>> = serde_json::from_value(case["captions_per_video"].clone()).unwrap();
            let median = if groups.is_some() { Median::Lower } else { Median::Mean };
            let ranking = rank_all(&mut Given::new(&rows), &groups.unwrap_or_else(|| vec![1; rows[0].len()]));
            ties += ranking.captions.iter().filter(|rank| rank.tied > 0).count();
            check(&case["t2v"], &ranking.captions, median, &format!("{name} t2v"));
            check(&case["v2t"], &ranking.videos, Median::Mean, &format!("{name} v2t"));
        }
        assert!(ties > 0, "one case has ties");
    }

    #[test]
    fn the_best_caption_counts_for_its_video() {
        // Videos 0 and 1; captions 0, 1 of the first, 2 of the second.
        let ranking = rank_all(&mut Given::new(&[vec![0.1, 0.9], vec![0.8, 0.2], vec![0.5, 0.9]]), &[2, 1]);
        assert_eq!(ranking.captions.iter().map(|r| r.better).collect::<Vec<_>>(), [1, 0, 0]);
        assert_eq!(ranking.first, [1, 0, 1]);
        assert_eq!(ranking.videos, [Rank { better: 0, tied: 0 }, Rank { better: 0, tied: 1 }]);
    }

    #[test]
    fn a_score_that_is_no_number_is_an_error() {
        let error = rank(&mut Given::new(&[vec![f32::NAN]]), &[1], &mut |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("NaN"), "{error}");
    }

    #[test]
    fn dsl_is_that_of_the_official_code() {
        // models/tests/fixtures/clip_vip/M1: sim and sim_dsl.
        let rows = [
            vec![0.00283902, 0.0228985, -0.03105308],
            vec![-0.01713768, 0.03933396, -0.05922464],
            vec![0.20717986, 0.31877834, 0.23234433],
            vec![0.04096561, 0.0141641, 0.02521408],
        ];
        let expected = [
            [3.791_04e-12, 3.235_257e-15, -1.129_537e-13],
            [-3.104_313e-12, 2.875_094e-14, -1.287_725e-14],
            [0.207_179_83, 0.318_778_34, 0.232_344_33],
            [2.476_434e-9, 8.355_273e-16, 2.547_363e-11],
        ];
        let mut dsl = Dsl::new(Given::new(&rows)).unwrap();
        let mut found = vec![0.0; 12];
        dsl.score(0..4, 0..3, &mut found).unwrap();
        for (found, expected) in found.iter().zip(expected.as_flattened()) {
            assert!((found / expected - 1.0).abs() < 1e-4, "{found}, not {expected}");
        }
    }

    /// The whole matrix would take 1.4 GB. The limit leaves room for tests that run at the same time.
    #[test]
    fn a_large_set_is_ranked_in_bounded_memory() {
        let groups = vec![10; 6000];
        let mut dot = Dot::new(vectors(60_000, 16, 1), vectors(6000, 16, 2));
        let peak = || nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap().max_rss();
        let before = peak();
        let started = std::time::Instant::now();
        let ranking = rank_all(&mut dot, &groups);
        println!("ranked in {:?}, {} MiB more than before", started.elapsed(), (peak() - before) >> 10);
        assert_eq!((ranking.captions.len(), ranking.videos.len()), (60_000, 6000));
        assert!(peak() - before < 500 << 10, "KiB");
    }

    fn vectors(rows: usize, dim: usize, seed: u64) -> Vectors {
        let mut dice = seed;
        let mut next = || {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        let mut vectors = Vectors::new(dim);
        for _ in 0..rows {
            vectors.push(&(0..dim).map(|_| next()).collect::<Vec<_>>());
        }
        vectors
    }

    proptest! {
        /// Otherwise ties and ranks would depend on the block size.
        #[test]
        fn a_pairs_score_does_not_depend_on_its_block(
            captions in 1usize..40, videos in 1usize..40, dim in 1usize..600, seed: u64, caption in 0usize..40, video in 0usize..40,
        ) {
            let (caption, video) = (caption % captions, video % videos);
            let mut dot = Dot::new(vectors(captions, dim, seed), vectors(videos, dim, !seed));
            let mut all = vec![0.0; captions * videos];
            dot.score(0..captions, 0..videos, &mut all).unwrap();
            let mut one = [0.0];
            dot.score(caption..caption + 1, video..video + 1, &mut one).unwrap();
            prop_assert_eq!(one[0].to_bits(), all[caption * videos + video].to_bits());
            let mut column = vec![0.0; captions];
            dot.score(0..captions, video..video + 1, &mut column).unwrap();
            prop_assert_eq!(column[caption].to_bits(), one[0].to_bits());
        }

        #[test]
        fn ranks_are_those_of_the_whole_matrix(groups in prop::collection::vec(1usize..5, 1..20), seed: u64, dim in 1usize..4) {
            let captions: usize = groups.iter().sum();
            let mut dot = Dot::new(vectors(captions, dim, seed), vectors(groups.len(), dim, !seed));
            let videos = groups.len();
            let mut all = vec![0.0; captions * videos];
            dot.score(0..captions, 0..videos, &mut all).unwrap();
            let ranking = rank_all(&mut dot, &groups);
            let starts: Vec<usize> = groups.iter().scan(0, |next, n| { *next += n; Some(*next - n) }).collect();
            for video in 0..videos {
                let of = |group: usize| (starts[group]..starts[group] + groups[group])
                    .map(|caption| all[caption * videos + video]).fold(f32::NEG_INFINITY, f32::max);
                let better = (0..videos).filter(|group| of(*group) > of(video)).count() as u32;
                prop_assert_eq!(ranking.videos[video].better, better);
                for caption in starts[video]..starts[video] + groups[video] {
                    let row = &all[caption * videos..(caption + 1) * videos];
                    let better = row.iter().filter(|score| **score > row[video]).count() as u32;
                    prop_assert_eq!(ranking.captions[caption].better, better);
                }
            }
        }
    }
}
