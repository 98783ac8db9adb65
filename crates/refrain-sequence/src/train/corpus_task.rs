//! A language model and its corpus.

use super::Trainer;
use super::task::{Fingerprint, Score, Task};
use crate::batch::{Batcher, Dropout, Example, scored};
use crate::engine::{Engine, Parameters, Update};
use crate::trainable::TrainableModel;
use crate::{Corpus, Error, Result, Vocabulary};

pub(super) struct CorpusTask<'a, M> {
    model: &'a M,
    engine: Box<dyn Engine>,
    batcher: Batcher<'a>,
    held: Option<Vec<Example>>,
    dropout: Option<Dropout>,
    /// Of the tokens, which may take long to read.
    fingerprints: (u64, Option<u64>),
}

impl<'a, M: TrainableModel> CorpusTask<'a, M> {
    pub(super) fn new(trainer: &Trainer, model: &'a M, corpus: &'a Corpus) -> Result<Self> {
        let engine = model.trainable(trainer.compute)?;
        Self::with_engine(trainer, model, corpus, engine)
    }

    /// With another engine than the model's own.
    pub(super) fn with_engine(
        trainer: &Trainer,
        model: &'a M,
        corpus: &'a Corpus,
        mut engine: Box<dyn Engine>,
    ) -> Result<Self> {
        if model.names() != corpus.vocabulary() {
            return Err(Error::config(
                "Corpus.vocabulary",
                format_args!("of {} tokens", corpus.vocabulary().len()),
                "the vocabulary the model was trained with",
            ));
        }
        let reading = model.reading();
        let mut batcher = Batcher::new(corpus.train(), reading.window, trainer.seed);
        if reading.carried {
            batcher = batcher.in_lanes(trainer.batch.saturating_mul(trainer.accumulate));
        }
        engine.smooth_labels(trainer.label_smoothing);
        Ok(Self {
            model,
            engine,
            batcher,
            held: corpus.validation().map(|data| model.scored(data)),
            dropout: (reading.dropout > 0.0).then_some(Dropout {
                rate: reading.dropout,
                seed: trainer.seed,
            }),
            fingerprints: fingerprints(corpus),
        })
    }

    fn batches(&mut self, trainer: &Trainer, step: usize) -> Vec<Vec<Example>> {
        let first = (step * trainer.accumulate) as u64;
        (0..trainer.accumulate as u64)
            .map(|i| self.batcher.batch(first + i, trainer.batch))
            .collect()
    }
}

impl<M: TrainableModel> Task for CorpusTask<'_, M> {
    type Model = M;

    fn name(&self) -> &str {
        M::NAME
    }

    fn unit(&self) -> &'static str {
        "tokens"
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            model: serde_json::to_string(&(self.model.shape(), self.model.names().kind()))
                .unwrap_or_default(),
            data: self.fingerprints,
        }
    }

    fn names(&self) -> Option<&Vocabulary> {
        Some(self.model.names())
    }

    fn learn(&mut self, trainer: &Trainer, step: usize) -> Result<(f64, usize)> {
        let batches = self.batches(trainer, step);
        let count: usize = batches.iter().map(|b| scored(b)).sum();
        let mut sum = 0.0;
        for batch in &batches {
            let scale = 1.0 / count.max(1) as f64;
            sum += self.engine.accumulate(batch, scale, self.dropout)?;
        }
        Ok((sum / count.max(1) as f64, count))
    }

    fn update(&mut self, update: &Update) -> Result<f64> {
        self.engine.update(update)
    }

    fn validate(&self, trainer: &Trainer) -> Result<Option<Score>> {
        let Some(held) = &self.held else {
            return Ok(None);
        };
        let loss = evaluate(self.engine.as_ref(), held, trainer.batch)?;
        Ok(Some(Score { loss, error: None }))
    }

    fn describe(&mut self, trainer: &Trainer, step: usize) -> String {
        let batches = self.batches(trainer, step);
        let beginnings = batches.iter().flatten().take(3).map(|example| {
            let tokens = example.inputs.iter().take(12);
            let named = tokens.filter_map(|&token| self.model.names().name(token));
            format!("{:?}", named.collect::<String>())
        });
        let beginnings: Vec<String> = beginnings.collect();
        format!("windows that begin with {}, …", beginnings.join(", "))
    }

    fn weights(&self) -> Result<Vec<f32>> {
        self.engine.weights()
    }

    fn parameters(&self) -> Result<Parameters> {
        self.engine.parameters()
    }

    fn restore(&mut self, parameters: Parameters) -> Result<()> {
        self.engine.restore(parameters)
    }

    fn finish(self, weights: Vec<f32>) -> Result<M> {
        self.model.reweighted(weights)
    }
}

/// Of the training and the validation part.
pub(super) fn fingerprints(corpus: &Corpus) -> (u64, Option<u64>) {
    (
        corpus.train().fingerprint(),
        corpus.validation().map(|v| v.fingerprint()),
    )
}

/// The mean loss over `examples`, in nats per target.
pub(crate) fn evaluate(engine: &dyn Engine, examples: &[Example], batch: usize) -> Result<f64> {
    // By length, so that little is padded.
    let mut order: Vec<&Example> = examples.iter().collect();
    order.sort_by_key(|e| e.len());
    let mut sum = 0.0;
    for chunk in order.chunks(batch.max(32)) {
        let chunk: Vec<Example> = chunk.iter().map(|&e| e.clone()).collect();
        sum += engine.evaluate(&chunk)?;
    }
    Ok(sum / scored(examples).max(1) as f64)
}
