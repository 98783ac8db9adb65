use super::{PIECE, RnnLm};
use crate::rnn::RecurrentState;
use crate::{Error, LanguageState, Result};

/// A text being read: the hidden states it has left.
#[derive(Clone)]
pub(super) struct RnnState<'a> {
    model: &'a RnnLm,
    state: Option<RecurrentState>,
    position: usize,
}

impl<'a> RnnState<'a> {
    pub(super) fn new(model: &'a RnnLm) -> Self {
        Self {
            model,
            state: None,
            position: 0,
        }
    }

    /// Logits after each of the new tokens or after the last.
    pub(super) fn read(&mut self, tokens: &[u32], last_only: bool) -> Result<Vec<f32>> {
        if tokens.is_empty() {
            return Err(Error::TooShort {
                what: "tokens to read".to_string(),
                needed: 1,
                found: 0,
            });
        }
        self.model.vocabulary.check("tokens", tokens)?;
        let mut state = self.state.clone();
        let mut all = Vec::new();
        for piece in tokens.chunks(PIECE) {
            let (logits, end) = self.model.program.extend(piece, state, last_only)?;
            state = Some(end);
            match last_only {
                true => all = logits,
                false => all.extend(logits),
            }
        }
        self.state = state;
        self.position += tokens.len();
        Ok(all)
    }
}

impl LanguageState for RnnState<'_> {
    fn feed(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.read(tokens, true)
    }

    fn feed_each(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        let logits = self.read(tokens, false)?;
        let rows = logits.chunks(self.model.vocabulary.len());
        Ok(rows.map(<[f32]>::to_vec).collect())
    }

    fn position(&self) -> usize {
        self.position
    }

    fn fork<'s>(&self) -> Box<dyn LanguageState + 's>
    where
        Self: 's,
    {
        Box::new(self.clone())
    }
}
