//! Vectors on paper by their neighbourhoods: t-SNE (van der Maaten and Hinton, *Visualizing Data using
//! t-SNE*, 2008), exactly.

use rayon::prelude::*;
use refrain_core::{Monitor, kernels};

use crate::{Embeddings, Error, Projection, Result};

/// Words beyond which the table of all pairs would take more than half a gigabyte.
const MOST: usize = 10_000;
/// Steps in which near words are pulled together with more force.
const EARLY: usize = 250;
const EXAGGERATION: f64 = 12.0;

/// Places in which words that are near by their cosine are near, and the others merely not: groups show
/// that [principal components](Embeddings::project) lay on top of each other, while distances between
/// groups, and their sizes, mean little.
///
/// Begins at the two principal components, so that nothing is random and the large parts stay where
/// they were (Kobak and Berens, *The art of using t-SNE for single-cell transcriptomics*, 2019). Costs
/// `words²` operations a step: a second for a thousand words, a minute for ten thousand.
///
/// ```
/// use refrain_embeddings::{Embeddings, Tsne};
/// let words = Embeddings::from_vectors([
///     ("cat", [1.0, 0.1]), ("dog", [0.9, 0.2]), ("car", [0.1, 1.0]), ("bus", [0.2, 0.9]),
/// ])?;
/// let map = Tsne { perplexity: 1.0, ..Tsne::default() }.fit(&words, &["cat", "dog", "car", "bus"])?;
/// assert!(map.to_svg("Animals and others").contains("cat"));
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Tsne {
    /// About how many neighbours each word has; less than a third of the words.
    pub perplexity: f64,
    /// Steps of gradient descent.
    pub iterations: usize,
}

impl Default for Tsne {
    fn default() -> Self {
        Self {
            perplexity: 30.0,
            iterations: 1000,
        }
    }
}

impl Tsne {
    /// Two dimensions for each of the words. The projection has no directions.
    ///
    /// # Errors
    /// [`Error::UnknownWord`], [`Error::TooFewWords`] for less than two, and [`Error::Config`] for more
    /// than 10,000 words, for a perplexity below 1 or of a third of the words or more (for four words
    /// and more), and for no steps.
    pub fn fit(&self, embeddings: &Embeddings, words: &[&str]) -> Result<Projection> {
        self.fit_with(embeddings, words, &Monitor::silent())
    }

    /// The same, telling `monitor` the divergence of the two neighbourhoods, in nats.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and when it is cancelled.
    pub fn fit_with(
        &self,
        embeddings: &Embeddings,
        words: &[&str],
        monitor: &Monitor,
    ) -> Result<Projection> {
        let n = words.len();
        let config = |field, value: String, reason| Error::Config {
            field,
            value,
            reason,
        };
        if n > MOST {
            return Err(config("words", n.to_string(), "choose at most 10,000"));
        }
        if !(self.perplexity >= 1.0 && self.perplexity < (n as f64 / 3.0).max(1.1)) {
            let reason = "choose at least 1 and less than a third of the words";
            return Err(config("perplexity", self.perplexity.to_string(), reason));
        }
        if self.iterations == 0 {
            return Err(config("iterations", "0".to_string(), "choose at least 1"));
        }
        let mut map = embeddings.project(words, embeddings.dim().min(2), true)?;
        let mut directions = Vec::with_capacity(n * embeddings.dim());
        for word in words {
            let mut vector = embeddings.embed(word).unwrap_or_default().into_owned();
            kernels::normalize(&mut vector);
            directions.extend(vector);
        }
        let near = neighbourhoods(&directions, embeddings.dim(), self.perplexity);
        drop(directions);
        let mut places = begin(&map);
        let (mut speed, mut gains) = (vec![[0.0; 2]; n], vec![[1.0; 2]; n]);
        let rate = (n as f64 / EXAGGERATION / 4.0).max(50.0);
        let stage = monitor.start("t-SNE", Some(self.iterations as u64));
        for step in 0..self.iterations {
            let (exaggeration, momentum) = match step < EARLY {
                true => (EXAGGERATION, 0.5),
                false => (1.0, 0.8),
            };
            let (slopes, divergence) = slopes(&near, &places, exaggeration);
            for ((place, slope), (speed, gain)) in places
                .iter_mut()
                .zip(slopes)
                .zip(speed.iter_mut().zip(&mut gains))
            {
                for d in 0..2 {
                    // Slower where it goes to and fro (Jacobs, 1988).
                    gain[d] = match (slope[d] > 0.0) == (speed[d] > 0.0) {
                        true => f64::max(gain[d] * 0.8, 0.01),
                        false => gain[d] + 0.2,
                    };
                    speed[d] = momentum * speed[d] - rate * gain[d] * slope[d];
                    place[d] += speed[d];
                }
            }
            stage.advance(1, format_args!("divergence {divergence:.4}"))?;
        }
        centre(&mut places);
        map.places = places
            .iter()
            .map(|place| place.iter().map(|&v| v as f32).collect())
            .collect();
        map.directions.clear();
        map.explained.clear();
        Ok(map)
    }
}

