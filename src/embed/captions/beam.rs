//! Beam search over many windows at once. Pure: a function supplies the log-probabilities.
//!
//! Follows UniVL's decoding (arXiv 2002.06353). The score of a hypothesis is the sum of its tokens' log-probabilities,
//! without a length penalty. A window is finished when its best hypothesis has just produced the end token; other
//! hypotheses that ended are extended like any other.

/// Special tokens and limits of the search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) start: i64,
    pub(super) end: i64,
    /// Most tokens, the end token included.
    pub(super) max_words: usize,
    /// Hypotheses per window; 1 is greedy.
    pub(super) beams: usize,
}

/// A hypothesis to extend by one token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) window: usize,
    /// Index of its parent among the rows of the previous call; 0 in the first call.
    pub(super) parent: usize,
    pub(super) last: i64,
}

/// The best hypothesis of a window.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Caption {
    /// Without the start token.
    pub(super) tokens: Vec<i64>,
    /// Sum of the log-probabilities.
    pub(super) score: f32,
}

struct Hypothesis {
    tokens: Vec<i64>,
    score: f32,
    /// The row that its last token came from.
    parent: usize,
}

/// `next` returns the log-probabilities of all tokens for each row. Rows of a window are consecutive, best first.
pub(super) fn search<E>(
    windows: usize,
    rules: Rules,
    mut next: impl FnMut(&[Row]) -> Result<Vec<Vec<f32>>, E>,
) -> Result<Vec<Caption>, E> {
    let start = || vec![Hypothesis { tokens: Vec::new(), score: 0.0, parent: 0 }];
    let mut beams: Vec<Vec<Hypothesis>> = (0..windows).map(|_| start()).collect();
    let mut finished = vec![false; windows];
    for _ in 0..rules.max_words {
        let mut rows = Vec::new();
        for (window, hypotheses) in beams.iter().enumerate().filter(|(window, _)| !finished[*window]) {
            let row = |h: &Hypothesis| Row { window, parent: h.parent, last: *h.tokens.last().unwrap_or(&rules.start) };
            rows.extend(hypotheses.iter().map(row));
        }
        if rows.is_empty() {
            break;
        }
        let log_probs = next(&rows)?;
        let mut first = 0;
        for (hypotheses, finished) in beams.iter_mut().zip(&mut finished).filter(|(_, finished)| !**finished) {
            let own = first..first + hypotheses.len();
            *hypotheses = extend(hypotheses, &log_probs[own.clone()], own.start, rules.beams);
            *finished = hypotheses[0].tokens.last() == Some(&rules.end);
            first = own.end;
        }
    }
    let best = |mut hypotheses: Vec<Hypothesis>| {
        let Hypothesis { tokens, score, .. } = hypotheses.swap_remove(0);
        Caption { tokens, score }
    };
    Ok(beams.into_iter().map(best).collect())
}

/// The best extensions of a window's hypotheses, best first. `first_row` is the index of the first hypothesis's row.
fn extend(hypotheses: &[Hypothesis], log_probs: &[Vec<f32>], first_row: usize, beams: usize) -> Vec<Hypothesis> {
    let mut candidates: Vec<(f32, usize, usize)> = Vec::new();
    for (place, (hypothesis, words)) in hypotheses.iter().zip(log_probs).enumerate() {
        let scored = words.iter().enumerate().map(|(word, log_prob)| (hypothesis.score + log_prob, place, word));
        candidates.extend(best(scored.collect(), beams));
    }
    let extended = |(score, place, word): (f32, usize, usize)| Hypothesis {
        tokens: [&hypotheses[place].tokens[..], &[word as i64]].concat(),
        score,
        parent: first_row + place,
    };
    best(candidates, beams).into_iter().map(extended).collect()
}

/// The `count` best candidates, best first; of equal ones, the earlier.
fn best(mut candidates: Vec<(f32, usize, usize)>, count: usize) -> Vec<(f32, usize, usize)> {
    let order = |a: &(f32, usize, usize), b: &(f32, usize, usize)| {
        b.0.total_cmp(&a.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2)))
    };
    if candidates.len() > count {
        candidates.select_nth_unstable_by(count, order);
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(order);
    candidates
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const END: i64 = 3;

    fn rules(beams: usize) -> Rules {
        Rules { start: 0, end: END, max_words: 4, beams }
    }

    /// Tokens 1 and 2, then the end. The next token depends only on the window and the last token.
    fn words(row: &Row) -> Vec<f32> {
        let probabilities: [f32; 4] = match (row.window, row.last) {
            // Greedy search takes 1, whose continuations are unlikely.
            (0, 0) => [0.0, 0.6, 0.4, 0.0],
            (0, 1) => [0.0, 0.3, 0.3, 0.4],
            (0, 2) => [0.0, 0.05, 0.05, 0.9],
            // Ends at once.
            (1, 0) => [0.0, 0.1, 0.1, 0.8],
            // Never ends.
            (2, _) => [0.0, 0.9, 0.1, 0.0],
            _ => [0.0, 0.3, 0.3, 0.4],
        };
        probabilities.iter().map(|p| p.ln()).collect()
    }

    fn run(beams: usize, windows: usize) -> Vec<Caption> {
        let next = |rows: &[Row]| Ok::<_, Infallible>(rows.iter().map(words).collect());
        search(windows, rules(beams), next).unwrap()
    }

    #[test]
    fn wider_finds_the_likelier_caption() {
        assert_eq!(run(1, 1)[0].tokens, [1, END]);
        let wide = run(2, 1);
        assert_eq!(wide[0].tokens, [2, END]);
        assert!((wide[0].score - (0.4f32 * 0.9).ln()).abs() < 1e-6);
    }

    #[test]
    fn windows_do_not_disturb_each_other_and_the_length_is_limited() {
        let tokens: Vec<_> = run(2, 3).into_iter().map(|caption| caption.tokens).collect();
        assert_eq!(tokens, [vec![2, END], vec![END], vec![1, 1, 1, 1]]);
        assert!(run(2, 0).is_empty());
    }

    #[test]
    fn rows_name_the_row_that_they_come_from() {
        let mut calls: Vec<Vec<Row>> = Vec::new();
        let next = |rows: &[Row]| {
            calls.push(rows.to_vec());
            Ok::<_, Infallible>(rows.iter().map(words).collect())
        };
        search(2, rules(2), next).unwrap();
        assert_eq!(calls[0], [Row { window: 0, parent: 0, last: 0 }, Row { window: 1, parent: 0, last: 0 }]);
        // The second window has ended; the first continues with both tokens of its only row.
        assert_eq!(calls[1], [Row { window: 0, parent: 0, last: 1 }, Row { window: 0, parent: 0, last: 2 }]);
    }
}
