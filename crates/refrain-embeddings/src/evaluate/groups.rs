//! Words in groups: which one does not belong, and do clusters find the categories.

use std::collections::HashMap;

use rand::RngExt;
use refrain_core::{kernels, rng};

use crate::{Embeddings, Error, Result};

/// How well words that do not belong are found.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Outliers {
    /// The share of sets whose outlier was found. Not a number without any set.
    pub accuracy: f64,
    /// The mean place of the outlier, from 0 (it seemed to fit best) to 1 (it was found): the outlier
    /// position percentage as a share.
    pub position: f64,
    /// Sets that were asked about.
    pub sets: usize,
    /// Sets left out because a word is unknown or there were not two that belong.
    pub unknown: usize,
}

/// Asks of each set of words that belong together, and one that does not, which one that is.
///
/// The outlier is the word without which the rest is most compact: the one whose mean cosine with the
/// others is least. Camacho-Collados and Navigli, *Find the word that does not belong*, 2016.
///
/// ```
/// use refrain_embeddings::{Embeddings, evaluate};
/// let words = Embeddings::from_vectors([
///     ("cat", [1.0, 0.0]), ("dog", [1.0, 0.2]), ("horse", [0.9, 0.1]), ("tax", [0.0, 1.0]),
/// ])?;
/// let report = evaluate::outliers(&words, [(vec!["cat", "dog", "horse"], "tax")]);
/// assert_eq!((report.accuracy, report.position), (1.0, 1.0));
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
pub fn outliers<W: AsRef<str>>(
    embeddings: &Embeddings,
    sets: impl IntoIterator<Item = (Vec<W>, W)>,
) -> Outliers {
    let (mut found, mut position, mut asked, mut unknown) = (0usize, 0.0, 0usize, 0);
    for (belonging, outlier) in sets {
        let words = belonging.iter().chain([&outlier]);
        let directions: Option<Vec<Vec<f32>>> = words
            .map(|word| direction(embeddings, word.as_ref()))
            .collect();
        let Some(directions) = directions.filter(|_| belonging.len() >= 2) else {
            unknown += 1;
            continue;
        };
        let mut sum = vec![0.0; embeddings.dim()];
        for direction in &directions {
            kernels::axpy(1.0, direction, &mut sum);
        }
        // The sum of cosines with the others, as each has length 1.
        let fit = |own: &Vec<f32>| kernels::dot(own, &sum) - kernels::dot(own, own);
        let fits: Vec<f32> = directions.iter().map(fit).collect();
        let own = fits.last().copied().unwrap_or_default();
        let better = fits.iter().filter(|&&fit| fit > own).count();
        asked += 1;
        found += usize::from(better == belonging.len());
        position += better as f64 / belonging.len() as f64;
    }
    Outliers {
        accuracy: found as f64 / asked as f64,
        position: position / asked as f64,
        sets: asked,
        unknown,
    }
}

/// How well clusters find the categories of words.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Categories {
    /// The share of words that belong to the category which is the most frequent of their cluster: 1 is
    /// perfect.
    pub purity: f64,
    /// Words that were clustered.
    pub words: usize,
    /// Words left out as unknown.
    pub unknown: usize,
}

/// How often clustering begins anew; the tightest clusters count.
const RESTARTS: usize = 10;
/// After so many rounds clusters are taken as they are.
const ROUNDS: usize = 100;

/// Clusters words, each given with its category, into as many clusters as there are categories, and
/// measures their purity.
///
/// By k-means on directions (Dhillon and Modha, 2001), begun by k-means++ (Arthur and Vassilvitskii,
/// 2007) ten times; the same seed gives the same clusters. The task is that of Almuhareb, 2006, and of
/// Battig and Montague's norms.
///
/// ```
/// use refrain_embeddings::{Embeddings, evaluate};
/// let words = Embeddings::from_vectors([
///     ("cat", [1.0, 0.0]), ("dog", [1.0, 0.2]), ("tax", [0.0, 1.0]), ("duty", [0.1, 1.0]),
/// ])?;
/// let labelled = [("cat", "animal"), ("dog", "animal"), ("tax", "law"), ("duty", "law")];
/// assert_eq!(evaluate::categories(&words, labelled, 1)?.purity, 1.0);
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
///
/// # Errors
/// [`Error::TooFewWords`] when no word is known.
pub fn categories<W: AsRef<str>, C: AsRef<str>>(
    embeddings: &Embeddings,
    words: impl IntoIterator<Item = (W, C)>,
    seed: u64,
) -> Result<Categories> {
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let (mut directions, mut labels, mut unknown) = (Vec::new(), Vec::new(), 0);
    for (word, category) in words {
        let Some(direction) = direction(embeddings, word.as_ref()) else {
            unknown += 1;
            continue;
        };
        let next = numbers.len();
        let label = *numbers.entry(category.as_ref().to_string()).or_insert(next);
        directions.push(direction);
        labels.push(label);
    }
    if directions.is_empty() {
        return Err(Error::TooFewWords {
            what: "categories",
            expected: 1,
            found: 0,
        });
    }
    let k = numbers.len();
    let mut best = (f64::NEG_INFINITY, Vec::new());
    for restart in 0..RESTARTS {
        let found = cluster(&directions, k, &mut rng::stream(seed, restart as u64));
        if found.0 > best.0 {
            best = found;
        }
    }
    let mut counts = vec![vec![0usize; k]; k];
    for (&cluster, &label) in best.1.iter().zip(&labels) {
        counts[cluster][label] += 1;
    }
    let pure: usize = counts.iter().filter_map(|of| of.iter().max()).sum();
    Ok(Categories {
        purity: pure as f64 / labels.len() as f64,
        words: labels.len(),
        unknown,
    })
}