/// Principal components, made small; words at the same place are moved apart a little.
fn begin(map: &Projection) -> Vec<[f64; 2]> {
    let at = |place: &[f32], d: usize| place.get(d).copied().map_or(0.0, f64::from);
    let squares = map.places.iter().map(|place| at(place, 0).powi(2));
    let deviation = (squares.sum::<f64>() / map.places.len() as f64).sqrt();
    let scale = if deviation > 0.0 {
        1e-4 / deviation
    } else {
        0.0
    };
    let places = map.places.iter().enumerate();
    places
        .map(|(i, place)| {
            let turn = i as f64 * 2.399_963; // the golden angle
            let aside = [1e-7 * turn.cos(), 1e-7 * turn.sin()];
            [
                at(place, 0) * scale + aside[0],
                at(place, 1) * scale + aside[1],
            ]
        })
        .collect()
}

fn centre(places: &mut [[f64; 2]]) {
    for d in 0..2 {
        let mean = places.iter().map(|p| p[d]).sum::<f64>() / places.len().max(1) as f64;
        places.iter_mut().for_each(|place| place[d] -= mean);
    }
}

/// The symmetric probabilities of all pairs, `[n, n]`, which add up to 1.
fn neighbourhoods(directions: &[f32], dim: usize, perplexity: f64) -> Vec<f32> {
    let n = directions.len() / dim;
    let mut given = vec![0.0f32; n * n];
    given.par_chunks_mut(n).enumerate().for_each(|(i, row)| {
        let own = &directions[i * dim..(i + 1) * dim];
        kernels::scores(own, directions, row);
        // Squared distances of directions, less the least of them, which changes no probability.
        row.iter_mut().for_each(|v| *v = (2.0 - 2.0 * *v).max(0.0));
        row[i] = f32::INFINITY;
        let least = row.iter().copied().fold(f32::INFINITY, f32::min);
        row.iter_mut().for_each(|v| *v -= least);
        spread(row, perplexity);
    });
    let mut both = vec![0.0f32; n * n];
    both.par_chunks_mut(n).enumerate().for_each(|(i, row)| {
        for (j, value) in row.iter_mut().enumerate() {
            *value = (given[i * n + j] + given[j * n + i]) / (2 * n) as f32;
        }
    });
    both
}

/// Turns squared distances into probabilities whose entropy is the logarithm of the perplexity.
fn spread(row: &mut [f32], perplexity: f64) {
    let goal = perplexity.ln();
    let (mut beta, mut low, mut high) = (1.0f64, 0.0f64, f64::INFINITY);
    let entropy = |beta: f64| {
        let (mut sum, mut weighted) = (0.0, 0.0);
        for &d in row.iter().filter(|d| d.is_finite()) {
            let p = (-beta * f64::from(d)).exp();
            sum += p;
            weighted += p * f64::from(d);
        }
        (sum.ln() + beta * weighted / sum, sum)
    };
    for _ in 0..100 {
        let (found, _) = entropy(beta);
        if (found - goal).abs() < 1e-6 {
            break;
        }
        if found > goal {
            low = beta;
            beta = if high.is_finite() {
                (low + high) / 2.0
            } else {
                beta * 2.0
            };
        } else {
            high = beta;
            beta = (low + high) / 2.0;
        }
        // Equal distances have one entropy, whatever beta is.
        if !(1e-30..1e30).contains(&beta) {
            break;
        }
    }
    let (_, sum) = entropy(beta);
    for d in row {
        *d = match d.is_finite() {
            true => ((-beta * f64::from(*d)).exp() / sum) as f32,
            false => 0.0,
        };
    }
}

/// The gradient of the divergence by each place, and the divergence itself.
fn slopes(near: &[f32], places: &[[f64; 2]], exaggeration: f64) -> (Vec<[f64; 2]>, f64) {
    let n = places.len();
    let weight =
        |a: &[f64; 2], b: &[f64; 2]| 1.0 / (1.0 + (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2));
    let sums: Vec<f64> = places
        .par_iter()
        .map(|a| places.iter().map(|b| weight(a, b)).sum::<f64>() - 1.0)
        .collect();
    let total = sums.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let rows: Vec<([f64; 2], f64)> = places
        .par_iter()
        .zip(near.par_chunks(n.max(1)))
        .map(|(a, near)| {
            let (mut slope, mut divergence) = ([0.0; 2], 0.0);
            for (b, &p) in places.iter().zip(near) {
                let (w, p) = (weight(a, b), f64::from(p));
                let pull = 4.0 * (exaggeration * p - w / total) * w;
                slope[0] += pull * (a[0] - b[0]);
                slope[1] += pull * (a[1] - b[1]);
                if p > 0.0 {
                    divergence += p * (p * total / w).ln();
                }
            }
            (slope, divergence)
        })
        .collect();
    let divergence = rows.iter().map(|row| row.1).sum();
    (rows.into_iter().map(|row| row.0).collect(), divergence)
}

#[cfg(test)]
#[path = "tsne_tests.rs"]
mod tests;
