//! Training step by step.

use std::time::Instant;

use pulp::{Simd, WithSimd};
use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use refrain_core::Monitor;
use refrain_core::rng::stream;

use super::Glove;
use super::pairs::{self, Counting, Pair};
use super::step::{Layout, Step};
use crate::encoded::Encoded;
use crate::vocabulary::total;
use crate::{Corpus, Embeddings, Error, Result, Vocabulary};

/// GloVe between epochs: run the next one, look at the vectors so far, save, resume.
///
/// ```
/// use refrain_core::Monitor;
/// use refrain_embeddings::{Corpus, Glove, GloveTraining};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("checkpoint.refrain");
/// let corpus = Corpus::from_fn(|| (0..200).map(|i| ["a", "b", if i % 2 == 0 { "c" } else { "d" }]));
/// let monitor = Monitor::silent();
/// let config = Glove { dim: 8, epochs: 3, threads: 1, ..Glove::default() };
///
/// let mut training = config.start(&corpus, &monitor)?;
/// training.epoch(&corpus, &monitor)?;
/// training.save(&path)?;
///
/// // another day: the pairs are counted again
/// let mut training = GloveTraining::load(&path)?;
/// while !training.is_finished() {
///     let report = training.epoch(&corpus, &monitor)?;
///     println!("epoch {}: loss {:.4}", report.epoch, report.loss);
/// }
/// assert_eq!(training.finish()?.vector("c"), config.fit(&corpus)?.vector("c"));
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
#[derive(Debug)]
pub struct GloveTraining {
    pub(super) config: Glove,
    pub(super) vocabulary: Vocabulary,
    pub(super) layout: Layout,
    /// Groups of rows: word `i` is row `i / threads` of group `i % threads`.
    pub(super) words: Vec<Vec<f32>>,
    pub(super) contexts: Vec<Vec<f32>>,
    /// For each group of words and each of contexts, their pairs; counted again after a resume.
    pub(super) cells: Option<Vec<Vec<Vec<Pair>>>>,
    /// How often each word occurs in the corpus.
    pub(super) seen: Vec<u64>,
    pub(super) losses: Vec<f64>,
    pub(super) interrupted: bool,
}

/// What one epoch did.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct GloveEpoch {
    /// Which one, counted from 1.
    pub epoch: usize,
    /// The mean loss of a pair.
    pub loss: f64,
    /// How many pairs there are.
    pub pairs: u64,
    /// Pairs per second.
    pub pairs_per_second: f64,
}

impl GloveTraining {
    pub(super) fn new(mut config: Glove, corpus: &Corpus<'_>, monitor: &Monitor) -> Result<Self> {
        if config.threads == 0 {
            config.threads = rayon::current_num_threads().max(1);
        }
        let (vocabulary, encoded) = Encoded::count(
            corpus,
            (config.min_count, config.max_vocabulary),
            config.cache_tokens,
            config.threads,
        )?;
        let seen = vocabulary.counts().to_vec();
        Self::begin(config, vocabulary, seen, corpus, &encoded, monitor)
    }

    /// Counts the pairs and draws first rows.
    pub(super) fn begin(
        config: Glove,
        vocabulary: Vocabulary,
        seen: Vec<u64>,
        corpus: &Corpus<'_>,
        encoded: &Encoded,
        monitor: &Monitor,
    ) -> Result<Self> {
        let cells = count(&config, &vocabulary, corpus, encoded, monitor)?;
        Ok(Self {
            layout: Layout::new(config.dim),
            words: first_rows(&config, vocabulary.len(), 0),
            contexts: first_rows(&config, vocabulary.len(), 1),
            config,
            vocabulary,
            cells: Some(cells),
            seen,
            losses: Vec::new(),
            interrupted: false,
        })
    }

    /// The config; `threads` is the number that is used.
    pub fn config(&self) -> &Glove {
        &self.config
    }