fn direction(embeddings: &Embeddings, word: &str) -> Option<Vec<f32>> {
    let mut direction = embeddings.vector(word)?.to_vec();
    kernels::normalize(&mut direction);
    Some(direction)
}

/// The sum of the cosines with their centres, and the cluster of each.
fn cluster(points: &[Vec<f32>], k: usize, rng: &mut rng::Stream) -> (f64, Vec<usize>) {
    let mut centres = vec![points[rng.random_range(0..points.len())].clone()];
    while centres.len() < k {
        // A point is drawn by its distance from the nearest centre.
        let far = |point: &Vec<f32>| {
            let nearest = nearest(point, &centres).1;
            f64::from((1.0 - nearest).max(0.0))
        };
        let distances: Vec<f64> = points.iter().map(far).collect();
        let mut left = rng.random::<f64>() * distances.iter().sum::<f64>();
        let drawn = distances.iter().position(|distance| {
            left -= distance;
            left < 0.0
        });
        let drawn = drawn.unwrap_or_else(|| rng.random_range(0..points.len()));
        centres.push(points[drawn].clone());
    }
    let mut of = vec![0; points.len()];
    let mut total = 0.0;
    for round in 0..ROUNDS {
        let mut moved = false;
        total = 0.0;
        for (point, of) in points.iter().zip(&mut of) {
            let (cluster, cosine) = nearest(point, &centres);
            moved |= *of != cluster;
            *of = cluster;
            total += f64::from(cosine);
        }
        if !moved && round > 0 {
            break;
        }
        let mut sums = vec![vec![0.0; centres[0].len()]; k];
        for (point, &of) in points.iter().zip(&of) {
            kernels::axpy(1.0, point, &mut sums[of]);
        }
        for (centre, mut sum) in centres.iter_mut().zip(sums) {
            // A cluster without points keeps its centre.
            if kernels::normalize(&mut sum) > 0.0 {
                *centre = sum;
            }
        }
    }
    (total, of)
}

fn nearest(point: &[f32], centres: &[Vec<f32>]) -> (usize, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (at, centre) in centres.iter().enumerate() {
        let cosine = kernels::dot(point, centre);
        if cosine > best.1 {
            best = (at, cosine);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three directions, four words each, a little apart.
    fn words() -> Embeddings {
        let of = |group: usize, at: usize| {
            let mut vector = [0.1, 0.1, 0.1];
            vector[group] = 2.0 + at as f32;
            vector[(group + 1) % 3] += 0.05 * at as f32;
            (format!("g{group}w{at}"), vector)
        };
        let all = (0..3).flat_map(|group| (0..4).map(move |at| of(group, at)));
        Embeddings::from_vectors(all).unwrap()
    }

    #[test]
    fn the_outlier_has_the_least_mean_cosine() {
        let words = words();
        let set = |outlier| (vec!["g0w0", "g0w1", "g0w2"], outlier);
        let report = outliers(&words, [set("g1w0"), set("g0w3"), set("nobody")]);
        assert_eq!((report.sets, report.unknown), (2, 1));
        // By the definition: the compactness of the rest, for each word left out.
        let place = |names: &[&str]| {
            let compactness = |left: usize| {
                let rest = || names.iter().enumerate().filter(move |(at, _)| *at != left);
                let pairs = rest().flat_map(|a| rest().map(move |b| (a, b)));
                let pairs = pairs.filter(|(a, b)| a.0 != b.0);
                let cosines = pairs.map(|(a, b)| words.similarity(a.1, b.1).unwrap());
                f64::from(cosines.sum::<f32>())
            };
            let own = compactness(names.len() - 1);
            let fits = (0..names.len() - 1).filter(|&at| compactness(at) < own);
            fits.count() as f64 / (names.len() - 1) as f64
        };
        let (first, second) = (
            place(&["g0w0", "g0w1", "g0w2", "g1w0"]),
            place(&["g0w0", "g0w1", "g0w2", "g0w3"]),
        );
        assert_eq!(first, 1.0);
        assert!((report.position - (first + second) / 2.0).abs() < 1e-9);
        let found = (first == 1.0) as u8 + (second == 1.0) as u8;
        assert_eq!(report.accuracy, f64::from(found) / 2.0);
        let none = outliers(&words, Vec::<(Vec<&str>, &str)>::new());
        assert!(none.accuracy.is_nan());
    }

    #[test]
    fn clusters_are_the_categories_where_these_lie_apart() {
        let words = words();
        let name = |group: usize, at: usize| format!("g{group}w{at}");
        let all = || (0..3).flat_map(|group| (0..4).map(move |at| (group, at)));
        let right = all().map(|(group, at)| (name(group, at), group.to_string()));
        let report = categories(&words, right, 3).unwrap();
        assert_eq!((report.purity, report.words, report.unknown), (1.0, 12, 0));
        // Categories across the groups: each cluster holds one of each of the four, at best one in
        // three words is in the right one by chance.
        let wrong = all().map(|(group, at)| (name(group, at), at.to_string()));
        assert!(categories(&words, wrong, 3).unwrap().purity < 0.7);
        let one = categories(&words, [("g0w0", "a"), ("x", "b")], 0).unwrap();
        assert_eq!((one.purity, one.words, one.unknown), (1.0, 1, 1));
        let error = categories(&words, [("x", "a")], 0).unwrap_err();
        assert!(matches!(error, Error::TooFewWords { .. }));
    }
}
