//! What vectors took over from their texts, and what chance gave them.

use std::collections::HashSet;

use rand::RngExt;
use rayon::prelude::*;

use crate::{Embeddings, Error, Result};

/// Partitions up to which all are tried.
const ALL: u128 = 100_000;
/// How many are drawn otherwise.
const DRAWN: usize = 100_000;

/// Whether two groups of words lie differently between two others.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Association {
    /// How far apart the groups' means are, in standard deviations of all words: from −2 to 2, and 0
    /// where no word differs from another.
    pub effect: f64,
    /// How probable it is that a random division of the words into two groups has a larger difference.
    pub p: f64,
    /// Words that are unknown, which were left out.
    pub unknown: Vec<String>,
}

/// The word embedding association test: are the words of `x` nearer to those of `a` than to those of
/// `b`, more than the words of `y` are? Flowers and insects with pleasant and unpleasant words; names of
/// women and men with family and career (Caliskan, Bryson and Narayanan, *Semantics derived automatically
/// from language corpora contain human-like biases*, 2017).
///
/// All divisions are tried up to 100,000 of them, and otherwise as many drawn at random from a fixed seed.
///
/// ```
/// use refrain_embeddings::{Embeddings, evaluate};
/// let words = Embeddings::from_vectors([
///     ("rose", [1.0, 0.1]), ("tulip", [0.9, 0.0]), ("wasp", [0.1, 1.0]), ("flea", [0.0, 0.9]),
///     ("love", [1.0, 0.0]), ("filth", [0.0, 1.0]),
/// ])?;
/// let test = evaluate::association(
///     &words, &["rose", "tulip"], &["wasp", "flea"], &["love"], &["filth"],
/// )?;
/// assert!(test.effect > 1.7 && test.p == 0.0);
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
///
/// # Errors
/// [`Error::TooFewWords`] when one of the groups has no known word.
pub fn association(
    embeddings: &Embeddings,
    x: &[&str],
    y: &[&str],
    a: &[&str],
    b: &[&str],
) -> Result<Association> {
    let mut unknown = Vec::new();
    let mut known = |words: &[&str]| -> Result<Vec<String>> {
        let (known, others): (Vec<&str>, Vec<&str>) = words
            .iter()
            .partition(|word| embeddings.embed(word).is_some());
        unknown.extend(others.into_iter().map(str::to_string));
        match known.is_empty() {
            true => Err(Error::TooFewWords {
                what: "association",
                expected: 1,
                found: 0,
            }),
            false => Ok(known.into_iter().map(str::to_string).collect()),
        }
    };
    let (x, y, a, b) = (known(x)?, known(y)?, known(a)?, known(b)?);
    let mean = |word: &str, others: &[String]| -> Result<f64> {
        let mut sum = 0.0;
        for other in others {
            sum += f64::from(embeddings.similarity(word, other)?);
        }
        Ok(sum / others.len() as f64)
    };
    let mut lean = Vec::new();
    for word in x.iter().chain(&y) {
        lean.push(mean(word, &a)? - mean(word, &b)?);
    }
    let (n, m) = (x.len(), lean.len());
    let average = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let all = average(&lean);
    let variance = lean.iter().map(|v| (v - all).powi(2)).sum::<f64>() / (m - 1) as f64;
    let difference = average(&lean[..n]) - average(&lean[n..]);
    Ok(Association {
        effect: match variance > 0.0 {
            true => difference / variance.sqrt(),
            false => 0.0,
        },
        p: larger(&lean, n),
        unknown,
    })
}

/// The share of divisions into `n` values and the rest whose first group has a larger sum than the one
/// that is given.
fn larger(values: &[f64], n: usize) -> f64 {
    let m = values.len();
    let found: f64 = values[..n].iter().sum();
    // Sums of the same values in another order are no larger.
    let found = found + 1e-9 * values.iter().map(|v| v.abs()).sum::<f64>();
    let mut divisions = 1u128;
    for i in 0..n.min(m - n) as u128 {
        divisions = divisions.saturating_mul(m as u128 - i) / (i + 1);
    }
    let (mut above, mut tried) = (0u64, 0u64);
    if divisions <= ALL {
        // All ascending choices of n places.
        let mut chosen: Vec<usize> = (0..n).collect();
        loop {
            tried += 1;
            above += u64::from(chosen.iter().map(|&i| values[i]).sum::<f64>() > found);
            let Some(at) = (0..n).rev().find(|&at| chosen[at] < m - n + at) else {
                break;
            };
            chosen[at] += 1;
            for later in at + 1..n {
                chosen[later] = chosen[later - 1] + 1;
            }
        }
    } else {
        let mut rng = refrain_core::rng::stream(42, 0);
        let mut order = values.to_vec();
        for _ in 0..DRAWN {
            for at in 0..n {
                order.swap(at, rng.random_range(at..m));
            }
            tried += 1;
            above += u64::from(order[..n].iter().sum::<f64>() > found);
        }
    }
    above as f64 / tried as f64
}

/// How many of the words near a word are the same in another space.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Stability {
    /// The mean over all words: from 0 to 1.
    pub mean: f64,
    /// The words and their shares, the least stable first.
    pub words: Vec<(String, f64)>,
}