    /// The words.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The loss of each epoch so far.
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }

    /// Whether all epochs are done.
    pub fn is_finished(&self) -> bool {
        self.losses.len() >= self.config.epochs
    }

    /// Trains one epoch; after a resume it counts the corpus first. Once all are done it does nothing
    /// but repeat the last loss.
    ///
    /// # Errors
    /// Cancellation, [`Error::Diverged`], [`Error::CorpusChanged`], and whatever reading the corpus
    /// reports. After an error the epoch is half done: go back to the last checkpoint.
    pub fn epoch(&mut self, corpus: &Corpus<'_>, monitor: &Monitor) -> Result<GloveEpoch> {
        self.check_whole()?;
        let cells = match self.cells.take() {
            Some(cells) => cells,
            None => {
                let budget = self.config.cache_tokens;
                let (encoded, seen) = Encoded::encode(corpus, &self.vocabulary, budget)?;
                if seen != self.seen {
                    return Err(Error::CorpusChanged {
                        expected: total(&self.seen),
                        found: total(&seen),
                    });
                }
                count(&self.config, &self.vocabulary, corpus, &encoded, monitor)?
            }
        };
        let pairs: u64 = cells.iter().flatten().map(|cell| cell.len() as u64).sum();
        if self.is_finished() {
            self.cells = Some(cells);
            return Ok(GloveEpoch {
                epoch: self.losses.len(),
                loss: self.losses.last().copied().unwrap_or_default(),
                pairs,
                pairs_per_second: 0.0,
            });
        }
        let epoch = self.losses.len() + 1;
        let title = format!("GloVe, epoch {epoch}/{}", self.config.epochs);
        let stage = monitor.start(title, Some(pairs));
        let began = Instant::now();
        self.interrupted = true;
        let mut loss = 0.0;
        let mut done = 0u64;
        let threads = self.config.threads;
        let (x_max, alpha) = (self.config.x_max, self.config.alpha);
        let (layout, rate) = (self.layout, self.config.learning_rate as f32);
        for round in 0..threads {
            // Thread t takes group t of the words and group t + round of the contexts.
            self.contexts.rotate_left(usize::from(round > 0));
            let work = self.words.par_iter_mut().zip(&mut self.contexts);
            let sums: Vec<f64> = work
                .zip(cells.par_iter())
                .enumerate()
                .map(|(t, ((words, contexts), cells))| {
                    let Some(cell) = cells.get((t + round) % threads) else {
                        return 0.0;
                    };
                    pulp::Arch::new().dispatch(Cell {
                        pairs: cell,
                        words,
                        contexts,
                        threads,
                        layout,
                        rate,
                        weigh: (x_max as f32, alpha as f32),
                    })
                })
                .collect();
            let sum: f64 = sums.iter().sum();
            let count = |t: usize| cells[t][(t + round) % threads].len() as u64;
            let steps: u64 = (0..threads).map(count).sum();
            (loss, done) = (loss + sum, done + steps);
            if !sum.is_finite() {
                return Err(Error::Diverged {
                    loss: sum,
                    step: pairs * (epoch as u64 - 1) + done,
                    epoch,
                });
            }
            let speed = done as f64 / began.elapsed().as_secs_f64().max(1e-9) / 1e6;
            let mean = loss / done.max(1) as f64;
            stage.advance(steps, format_args!("{speed:.1}M pairs/s, loss {mean:.4}"))?;
        }
        self.contexts.rotate_left(usize::from(threads > 1));
        let loss = loss / pairs.max(1) as f64;
        self.losses.push(loss);
        self.cells = Some(cells);
        self.interrupted = false;
        Ok(GloveEpoch {
            epoch,
            loss,
            pairs,
            pairs_per_second: pairs as f64 / began.elapsed().as_secs_f64().max(1e-9),
        })
    }

    /// The vectors so far.
    ///
    /// # Errors
    /// [`Error::Interrupted`], and [`Error::Diverged`] when they are not finite.
    pub fn embeddings(&self) -> Result<Embeddings> {
        self.check_whole()?;
        let (count, dim) = (self.vocabulary.len(), self.config.dim);
        let mut vectors = Vec::with_capacity(count * dim);
        for word in 0..count {
            let (a, b) = (self.row(&self.words, word), self.row(&self.contexts, word));
            vectors.extend(a.iter().zip(b).take(dim).map(|(a, b)| a + b));
        }
        if let Some(value) = vectors.iter().find(|value| !value.is_finite()) {
            return Err(Error::Diverged {
                loss: f64::from(*value),
                step: self.losses.len() as u64,
                epoch: self.losses.len(),
            });
        }
        Embeddings::new(self.vocabulary.clone(), dim, vectors)
    }

    /// Ends training.
    ///
    /// # Errors
    /// As [`GloveTraining::embeddings`].
    pub fn finish(self) -> Result<Embeddings> {
        self.embeddings()
    }

    pub(super) fn row<'a>(&self, groups: &'a [Vec<f32>], word: usize) -> &'a [f32] {
        let (threads, stride) = (self.config.threads, self.layout.stride());
        let at = word / threads * stride;
        &groups[word % threads][at..at + stride]
    }

    pub(super) fn check_whole(&self) -> Result<()> {
        match self.interrupted {
            true => Err(Error::Interrupted {
                epoch: self.losses.len() + 1,
            }),
            false => Ok(()),
        }
    }
}

