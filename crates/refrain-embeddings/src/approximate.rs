//! Approximate search in a graph of near vectors: hierarchical navigable small worlds (Malkov and
//! Yashunin, *Efficient and robust approximate nearest neighbor search using HNSW graphs*, 2016), by the
//! crate `instant-distance`.

use std::sync::Arc;

use instant_distance::{Builder, Point, Search};
use refrain_core::kernels;

use crate::embeddings::{Neighbour, check, direction, inverse_norm};
use crate::{Embeddings, Error, Result};

/// Settings of a graph; [`build`](Self::build) makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approximate {
    /// How many candidates are kept while a word is put into the graph.
    pub construction: usize,
    /// How many candidates are kept while a question is answered: the most a list can have. More find
    /// more of the nearest and take longer.
    pub search: usize,
    /// Decides which words are in the upper layers.
    pub seed: u64,
}

impl Default for Approximate {
    fn default() -> Self {
        Self {
            construction: 100,
            search: 100,
            seed: 42,
        }
    }
}

/// Words in a graph that is walked towards a question: a few thousand comparisons however many words
/// there are, and some of the nearest may be missed; [`recall`](Self::recall) measures how many.
///
/// Below a million words exact search takes milliseconds ([`Embeddings::indexed`]); the graph pays
/// where answers must take less. It holds its own copy of all vectors, and is built anew in each process.
/// Words are put into it by all threads at once, so that two builds may differ.
///
/// ```
/// use std::sync::Arc;
/// use refrain_embeddings::{Approximate, Embeddings};
/// let words = Embeddings::from_vectors([("cat", [1.0, 0.1]), ("dog", [0.9, 0.2]), ("car", [0.2, 0.9])])?;
/// let graph = Approximate::default().build(Arc::new(words))?;
/// assert_eq!(graph.neighbours("cat", 1)?[0].word, "dog");
/// assert_eq!(graph.recall(2, 3), 1.0);
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
pub struct ApproximateEmbeddings {
    words: Arc<Embeddings>,
    graph: instant_distance::Hnsw<Place>,
    config: Approximate,
}

impl std::fmt::Debug for ApproximateEmbeddings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApproximateEmbeddings")
            .field("words", &self.words.len())
            .field("config", &self.config)
            .finish()
    }
}

/// A direction, and whose it is.
#[derive(Clone)]
struct Place {
    index: u32,
    direction: Arc<[f32]>,
}

impl Point for Place {
    fn distance(&self, other: &Self) -> f32 {
        1.0 - kernels::dot(&self.direction, &other.direction)
    }
}

impl Place {
    fn of(index: u32, vector: &[f32]) -> Self {
        Self {
            index,
            direction: direction(vector, inverse_norm(vector)).into(),
        }
    }
}

impl Approximate {
    /// Puts all words into a graph.
    ///
    /// # Errors
    /// [`Error::Config`] for no candidates.
    pub fn build(&self, words: Arc<Embeddings>) -> Result<ApproximateEmbeddings> {
        for (field, value) in [("construction", self.construction), ("search", self.search)] {
            if value == 0 {
                return Err(Error::Config {
                    field,
                    value: value.to_string(),
                    reason: "choose at least 1",
                });
            }
        }
        let rows = (0u32..).zip(words.iter());
        let places = rows.map(|(index, (_, vector))| Place::of(index, vector));
        let (graph, _) = Builder::default()
            .ef_construction(self.construction)
            .ef_search(self.search)
            .seed(self.seed)
            .build_hnsw(places.collect());
        Ok(ApproximateEmbeddings {
            words,
            graph,
            config: self.clone(),
        })
    }
}

impl ApproximateEmbeddings {
    /// The words and their vectors.
    pub fn words(&self) -> &Embeddings {
        &self.words
    }

