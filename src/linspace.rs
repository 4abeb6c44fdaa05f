//! Indices spread evenly over a sequence, with the rounding of the published systems. Pure.

/// `numpy.linspace(0, total − 1, count, dtype=int)`: `count` indices of `total` items, including both ends; repeated if
/// there are fewer items. The step must be a float64: integer arithmetic rounds differently for some lengths.
pub fn indices(total: usize, count: usize) -> Vec<usize> {
    let last = total.saturating_sub(1);
    let step = last as f64 / (count.max(2) - 1) as f64;
    (0..count).map(|i| if i > 0 && i + 1 == count { last } else { (i as f64 * step) as usize }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn both_ends_are_there_and_few_are_repeated() {
        assert_eq!(indices(10, 4), [0, 3, 6, 9]);
        assert_eq!(indices(8, 8), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(indices(3, 8), [0, 0, 0, 0, 1, 1, 1, 2]);
        assert_eq!(indices(1, 3), [0, 0, 0]);
        assert_eq!((indices(9, 1), indices(9, 0)), (vec![0], vec![]));
    }

    #[test]
    fn rounds_as_the_reference() {
        let text = include_str!("../models/tests/fixtures/frame_sampling/cases.json");
        let cases: Value = serde_json::from_str(text).unwrap();
        for case in cases["linspace_rounding"].as_array().unwrap() {
            let number = |key: &str| case[key].as_u64().unwrap() as usize;
            let expected: Vec<usize> = serde_json::from_value(case["indices"].clone()).unwrap();
            assert_eq!(indices(number("last") + 1, number("num")), expected);
        }
    }
}