/// Counts the pairs and deals them into cells, each in an order drawn once.
fn count(
    config: &Glove,
    vocabulary: &Vocabulary,
    corpus: &Corpus<'_>,
    encoded: &Encoded,
    monitor: &Monitor,
) -> Result<Vec<Vec<Vec<Pair>>>> {
    let how = Counting {
        window: config.window,
        symmetric: config.symmetric,
        memory: config.memory,
        folder: config.folder.as_deref(),
        threads: config.threads,
    };
    let pairs = pairs::count(corpus, encoded, vocabulary, &how, monitor)?;
    if pairs.is_empty() {
        return Err(Error::NoPairs {
            tokens: encoded.tokens,
        });
    }
    let threads = config.threads;
    let mut cells = vec![vec![Vec::new(); threads]; threads];
    for pair in pairs {
        cells[pair.word as usize % threads][pair.context as usize % threads].push(pair);
    }
    let shuffle = |(number, cell): (usize, &mut Vec<Pair>)| {
        cell.shrink_to_fit();
        cell.shuffle(&mut stream(config.seed, (2 << 40) + number as u64));
    };
    let mut all: Vec<&mut Vec<Pair>> = cells.iter_mut().flatten().collect();
    all.par_iter_mut()
        .enumerate()
        .for_each(|(number, cell)| shuffle((number, cell)));
    Ok(cells)
}

/// Vectors and biases drawn evenly from `±1/(2·dim)`, a stream for each word; sums of squares of 1.
fn first_rows(config: &Glove, count: usize, table: u64) -> Vec<Vec<f32>> {
    let layout = Layout::new(config.dim);
    let threads = config.threads;
    let half = 0.5 / config.dim as f32;
    (0..threads)
        .into_par_iter()
        .map(|group| {
            let members = (group..count).step_by(threads);
            let mut rows = vec![0.0; members.len() * layout.stride()];
            for (word, row) in members.zip(rows.chunks_mut(layout.stride())) {
                let mut rng = stream(config.seed, (table << 40) + word as u64);
                let (values, sums) = row.split_at_mut(layout.squares());
                for value in &mut values[..config.dim] {
                    *value = rng.random_range(-half..half);
                }
                values[layout.bias()] = rng.random_range(-half..half);
                sums.fill(1.0);
            }
            rows
        })
        .collect()
}

/// The pairs of one group of words and one of contexts.
struct Cell<'a> {
    pairs: &'a [Pair],
    words: &'a mut [f32],
    contexts: &'a mut [f32],
    threads: usize,
    layout: Layout,
    rate: f32,
    /// `x_max` and `alpha`.
    weigh: (f32, f32),
}

impl WithSimd for Cell<'_> {
    /// The sum of the losses.
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let stride = self.layout.stride();
        let (x_max, alpha) = self.weigh;
        let mut sum = 0.0;
        for pair in self.pairs {
            let word = pair.word as usize / self.threads * stride;
            let context = pair.context as usize / self.threads * stride;
            let weight = match pair.count < x_max {
                true => (pair.count / x_max).powf(alpha),
                false => 1.0,
            };
            let loss = simd.vectorize(Step {
                layout: self.layout,
                word: &mut self.words[word..word + stride],
                context: &mut self.contexts[context..context + stride],
                log: pair.count.ln(),
                weight,
                rate: self.rate,
            });
            sum += f64::from(loss);
        }
        sum
    }
}
