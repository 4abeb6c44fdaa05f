//! Recall and rank statistics of retrieval. Pure.
//!
//! A [`Rank`] counts strictly better scores, so 0 is best; median and mean rank count from 1, as in papers. Where the
//! true answer ties with others, the systems' own code counts one rank for each of the tied answers. Here a query has
//! only the best of these ranks, and the number of queries with ties is reported. Without ties both agree.

use serde::Serialize;

/// The rank of a query's true answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rank {
    /// Candidates that score strictly better.
    pub better: u32,
    /// Other candidates that score just the same.
    pub tied: u32,
}

/// The median of an even number of ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Median {
    /// The mean of the middle two (as NumPy): for sets with one caption per video, and for video to text.
    Mean,
    /// The lower of the middle two (as PyTorch): for text to video if videos have many captions.
    Lower,
}

/// The figures that papers report for one direction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Scores {
    pub queries: usize,
    /// Recall@1, 5, 10 and 50: percentage of queries whose true answer is among the first k.
    pub r1: f64,
    pub r5: f64,
    pub r10: f64,
    pub r50: f64,
    pub median_rank: f64,
    pub mean_rank: f64,
    /// Queries whose true answer ties with another candidate.
    pub tied: usize,
    /// Recall@1 if every tie counted against the true answer. A model that scores everything alike has recall@1 of 100
    /// and 0 here.
    pub r1_ties_lost: f64,
}

/// `None` if there are no queries.
pub fn scores(ranks: &[Rank], median: Median) -> Option<Scores> {
    let mut sorted: Vec<u32> = ranks.iter().map(|rank| rank.better).collect();
    sorted.sort_unstable();
    let count = sorted.len();
    let (low, high) = (*sorted.get(count.checked_sub(1)? / 2)?, sorted[count / 2]);
    let recall = |k: u32| 100.0 * sorted.partition_point(|rank| *rank < k) as f64 / count as f64;
    let middle = match median {
        Median::Mean => (f64::from(low) + f64::from(high)) / 2.0,
        Median::Lower => f64::from(low),
    };
    Some(Scores {
        queries: count,
        r1: recall(1),
        r5: recall(5),
        r10: recall(10),
        r50: recall(50),
        median_rank: middle + 1.0,
        mean_rank: sorted.iter().map(|rank| f64::from(*rank)).sum::<f64>() / count as f64 + 1.0,
        tied: ranks.iter().filter(|rank| rank.tied > 0).count(),
        r1_ties_lost: 100.0 * ranks.iter().filter(|rank| rank.better + rank.tied == 0).count() as f64 / count as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ranks: &[u32], median: Median) -> Scores {
        let ranks: Vec<Rank> = ranks.iter().map(|better| Rank { better: *better, tied: 0 }).collect();
        scores(&ranks, median).unwrap()
    }

    #[test]
    fn recalls_are_shares_and_ranks_count_from_one() {
        let found = of(&[0, 4, 9, 49, 50, 3], Median::Mean);
        let sixths = |n: f64| 100.0 * n / 6.0;
        assert_eq!([found.r1, found.r5, found.r10, found.r50], [1.0, 3.0, 4.0, 5.0].map(sixths));
        assert_eq!((found.median_rank, found.mean_rank), (7.5, 115.0 / 6.0 + 1.0));
        assert_eq!(of(&[0, 4, 9, 49, 50, 3], Median::Lower).median_rank, 5.0);
        assert_eq!(of(&[7], Median::Lower).median_rank, 8.0);
        assert_eq!(scores(&[], Median::Mean), None);
    }

    #[test]
    fn ties_are_counted() {
        let ranks = [Rank { better: 0, tied: 2 }, Rank { better: 1, tied: 0 }];
        let found = scores(&ranks, Median::Mean).unwrap();
        assert_eq!((found.tied, found.r1, found.r1_ties_lost), (1, 50.0, 0.0));
    }
}
