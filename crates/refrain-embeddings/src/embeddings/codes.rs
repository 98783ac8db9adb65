//! Exact search in two passes: over 8-bit codes of all vectors, a quarter of the bytes, and then over
//! the few vectors that the first pass cannot rule out.
//!
//! A direction is x = s·c + e with codes c, and a query's y = t·d + f. Since |x| = |y| = 1, the cosine
//! lies within |e| + |f| · (1 + |e|) of s·t·(c·d). What is sure to have k better ones is ruled out, and
//! all others are compared in full, so nothing is missed.

use rayon::prelude::*;
use refrain_core::Values;
use refrain_core::kernels::{self, TopK};

use super::{BLOCK, Embeddings, direction, inverse_norm};

/// More than rounding in 32 bits can change a cosine.
const ROUNDING: f32 = 1e-4;
/// Sums of products of codes are exact up to here.
const MOST_VALUES: usize = 1 << 17;

/// Codes of the directions of all vectors.
#[derive(Debug, Clone)]
pub(super) struct Codes {
    /// `[words, dim]`, each the bits of a number from −127 to 127.
    pub codes: Values<u8>,
    /// s of each word.
    pub scales: Values,
    /// |e| of each word.
    pub errors: Values,
}

/// Scale and length of the error of a direction's codes.
fn encode(direction: &[f32], codes: &mut [i8]) -> (f32, f32) {
    let scale = kernels::quantize_i8(direction, codes);
    let off = direction.iter().zip(codes.iter());
    let off = off.map(|(&x, &code)| f64::from(x) - f64::from(scale) * f64::from(code));
    (scale, off.map(|e| e * e).sum::<f64>().sqrt() as f32)
}

impl Codes {
    pub fn new(words: &Embeddings) -> Option<Self> {
        if words.dim >= MOST_VALUES {
            return None;
        }
        let mut codes = vec![0u8; words.vectors().len()];
        let rows = codes.par_chunks_mut(words.dim);
        let (scales, errors): (Vec<f32>, Vec<f32>) = rows
            .zip(words.vectors().par_chunks(words.dim))
            .zip(&words.inverse_norms[..])
            .map(|((codes, vector), &inverse)| {
                encode(&direction(vector, inverse), bytemuck::cast_slice_mut(codes))
            })
            .unzip();
        Some(Self {
            codes: Values::Owned(codes),
            scales: Values::Owned(scales),
            errors: Values::Owned(errors),
        })
    }

