//! Metrics of one ranked list against what is relevant.

/// Σ hᵣ / k over the first `k` places of `hits`.
pub fn precision(hits: &[bool], k: usize) -> f64 {
    ratio(count(hits, k), k)
}

/// Σ hᵣ / R over the first `k` places of `hits`.
pub fn recall(hits: &[bool], k: usize, relevant: usize) -> f64 {
    ratio(count(hits, k), relevant)
}

/// Σ hᵣ / min(k, R) over the first `k` places of `hits`.
pub fn recall_capped(hits: &[bool], k: usize, relevant: usize) -> f64 {
    ratio(count(hits, k), k.min(relevant))
}

/// 1 when one of the first `k` places is a hit.
pub fn hit_rate(hits: &[bool], k: usize) -> f64 {
    f64::from(u8::from(count(hits, k) > 0))
}

/// Discounted gain of the first `k` places over the best possible with `relevant` items.
pub fn ndcg(hits: &[bool], k: usize, relevant: usize) -> f64 {
    let discount = |place: usize| 1.0 / (place as f64 + 2.0).log2();
    let ideal: f64 = (0..k.min(relevant)).map(discount).sum();
    let gain: f64 = hits
        .iter()
        .take(k)
        .enumerate()
        .filter(|(_, hit)| **hit)
        .map(|(r, _)| discount(r))
        .sum();
    if ideal > 0.0 { gain / ideal } else { 0.0 }
}

/// How a weight becomes a gain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gain {
    /// The weight itself; below 0 it counts 0.
    Linear,
    /// 2 to the weight, less 1; below 0 it counts 0.
    Exponential,
}

impl Gain {
    /// The gain of `weight`, over 2 to the `largest` where it is exponential: normalising takes
    /// the factor out, and no weight overflows.
    fn of(self, weight: f32, largest: f32) -> f64 {
        let (weight, largest) = (f64::from(weight.max(0.0)), f64::from(largest.max(0.0)));
        match self {
            Gain::Linear => weight,
            // −expm1 keeps small weights exact: 2^w − 1 over 2^m is 2^(w − m) · (1 − 2^−w).
            Gain::Exponential => {
                -(weight - largest).exp2() * (-weight * std::f64::consts::LN_2).exp_m1()
            }
        }
    }
}

/// Discounted gain of the first `k` places over the best possible.
///
/// `found` has the weight of the item at each place, 0 where it is not relevant; `relevant` the
/// weights of all relevant items, in any order.
pub fn ndcg_graded(found: &[f32], k: usize, relevant: &[f32], gain: Gain) -> f64 {
    let largest = relevant.iter().copied().fold(0.0, f32::max);
    let sum = |weights: &[f32]| -> f64 {
        let places = weights.iter().take(k).enumerate();
        places
            .map(|(place, &w)| gain.of(w, largest) / (place as f64 + 2.0).log2())
            .sum()
    };
    let mut best = relevant.to_vec();
    best.sort_unstable_by(|a, b| b.total_cmp(a));
    let ideal = sum(&best);
    if ideal > 0.0 { sum(found) / ideal } else { 0.0 }
}

/// Precision at each hit within the first `k`, over min(k, R).
pub fn average_precision(hits: &[bool], k: usize, relevant: usize) -> f64 {
    let mut found = 0usize;
    let mut sum = 0.0;
    for (place, _) in hits.iter().take(k).enumerate().filter(|(_, hit)| **hit) {
        found += 1;
        sum += found as f64 / (place + 1) as f64;
    }
    match k.min(relevant) {
        0 => 0.0,
        best => sum / best as f64,
    }
}

/// 1 / rank of the first hit within the first `k`.
pub fn reciprocal_rank(hits: &[bool], k: usize) -> f64 {
    hits.iter()
        .take(k)
        .position(|hit| *hit)
        .map_or(0.0, |place| 1.0 / (place + 1) as f64)
}

/// The chance that a relevant score is above an irrelevant one, ties counted half.
///
/// Sorts by score and sums the mean ranks of the relevant ones (Mann–Whitney). ½ when one of the two
/// kinds is missing. Takes (score, relevant) pairs and reorders them.
pub fn auc(scored: &mut [(f32, bool)]) -> f64 {
    scored.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let positive = scored.iter().filter(|s| s.1).count();
    let negative = scored.len() - positive;
    if positive == 0 || negative == 0 {
        return 0.5;
    }
    let mut below = 0usize;
    let mut rank_sum = 0.0;
    for ties in scored.chunk_by(|a, b| a.0 == b.0) {
        let mean_rank = below as f64 + (ties.len() as f64 + 1.0) / 2.0;
        rank_sum += mean_rank * ties.iter().filter(|s| s.1).count() as f64;
        below += ties.len();
    }
    let (p, n) = (positive as f64, negative as f64);
    (rank_sum - p * (p + 1.0) / 2.0) / (p * n)
}

