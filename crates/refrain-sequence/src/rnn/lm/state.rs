use super::tape::Tape;
use super::{PIECE, RnnLm, Way};
use crate::batch::Example;
use crate::rnn::RecurrentState;
use crate::{Error, LanguageState, Result};

/// A text being read: the hidden states it has left.
#[derive(Clone)]
pub(super) struct RnnState<'a> {
    model: &'a RnnLm,
    state: Held,
    position: usize,
}

#[derive(Clone)]
enum Held {
    Program(Option<Box<RecurrentState>>),
    Kernels(Vec<f32>),
}

impl<'a> RnnState<'a> {
    pub(super) fn new(model: &'a RnnLm) -> Self {
        let state = match &model.way {
            Way::Program(_) => Held::Program(None),
            Way::Kernels(network) => Held::Kernels(vec![0.0; network.state_size()]),
        };
        Self {
            model,
            state,
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
        let mut all = Vec::new();
        for piece in tokens.chunks(PIECE) {
            let logits = self.piece(piece, last_only)?;
            match last_only {
                true => all = logits,
                false => all.extend(logits),
            }
        }
        self.position += tokens.len();
        Ok(all)
    }

    fn piece(&mut self, tokens: &[u32], last_only: bool) -> Result<Vec<f32>> {
        match (&self.model.way, &mut self.state) {
            (Way::Program(program), Held::Program(state)) => {
                let start = state.as_deref().cloned();
                let (logits, end) = program.extend(tokens, start, last_only)?;
                *state = Some(Box::new(end));
                Ok(logits)
            }
            (Way::Kernels(network), Held::Kernels(state)) => {
                let (weights, mut tape) = (&self.model.weights, Tape::default());
                let text = [Example::reading(tokens)];
                network.forward(weights, &text, state, None, &mut tape);
                Ok(network.logits(weights, last_only, &tape))
            }
            _ => Err(Error::device("a state of another model")),
        }
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
