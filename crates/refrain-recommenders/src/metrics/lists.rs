//! Metrics of what is shown, beyond whether it was relevant.

/// How unequally `shown` counts are spread: Σᵢ (2i − n − 1) xᵢ / (n Σ xᵢ) over the ascending counts;
/// 0 when nothing was shown. Reorders them.
pub fn gini(shown: &mut [u64]) -> f64 {
    shown.sort_unstable();
    let n = shown.len() as f64;
    let total: f64 = shown.iter().map(|&x| x as f64).sum();
    let places = shown.iter().zip(1u32..);
    let sum: f64 = places
        .map(|(&x, i)| (2.0 * f64::from(i) - n - 1.0) * x as f64)
        .sum();
    if total > 0.0 { sum / (n * total) } else { 0.0 }
}

/// Hits among the first `k` of `list` that are not in `expected`, over `k`.
pub fn serendipity(list: &[u32], hits: &[bool], expected: &[u32], k: usize) -> f64 {
    let surprising = list
        .iter()
        .zip(hits)
        .take(k)
        .filter(|(item, hit)| **hit && !expected.contains(item))
        .count();
    if k == 0 {
        0.0
    } else {
        surprising as f64 / k as f64
    }
}

/// Mean popularity of a list over that of a history, less 1; 0 when one of the two is empty or the
/// history's is 0.
pub fn popularity_lift(list: impl Iterator<Item = f64>, history: impl Iterator<Item = f64>) -> f64 {
    let mean = |values: &mut dyn Iterator<Item = f64>| {
        let (sum, n) = values.fold((0.0, 0u32), |(sum, n), value| (sum + value, n + 1));
        (n > 0).then(|| sum / f64::from(n))
    };
    match (mean(&mut { list }), mean(&mut { history })) {
        (Some(list), Some(history)) if history > 0.0 => list / history - 1.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By its definition: the mean difference of all pairs over twice the mean.
    fn gini_reference(shown: &[u64]) -> f64 {
        let n = shown.len() as f64;
        let total: f64 = shown.iter().map(|&x| x as f64).sum();
        let pairs = shown
            .iter()
            .flat_map(|&a| shown.iter().map(move |&b| a.abs_diff(b) as f64));
        if total > 0.0 {
            pairs.sum::<f64>() / (2.0 * n * total)
        } else {
            0.0
        }
    }

    proptest! {
        #[test]
        fn gini_equals_its_definition(shown in proptest::collection::vec(0u64..50, 0..30)) {
            let value = gini(&mut shown.clone());
            prop_assert!((value - gini_reference(&shown)).abs() < 1e-12);
            prop_assert!((0.0..1.0).contains(&value));
        }
    }

    #[test]
    fn by_hand() {
        assert_eq!(gini(&mut [3, 3, 3]), 0.0);
        assert_eq!(gini(&mut [0, 0, 0, 8]), 0.75);
        assert_eq!(
            serendipity(&[4, 2, 9], &[true, true, false], &[2, 3], 4),
            0.25
        );
        let of = |values: [f64; 2]| values.into_iter();
        assert_eq!(popularity_lift(of([4.0, 8.0]), of([2.0, 4.0])), 1.0);
        assert_eq!(popularity_lift(std::iter::empty(), of([2.0, 4.0])), 0.0);
    }
}