    /// About the `k` words nearest to `word`, itself left out; less when `k` is above
    /// [`search`](Approximate::search).
    ///
    /// # Errors
    /// [`Error::UnknownWord`].
    pub fn neighbours(&self, word: &str, k: usize) -> Result<Vec<Neighbour<'_>>> {
        let vector = self.words.embed(word);
        let vector = vector.ok_or_else(|| Error::unknown(word))?;
        let own = self.words.vocabulary().get(word);
        self.walk(&vector, k, own)
    }

    /// About the `k` words nearest to a vector.
    ///
    /// # Errors
    /// [`Error::Shape`] when its length differs.
    pub fn nearest(&self, vector: &[f32], k: usize) -> Result<Vec<Neighbour<'_>>> {
        self.walk(vector, k, None)
    }

    fn walk(&self, vector: &[f32], k: usize, without: Option<u32>) -> Result<Vec<Neighbour<'_>>> {
        check(vector, self.words.dim())?;
        if vector.iter().any(|value| !value.is_finite()) {
            return Ok(Vec::new());
        }
        let mut search = Search::default();
        let found = self.graph.search(&Place::of(u32::MAX, vector), &mut search);
        let found = found.filter(|item| Some(item.point.index) != without);
        let words = self.words.vocabulary();
        let named = found.map(|item| Neighbour::new(words, item.point.index, 1.0 - item.distance));
        Ok(named.take(k).collect())
    }

    /// Which share of the `k` nearest to each of `asked` words, evenly spaced, the graph finds.
    pub fn recall(&self, k: usize, asked: usize) -> f64 {
        let step = self.words.len().div_ceil(asked.max(1)).max(1);
        let (mut found, mut all) = (0, 0);
        for (_, vector) in self.words.iter().step_by(step) {
            let (Ok(exact), Ok(near)) = (self.words.nearest(vector, k), self.nearest(vector, k))
            else {
                continue;
            };
            all += exact.len();
            let known = |index: u32| exact.iter().any(|e| e.index == index);
            found += near.iter().filter(|n| known(n.index)).count();
        }
        match all {
            0 => 1.0,
            all => found as f64 / all as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    #[test]
    fn most_of_the_nearest_are_found() {
        let mut rng = refrain_core::rng::stream(3, 4);
        let mut draw = || -> Vec<f32> { (0..16).map(|_| rng.random_range(-1.0..1.0)).collect() };
        let rows: Vec<_> = (0..3000).map(|i| (format!("w{i}"), draw())).collect();
        let words = Arc::new(Embeddings::from_vectors(rows).unwrap());
        let graph = Approximate::default().build(words.clone()).unwrap();
        let recall = graph.recall(10, 100);
        assert!(recall > 0.9, "{recall}");
        let little = Approximate {
            construction: 4,
            search: 4,
            seed: 1,
        };
        let little = little.build(words.clone()).unwrap();
        assert!(little.recall(4, 100) < recall);
        assert!(little.neighbours("w1", 50).unwrap().len() <= 4);
        let near = graph.neighbours("w5", 7).unwrap();
        assert!(near.len() == 7 && near.iter().all(|n| n.word != "w5"));
        for near in near {
            let exact = words.similarity("w5", near.word).unwrap();
            assert!((near.similarity - exact).abs() < 1e-5);
        }
        assert!(graph.neighbours("nobody", 3).is_err() && graph.nearest(&[1.0], 3).is_err());
        assert!(graph.nearest(&[f32::NAN; 16], 3).unwrap().is_empty());
        assert!(graph.nearest(&[0.0; 16], 3).unwrap().len() <= 3);
        let none = Approximate {
            search: 0,
            ..Approximate::default()
        };
        assert!(matches!(none.build(words), Err(Error::Config { .. })));
        let empty = Embeddings::from_vectors(Vec::<(&str, [f32; 2])>::new()).unwrap();
        let graph = Approximate::default().build(Arc::new(empty)).unwrap();
        assert!(
            graph
                .nearest(&[1.0, 0.0], 3)
                .map_or(true, |list| list.is_empty())
        );
        assert_eq!(graph.recall(3, 3), 1.0);
    }
}
