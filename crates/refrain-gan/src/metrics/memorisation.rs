//! Whether the painted images are copies of training images.
//!
//! Real images that were held out show how near two images come by chance. Painted images should lie no
//! nearer to the training images than those do. `closer` is the chance that a random painted image is
//! nearer to a training image than a random held-out one is (ties count half): Mann and Whitney's U,
//! divided by the number of pairs, which is the data-copying test of Meehan, Chaudhuri and Dasgupta 2020
//! (<https://arxiv.org/abs/2004.05675>) over one cell. Near 0.5 is right, near 1 is copying; far below
//! 0.5 the images are unlike any real one.

use super::rows::Rows;
use crate::Result;

const WHAT: &str = "memorisation";

/// A row's nearest training row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NearestTraining {
    /// Which training row.
    pub index: usize,
    /// Euclidean distance to it.
    pub distance: f32,
}

/// How near painted images come to training images.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Memorisation {
    /// For each painted image the training image nearest to it: show some of the pairs.
    pub nearest: Vec<NearestTraining>,
    /// The chance that a painted image is nearer to a training image than a held-out one is.
    pub closer: f64,
    /// Share of painted images nearer to a training image than 99 % of held-out ones: perhaps copies.
    pub copied: f64,
}

/// Compares painted and held-out row vectors of length `dim` with the training ones.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) when a set is empty or no whole number of rows,
/// [`Error::Numeric`](crate::Error::Numeric) when a value is not finite.
///
/// ```
/// use refrain_gan::metrics::memorisation;
/// let (train, held_out) = ([0.0, 1.0, 2.0, 3.0], [0.4, 1.5, 2.3]);
/// let copies = memorisation(&[1.0, 2.0, 2.0], &train, &held_out, 1)?;
/// assert_eq!((copies.closer, copies.copied), (1.0, 1.0));
/// assert_eq!(copies.nearest[0].index, 1);
/// # Ok::<(), refrain_gan::Error>(())
/// ```
pub fn memorisation(
    painted: &[f32],
    train: &[f32],
    held_out: &[f32],
    dim: usize,
) -> Result<Memorisation> {
    let painted = Rows::new(WHAT, painted, dim, 1)?;
    let train = Rows::new(WHAT, train, dim, 1)?;
    let held_out = Rows::new(WHAT, held_out, dim, 1)?;
    let nearest = |rows: Rows<'_>| -> Vec<NearestTraining> {
        let all = rows.nearest(train, 1).into_iter().flatten();
        all.map(|(squared, index)| NearestTraining {
            index,
            distance: squared.sqrt(),
        })
        .collect()
    };
    let nearest_painted = nearest(painted);
    let mut usual: Vec<f32> = nearest(held_out).iter().map(|n| n.distance).collect();
    usual.sort_by(f32::total_cmp);
    let near = usual.get(((usual.len() - 1) as f64 * 0.01).round() as usize);
    let near = near.copied().unwrap_or(0.0);
    let beyond = |distance: f32| {
        // How many held-out images are further, ties half.
        let below = usual.partition_point(|&d| d < distance);
        let within = usual.partition_point(|&d| d <= distance);
        usual.len() as f64 - 0.5 * (below + within) as f64
    };
    let n = nearest_painted.len() as f64;
    let wins: f64 = nearest_painted.iter().map(|p| beyond(p.distance)).sum();
    // A copy to the last bit is one, also where held-out images have twins among the known.
    let copy = |distance: f32| distance == 0.0 || distance < near;
    let copied = nearest_painted.iter().filter(|p| copy(p.distance)).count();
    Ok(Memorisation {
        closer: wins / (n * usual.len() as f64),
        copied: copied as f64 / n,
        nearest: nearest_painted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::golden::MEMORISATION;
    use crate::metrics::rows::tests::made;

    #[test]
    fn golden_values_of_scipy() {
        for (n, d, shrink, closer) in MEMORISATION {
            let painted: Vec<f32> = made(n, d, 5000).iter().map(|v| v * shrink).collect();
            let got = memorisation(&painted, &made(n + 9, d, 1), &made(n + 3, d, 333), d).unwrap();
            assert!(
                (got.closer - closer).abs() < 1e-6,
                "{} {closer}",
                got.closer
            );
        }
    }

    #[test]
    fn copies_and_strangers() {
        let (train, held_out) = (made(50, 4, 1), made(50, 4, 999));
        let copies = memorisation(&train, &train, &held_out, 4).unwrap();
        assert_eq!(copies.copied, 1.0);
        assert!(
            copies
                .nearest
                .iter()
                .enumerate()
                .all(|(i, n)| n.index == i && n.distance == 0.0)
        );
        let far: Vec<f32> = train.iter().map(|v| v + 9.0).collect();
        let strangers = memorisation(&far, &train, &held_out, 4).unwrap();
        assert_eq!((strangers.copied, strangers.closer), (0.0, 0.0));
        let same = memorisation(&held_out, &train, &held_out, 4).unwrap();
        assert!((same.closer - 0.5).abs() < 1e-12, "{}", same.closer);
        assert!(memorisation(&[], &train, &held_out, 4).is_err());
    }
}