/// How stable neighbourhoods are: for each of `words`, the share of its `k` nearest words that are the
/// same in both spaces, among words that both know. Two trainings that differ in their seed alone show
/// which neighbours are chance; rare words change most (Antoniak and Mimno, *Evaluating the Stability of
/// Embedding-based Word Similarities*, 2018). Words that one of the spaces does not know are left out.
///
/// ```
/// use refrain_embeddings::{Embeddings, evaluate};
/// let space = |c| Embeddings::from_vectors([("a", [1.0, 0.0]), ("b", [0.9, 0.1]), ("c", c), ("d", [0.5, 1.0])]);
/// let (one, two) = (space([0.0, 1.0])?, space([1.0, 0.05])?);
/// let found = evaluate::neighbour_stability(&one, &two, &["a", "d"], 1)?;
/// assert_eq!(found.words, [("a".to_string(), 0.0), ("d".to_string(), 0.0)]);
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
///
/// # Errors
/// [`Error::TooFewWords`] when both know none of the words or no other word, [`Error::Config`] for no
/// neighbours.
pub fn neighbour_stability(
    one: &Embeddings,
    two: &Embeddings,
    words: &[&str],
    k: usize,
) -> Result<Stability> {
    if k == 0 {
        return Err(Error::Config {
            field: "k",
            value: k.to_string(),
            reason: "choose at least 1",
        });
    }
    let near = |space: &Embeddings, other: &Embeddings, word: &str| -> Result<HashSet<String>> {
        let vector = space.vector(word).unwrap_or_default();
        let shared = |_: u32, near: &str| near != word && other.vocabulary().get(near).is_some();
        let found = space.nearest_where(vector, k, shared)?;
        Ok(found
            .into_iter()
            .map(|near| near.word.to_string())
            .collect())
    };
    let known: Vec<&str> = words
        .iter()
        .copied()
        .filter(|word| one.vector(word).is_some() && two.vector(word).is_some())
        .collect();
    let shares: Result<Vec<Option<(String, f64)>>> = known
        .par_iter()
        .map(|word| {
            let (a, b) = (near(one, two, word)?, near(two, one, word)?);
            let most = a.len().max(b.len());
            let share = a.intersection(&b).count() as f64 / most as f64;
            Ok((most > 0).then(|| (word.to_string(), share)))
        })
        .collect();
    let mut words: Vec<(String, f64)> = shares?.into_iter().flatten().collect();
    if words.is_empty() {
        return Err(Error::TooFewWords {
            what: "stability of neighbours",
            expected: 1,
            found: 0,
        });
    }
    words.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mean = words.iter().map(|(_, share)| share).sum::<f64>() / words.len() as f64;
    Ok(Stability { mean, words })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tests/golden/make_weat.py` computes these with numpy and itertools alone.
    #[test]
    fn the_test_is_the_published_one() {
        let vector = |i: u32| -> Vec<f32> {
            let value = |d: u32| ((i * 7 + d * 13 + i * d * 5) % 23) as f32 - 11.0;
            (0..6).map(value).collect()
        };
        let rows = (0..24).map(|i| (format!("w{i}"), vector(i)));
        let words = Embeddings::from_vectors(rows).unwrap();
        let names: Vec<String> = (0..24).map(|i| format!("w{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for (x, y, a, b, effect, p) in [
            (0..5, 5..10, 10..14, 14..18, EFFECTS[0].0, EFFECTS[0].1),
            (3..7, 10..16, 0..3, 18..24, EFFECTS[1].0, EFFECTS[1].1),
        ] {
            let found = association(&words, &names[x], &names[y], &names[a], &names[b]).unwrap();
            assert!((found.effect - effect).abs() < 1e-5, "{found:?}");
            assert!((found.p - p).abs() < 1e-9, "{found:?}");
        }
        let error = association(&words, &["w1"], &["w2"], &["w3"], &["nobody"]);
        assert!(matches!(error, Err(Error::TooFewWords { .. })));
        let some = association(&words, &["w1", "x"], &["w2"], &["w3"], &["w4"]).unwrap();
        assert_eq!(some.unknown, ["x"]);
    }

    const EFFECTS: [(f64, f64); 2] = [
        (-0.875400603, 0.896825396825),
        (-0.658086090, 0.823809523810),
    ];

    #[test]
    fn drawn_divisions_agree_with_all() {
        let values: Vec<f64> = (0..18)
            .map(|i| f64::from(i * i % 19) - f64::from(i) / 3.0)
            .collect();
        let all = larger(&values, 9);
        let mut longer = values.clone();
        // Zeros in both groups change no sum: more divisions, of the same law or nearly.
        longer.splice(9..9, [0.0; 4]);
        assert!((larger(&longer, 11) - all).abs() < 0.05, "{all}");
        assert_eq!(larger(&[1.0, 1.0], 1), 0.0);
        assert_eq!(larger(&[0.0, 1.0], 1), 0.5);
    }

    #[test]
    fn the_same_space_is_stable_and_a_random_one_is_not() {
        let draw = |seed| {
            let mut rng = refrain_core::rng::stream(seed, 0);
            let mut row = || -> Vec<f32> { (0..8).map(|_| rng.random_range(-1.0..1.0)).collect() };
            Embeddings::from_vectors((0..400).map(|i| (format!("w{i}"), row()))).unwrap()
        };
        let (one, two) = (draw(1), draw(2));
        let words = ["w1", "w50", "w399", "nobody"];
        let same = neighbour_stability(&one, &one, &words, 10).unwrap();
        assert_eq!((same.mean, same.words.len()), (1.0, 3));
        let other = neighbour_stability(&one, &two, &words, 10).unwrap();
        assert!(other.mean < 0.2, "{other:?}");
        assert!(neighbour_stability(&one, &two, &["nobody"], 10).is_err());
        assert!(neighbour_stability(&one, &two, &words, 0).is_err());
        let alone = Embeddings::from_vectors([("w1", [1.0; 8])]).unwrap();
        assert!(neighbour_stability(&one, &alone, &words, 3).is_err());
    }
}