    /// The best `k` words for a vector of finite values, as one pass over all vectors finds them.
    pub fn best(
        &self,
        words: &Embeddings,
        vector: &[f32],
        k: usize,
        keep: &(dyn Fn(u32) -> bool + Sync),
    ) -> TopK {
        let vector = direction(vector, inverse_norm(vector));
        let mut query = vec![0; words.dim];
        let (scale, error) = encode(&vector, &mut query);
        // Of each block those that its own best do not rule out, with the most their cosine can be.
        let search = |block: usize| {
            let first = block * BLOCK;
            let end = words.len().min(first + BLOCK);
            let codes = &self.codes[first * words.dim..end * words.dim];
            let mut products = vec![0; end - first];
            kernels::scores_i8(&query, bytemuck::cast_slice(codes), &mut products);
            let known = self.scales[first..end].iter().zip(&self.errors[first..end]);
            let (mut least, mut open) = (TopK::new(k), Vec::new());
            for ((index, product), (&s, &e)) in (first as u32..).zip(products).zip(known) {
                let near = product as f32 * (s * scale);
                let slack = e + error * (1.0 + e) + ROUNDING;
                if near + slack >= least.threshold() && keep(index) {
                    least.push(index, near - slack);
                    open.push((index, near + slack));
                }
            }
            (least, open)
        };
        let blocks = words.len().div_ceil(BLOCK);
        let found: Vec<(TopK, Vec<(u32, f32)>)> = (0..blocks).into_par_iter().map(search).collect();
        let mut least = TopK::new(k);
        for best in found
            .iter()
            .flat_map(|(best, _)| best.clone().into_sorted())
        {
            least.push(best.index, best.score);
        }
        let enough = least.threshold();
        let open: Vec<u32> = found
            .iter()
            .flat_map(|(_, open)| open)
            .filter(|(_, high)| *high >= enough)
            .map(|(index, _)| *index)
            .collect();
        let exact = |&index: &u32| {
            let mut score = [0.0];
            kernels::scores(&vector, words.row(index).unwrap_or_default(), &mut score);
            (index, score[0] * words.inverse(index))
        };
        let mut top = TopK::new(k);
        for (index, score) in open.par_iter().map(exact).collect::<Vec<_>>() {
            top.push(index, score);
        }
        top
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::RngExt;

    use super::*;

    /// Directions alike within groups, some equal, some zero.
    fn words(count: usize, dim: usize, seed: u64) -> Embeddings {
        let mut rng = refrain_core::rng::stream(seed, 4);
        let mut draw = |size: f32| -> Vec<f32> {
            let values = (0..dim).map(|_| rng.random_range(-1.0..1.0) * size);
            values.collect()
        };
        let groups: Vec<Vec<f32>> = (0..7).map(|_| draw(1.0)).collect();
        let vectors = (0..count).map(|i| match i % 11 {
            0 => vec![0.0; dim],
            1 => groups[i % 7].clone(),
            2 => draw(1e-20),
            _ => {
                let near = draw(0.01);
                let sum = groups[i % 7]
                    .iter()
                    .zip(near)
                    .map(|(a, b)| (a + b) * i as f32);
                sum.collect()
            }
        });
        let vectors: Vec<(String, Vec<f32>)> = vectors
            .enumerate()
            .map(|(i, v)| (format!("w{i}"), v))
            .collect();
        Embeddings::from_vectors(vectors).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn two_passes_find_what_one_does(
            count in 0usize..6000, dim in 1usize..40, k in 0usize..40, seed in any::<u64>(),
        ) {
            let plain = words(count, dim, seed);
            let indexed = plain.clone().indexed();
            prop_assert!(indexed.is_indexed() && !plain.is_indexed());
            let mut rng = refrain_core::rng::stream(seed, 5);
            for at in [0, 1, 2, 3, count / 2] {
                let mut query: Vec<f32> = (0..dim).map(|_| rng.random_range(-1.0..1.0)).collect();
                if let Some(row) = plain.row(at as u32) {
                    query = row.to_vec();
                }
                prop_assert_eq!(plain.nearest(&query, k).unwrap(), indexed.nearest(&query, k).unwrap());
                let odd = |_: u32, word: &str| !word.ends_with(['0', '2', '4', '6', '8']);
                prop_assert_eq!(
                    plain.nearest_where(&query, k, odd).unwrap(),
                    indexed.nearest_where(&query, k, odd).unwrap()
                );
            }
        }

        #[test]
        fn many_questions_are_answered_as_one_by_one(
            count in 0usize..20_000, dim in 1usize..9, k in 0usize..9, asked in 0usize..12, seed in any::<u64>(),
        ) {
            // Small whole numbers of equal length: no rounding, so ties must agree too.
            let mut rng = refrain_core::rng::stream(seed, 6);
            let mut draw = || -> Vec<f32> {
                let mut row = vec![0.0; dim];
                row[rng.random_range(0..dim)] = [1.0, -1.0][rng.random_range(0..2)];
                row
            };
            let rows: Vec<_> = (0..count).map(|i| (format!("w{i}"), draw())).collect();
            let words = Embeddings::from_vectors(rows).unwrap();
            let dim = words.dim();
            let queries: Vec<Vec<f32>> = (0..asked).map(|_| { let mut q = draw(); q.resize(dim, 0.0); q }).collect();
            for (query, list) in queries.iter().zip(words.nearest_batch(&queries, k).unwrap()) {
                prop_assert_eq!(list, words.nearest(query, k).unwrap());
            }
            let names: Vec<String> = (0..asked.min(count)).map(|i| format!("w{i}")).collect();
            for (name, list) in names.iter().zip(words.neighbours_batch(&names, k).unwrap()) {
                prop_assert_eq!(list, words.neighbours(name, k).unwrap());
            }
        }
    }

    #[test]
    fn codes_are_saved_and_bad_questions_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.refrain");
        let words = words(5000, 12, 1).indexed();
        words.save(&path).unwrap();
        let again = Embeddings::load(&path).unwrap();
        let codes = again.codes.as_ref().unwrap();
        assert!(matches!(codes.codes, Values::Mapped(..)));
        let query = words.row(17).unwrap().to_vec();
        assert_eq!(
            again.nearest(&query, 9).unwrap(),
            words.nearest(&query, 9).unwrap()
        );
        assert!(words.nearest(&[f32::NAN; 12], 3).unwrap().is_empty());
        assert!(words.nearest(&[1.0; 11], 3).is_err());
        assert_eq!(words.nearest(&[0.0; 12], 3).unwrap().len(), 3);
        let uneven = [vec![1.0; 12], vec![1.0; 2]];
        assert!(words.nearest_batch(&uneven, 3).is_err());
        assert!(words.neighbours_batch(&["w1", "nobody"], 3).is_err());
        let huge = words.nearest(&[f32::MAX; 12], 3).unwrap();
        assert!(huge.len() <= 3);
    }
}