fn count(hits: &[bool], k: usize) -> usize {
    hits.iter().take(k).filter(|hit| **hit).count()
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// AUC by its definition, all pairs.
    fn auc_reference(scored: &[(f32, bool)]) -> f64 {
        let (mut wins, mut pairs) = (0.0, 0.0);
        for (a, _) in scored.iter().filter(|s| s.1) {
            for (b, _) in scored.iter().filter(|s| !s.1) {
                wins += if a > b {
                    1.0
                } else if a == b {
                    0.5
                } else {
                    0.0
                };
                pairs += 1.0;
            }
        }
        if pairs == 0.0 { 0.5 } else { wins / pairs }
    }

    proptest! {
        #[test]
        fn auc_equals_its_definition(
            scored in proptest::collection::vec(((0u8..6).prop_map(f32::from), any::<bool>()), 0..40)
        ) {
            let expected = auc_reference(&scored);
            prop_assert!((auc(&mut scored.clone()) - expected).abs() < 1e-12);
        }

        #[test]
        fn all_lie_between_zero_and_one(
            hits in proptest::collection::vec(any::<bool>(), 0..30), k in 1usize..40, more in 0usize..9
        ) {
            let relevant = hits.iter().filter(|h| **h).count() + more;
            for value in [
                precision(&hits, k), recall(&hits, k, relevant), hit_rate(&hits, k),
                recall_capped(&hits, k, relevant), ndcg(&hits, k, relevant), average_precision(&hits, k, relevant),
                reciprocal_rank(&hits, k),
            ] {
                prop_assert!((0.0..=1.0 + 1e-12).contains(&value), "{value}");
            }
        }

        #[test]
        fn graded_gains_of_equal_weights_are_the_binary_gain(
            hits in proptest::collection::vec(any::<bool>(), 0..30),
            k in 1usize..40,
            more in 0usize..9,
            weight in 0.01f32..2000.0,
        ) {
            let relevant = hits.iter().filter(|h| **h).count() + more;
            let found: Vec<f32> = hits.iter().map(|&h| if h { weight } else { 0.0 }).collect();
            for gain in [Gain::Linear, Gain::Exponential] {
                let graded = ndcg_graded(&found, k, &vec![weight; relevant], gain);
                prop_assert!((graded - ndcg(&hits, k, relevant)).abs() < 1e-9);
            }
        }

        #[test]
        fn the_ideal_order_of_grades_scores_one(
            mut weights in proptest::collection::vec(0.1f32..5.0, 1..20), k in 1usize..25
        ) {
            let relevant = weights.clone();
            weights.sort_unstable_by(|a, b| b.total_cmp(a));
            for gain in [Gain::Linear, Gain::Exponential] {
                prop_assert!((ndcg_graded(&weights, k, &relevant, gain) - 1.0).abs() < 1e-12);
                weights.reverse();
                prop_assert!(ndcg_graded(&weights, k, &relevant, gain) <= 1.0 + 1e-12);
                weights.reverse();
            }
        }

        #[test]
        fn a_hit_moved_up_never_hurts(mut hits in proptest::collection::vec(any::<bool>(), 2..30)) {
            let relevant = hits.iter().filter(|h| **h).count();
            let before = (ndcg(&hits, 10, relevant), average_precision(&hits, 10, relevant));
            if let Some(at) = (1..hits.len()).find(|&i| hits[i] && !hits[i - 1]) {
                hits.swap(at, at - 1);
            }
            prop_assert!(ndcg(&hits, 10, relevant) >= before.0 - 1e-12);
            prop_assert!(average_precision(&hits, 10, relevant) >= before.1 - 1e-12);
        }
    }

    #[test]
    fn a_perfect_list_scores_one() {
        let hits = [true, true, true, false];
        assert_eq!(ndcg(&hits, 10, 3), 1.0);
        assert_eq!(average_precision(&hits, 10, 3), 1.0);
        assert_eq!(reciprocal_rank(&hits, 10), 1.0);
        assert_eq!(precision(&hits, 10), 0.3);
        assert_eq!(recall(&hits, 2, 3), 2.0 / 3.0);
        assert_eq!(recall_capped(&hits, 2, 3), 1.0);
    }

    #[test]
    fn weights_without_gain_and_huge_ones_give_numbers() {
        assert_eq!(ndcg_graded(&[-1.0, 0.0], 5, &[-1.0], Gain::Linear), 0.0);
        assert_eq!(ndcg_graded(&[], 5, &[], Gain::Exponential), 0.0);
        let huge = ndcg_graded(&[0.0, 3e38], 5, &[3e38, 1.0], Gain::Exponential);
        assert!((huge - 1.0 / 3f64.log2()).abs() < 1e-12, "{huge}");
    }
}
