//! An epoch under way: the numbers of its pieces, its loss and what is told of it.

use std::time::Instant;

use refrain_core::Stage;
use refrain_core::rng::stream;

use super::windows::Loss;
use super::worker::Piece;
use crate::vocabulary::END;
use crate::{Error, Result};
/// Where an epoch stands.
pub(super) struct Pass {
    epoch: usize,
    /// The number of its first token, over all epochs, and how many there are.
    first: u64,
    total: u64,
    /// Tokens done in it, and sentences.
    done: u64,
    sentences: u32,
    /// A mean loss above this is divergence.
    limit: f64,
    /// Of these, tokens already reported.
    reported: u64,
    /// Pieces begun in it.
    piece: u64,
    began: Instant,
    stage: Stage,
}

impl Pass {
    /// Epoch number `epoch` of `epochs`, each of so many tokens; a mean loss above `limit` is divergence.
    pub(super) fn new(
        (epoch, epochs): (usize, usize),
        tokens: u64,
        limit: f64,
        stage: Stage,
    ) -> Self {
        Self {
            epoch,
            first: epoch as u64 * tokens,
            total: tokens.saturating_mul(epochs as u64),
            done: 0,
            sentences: 0,
            limit,
            reported: 0,
            piece: 0,
            began: Instant::now(),
            stage,
        }
    }

    /// Tokens done.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    pub(super) fn begin<'a>(&mut self, pieces: &[&'a [u32]], seed: u64) -> Vec<Piece<'a>> {
        let begin = |tokens: &&'a [u32]| {
            let (first, sentence) = (self.first + self.done, self.sentences);
            let ends = tokens.iter().filter(|&&id| id == END).count();
            self.done += (tokens.len() - ends) as u64;
            self.sentences += ends as u32;
            self.piece += 1;
            Piece {
                tokens,
                first,
                total: self.total,
                sentence,
                rng: stream(seed, ((self.epoch as u64 + 1) << 40) + self.piece),
            }
        };
        pieces.iter().map(begin).collect()
    }

    /// A round ended with this loss; `epoch` is that of all rounds so far.
    pub(super) fn end(&mut self, loss: Loss, epoch: &Loss) -> Result<()> {
        if loss.mean().is_nan() || loss.mean() > self.limit {
            let step = self.first + self.done;
            return Err(Error::Diverged {
                loss: loss.mean(),
                step,
                epoch: self.epoch + 1,
            });
        }
        let new = self.done;
        let speed = new as f64 / self.began.elapsed().as_secs_f64().max(1e-9) / 1e3;
        let steps = new - std::mem::replace(&mut self.reported, new);
        self.stage.advance(
            steps,
            format_args!("{speed:.0}k words/s, loss {:.3}", epoch.mean()),
        )?;
        Ok(())
    }
}
