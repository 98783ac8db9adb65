//! What a step pulls on: losses of scores and their slopes.
//!
//! With x = score(u, i) − score(u, j) for an item i that u had and an item j that u had not:
//!
//! ```text
//! BPR        ln(1 + e^−x)
//! WARP       w · max(0, 1 − x)      w = ln(max(1, ⌊(items − 1) / draws⌋)) / ln(items), j the first draw with x < 1
//! logistic   ln(1 + e^−s(u,i)) + Σ_j ln(1 + e^s(u,j))
//! ```

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Objective {
    /// Each positive above one negative.
    Bpr,
    /// Each positive above the first negative that violates the margin, the more so the sooner one
    /// was met.
    Warp { trials: u32 },
    /// WARP for the k-th best of `of` of the user's positives.
    KosWarp { k: u32, of: u32, trials: u32 },
    /// Positives up, `negatives` others down for each.
    Logistic { negatives: u32 },
}

/// ln(1 + e^−x), and minus its slope.
#[inline(always)]
pub(super) fn log_loss(x: f32) -> (f32, f32) {
    // By e^−|x|, which cannot overflow.
    let small = (-x.abs()).exp();
    let slope = if x < 0.0 { 1.0 } else { small } / (1.0 + small);
    ((1.0 + small).ln() + (-x).max(0.0), slope)
}

/// w · max(0, 1 − x), and minus its slope.
#[inline(always)]
pub(super) fn hinge(x: f32, weight: f32) -> (f32, f32) {
    match x < 1.0 {
        true => (weight * (1.0 - x), weight),
        false => (0.0, 0.0),
    }
}

/// The weight of a violation found at draw number `draws`, from 1: about the log of the rank, as a
/// part of the log of the catalogue so that one learning rate fits catalogues of all sizes.
#[inline(always)]
pub(super) fn rank_weight(catalogue: usize, draws: u32) -> f32 {
    let rank = catalogue.saturating_sub(1) / draws.max(1) as usize;
    (rank.max(1) as f32).ln() / (catalogue.max(2) as f32).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_losses() {
        let losses: [fn(f32) -> (f32, f32); 2] = [log_loss, |x| hinge(x, 3.0)];
        for loss in losses {
            for x in [-9.0f32, -2.0, -0.3, 0.0, 0.4, 0.9, 1.2, 3.0, 9.0] {
                let h = 1e-2;
                let slope = (loss(x + h).0 - loss(x - h).0) / (2.0 * h);
                assert!(
                    (slope + loss(x).1).abs() < 2e-3,
                    "{x}: {slope} {}",
                    loss(x).1
                );
            }
        }
        assert_eq!(log_loss(-1000.0), (1000.0, 1.0));
        assert_eq!(log_loss(1000.0), (0.0, 0.0));
    }

    #[test]
    fn an_early_violation_weighs_more() {
        assert_eq!(rank_weight(101, 1), 100f32.ln() / 101f32.ln());
        assert_eq!(rank_weight(101, 4), 25f32.ln() / 101f32.ln());
        assert_eq!(rank_weight(101, 90), 0.0);
        assert_eq!(rank_weight(1, 1), 0.0);
    }
}
