//! Many questions at once, as matrix products: a row is read from memory once for all of them.

use rayon::prelude::*;
use refrain_core::kernels::{self, TopK};

use super::{BLOCK, Embeddings, Neighbour, check, direction, inverse_norm, named};
use crate::Result;

/// Fewer questions are asked one by one.
const FEW: usize = 4;

impl Embeddings {
    /// The `k` words nearest to each of many vectors, as [`nearest`](Self::nearest) finds them one by one,
    /// several times as fast; scores may differ in their last bits.
    ///
    /// ```
    /// # use refrain_embeddings::Embeddings;
    /// # let words = Embeddings::from_vectors([("cat", [1.0, 0.1]), ("dog", [0.9, 0.2]), ("car", [0.5, 0.5])])?;
    /// let lists = words.nearest_batch(&[[1.0, 0.0], [0.0, 1.0]], 1)?;
    /// assert_eq!((lists[0][0].word, lists[1][0].word), ("cat", "car"));
    /// # Ok::<(), refrain_embeddings::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when a vector's length differs.
    pub fn nearest_batch<V: AsRef<[f32]>>(
        &self,
        vectors: &[V],
        k: usize,
    ) -> Result<Vec<Vec<Neighbour<'_>>>> {
        let vectors: Vec<&[f32]> = vectors.iter().map(AsRef::as_ref).collect();
        self.batch(&vectors, k, &vec![None; vectors.len()])
    }

    /// The `k` words nearest to each of many words, itself left out, as
    /// [`neighbours`](Self::neighbours) finds them one by one.
    ///
    /// # Errors
    /// [`Error::UnknownWord`](crate::Error::UnknownWord).
    pub fn neighbours_batch<W: AsRef<str>>(
        &self,
        words: &[W],
        k: usize,
    ) -> Result<Vec<Vec<Neighbour<'_>>>> {
        let found = words.iter().map(|word| self.find(word.as_ref()));
        let found = found.collect::<Result<Vec<_>>>()?;
        let vectors: Vec<&[f32]> = found.iter().map(|word| &*word.vector).collect();
        let own: Vec<Option<u32>> = found.iter().map(|word| word.index).collect();
        self.batch(&vectors, k, &own)
    }

    /// Lists for vectors, each without one word.
    fn batch(
        &self,
        vectors: &[&[f32]],
        k: usize,
        without: &[Option<u32>],
    ) -> Result<Vec<Vec<Neighbour<'_>>>> {
        for vector in vectors {
            check(vector, self.dim)?;
        }
        if vectors.len() <= FEW {
            let asked = vectors.iter().zip(without);
            return asked
                .map(|(vector, own)| self.nearest_where(vector, k, |index, _| Some(index) != *own))
                .collect();
        }
        let k = k.min(self.len());
        let mut queries = Vec::with_capacity(vectors.len() * self.dim);
        for vector in vectors {
            queries.extend(direction(vector, inverse_norm(vector)));
        }
        let mut best = vec![TopK::new(k); vectors.len()];
        let mut rows = vec![0.0; self.dim * self.len().min(4 * BLOCK)];
        let norms = self.inverse_norms.chunks(4 * BLOCK);
        let blocks = self.vectors().chunks(4 * BLOCK * self.dim);
        for (block, (values, norms)) in blocks.zip(norms).enumerate() {
            let first = (block * 4 * BLOCK) as u32;
            let rows = &mut rows[..values.len()];
            let scaled = rows
                .par_chunks_mut(self.dim)
                .zip(values.par_chunks(self.dim));
            scaled.zip(norms).for_each(|((row, vector), inverse)| {
                row.iter_mut()
                    .zip(vector)
                    .for_each(|(r, v)| *r = v * inverse);
            });
            let skip = |query: u32, row: u32| without[query as usize] == Some(first + row);
            let found = kernels::top_k_products(&queries, rows, self.dim, k, &skip);
            for (best, found) in best.iter_mut().zip(found) {
                for scored in found {
                    best.push(first + scored.index, scored.score);
                }
            }
        }
        Ok(best
            .into_iter()
            .map(|top| named(self.vocabulary(), top))
            .collect())
    }
}
