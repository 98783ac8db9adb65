//! The loop: pieces of the histories in a new order each epoch, a step each batch, the held-out last
//! items after each epoch, the best weights kept.

use std::borrow::Cow;

use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use refrain_core::{Device, Monitor, kernels, rng};
use refrain_data::{FeatureEncoder, Interactions};
use refrain_sequence::parts::{Dropout, Rows};

use super::body::Body;
use super::checkpoint::{self, Run};
use super::engine::{Batch, Engine};
use super::model::{Network, NextItemModel, Settings};
use super::objective::{Draws, NONE};
use super::table::{Adam, Table, normal};
use super::training::{NextItemLoss, Training};
use crate::neighbours::sparse::Csr;
use crate::{Error, Memory, Result, Sequences};

/// What a model's settings come down to.
pub(super) struct Plan {
    pub(super) name: &'static str,
    pub(super) training: Training,
    pub(super) width: usize,
    pub(super) context: usize,
    pub(super) dropout: f32,
    pub(super) reading: Reading,
    pub(super) body: Body,
}

/// How a history is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reading {
    /// From left to right, each item asked what comes next.
    Forward,
    /// From both sides, with this share of the items hidden.
    Cloze(f32),
    /// As a set, each item asked for from the others; `cold` is how often an item is seen by its
    /// features alone.
    Set { cold: f32 },
}

impl Reading {
    /// The histories in their order; a set needs no times.
    fn sequences(self, log: &Interactions) -> Result<Sequences> {
        match self {
            Self::Set { .. } => Sequences::with_or_without_times(log),
            _ => Sequences::new(log),
        }
    }

    /// Whether an answer is read at a row of its own, behind the history.
    pub(super) fn asks_at_end(self) -> bool {
        self != Self::Forward
    }
}

/// How often a cloze hides the last item alone, as it will be asked after a history of any length.
const LAST_ALONE: f64 = 0.25;
/// The most users whose held-out item is looked for.
const MOST_VALIDATED: usize = 2000;
/// The deviation of an item's first vector.
const DEVIATION: f32 = 0.02;

const ORDER: u64 = 0x6f72_6465;
const CLOZE: u64 = 0x636c_6f7a;

pub(super) fn fit(
    settings: Settings,
    log: &Interactions,
    features: Option<(FeatureEncoder, Csr)>,
    device: &Device,
    monitor: &Monitor,
) -> Result<NextItemModel> {
    let plan = settings.plan()?;
    let training = &plan.training;
    training.validate(plan.name)?;
    let (memory, sequences) = (Memory::new(log), plan.reading.sequences(log)?);
    if sequences.iter().all(|items| items.len() < 2) {
        return Err(Error::Data {
            model: plan.name,
            reason: "no user has two events, so nothing follows anything".to_string(),
        });
    }
    let items = memory.n_items();
    // Without times none is the last: one by chance is held out.
    let mut source: Vec<Cow<'_, [u32]>> = sequences.iter().map(Cow::Borrowed).collect();
    if !log.has_times() {
        for (user, items) in (0u64..).zip(&mut source) {
            let draw = &mut rng::stream(training.seed ^ ORDER, !user);
            items.to_mut().shuffle(draw);
        }
    }
    // Every third event at the earliest can be held out: two have to be left.
    let held = |sequence: &[u32]| training.validate && sequence.len() > 2;
    let source: Vec<&[u32]> = source.iter().map(AsRef::as_ref).collect();
    let histories: Vec<&[u32]> = source
        .iter()
        .map(|items| match (held(items), items.split_last()) {
            (true, Some((_, before))) => before,
            _ => items,
        })
        .collect();
    let cases: Vec<&[u32]> = source.iter().copied().filter(|items| held(items)).collect();
    let every = cases.len().div_ceil(MOST_VALIDATED).max(1);
    let cases: Vec<&[u32]> = cases.into_iter().step_by(every).collect();

    let mut users = vec![0u32; items];
    for &item in histories.iter().copied().flatten() {
        users[item as usize] += 1;
    }
    let loss = training.loss.resolved(items);
    let power = match loss {
        // What stands in a batch is drawn by how often it occurs.
        NextItemLoss::InBatchSoftmax => 1.0,
        _ => training.negative_power,
    };
    let draws = Draws::new(&users, power);
    let rows = items + usize::from(plan.reading.asks_at_end());
    let mut vectors = normal(rows * plan.width, DEVIATION, training.seed, u64::MAX);
    let mut table = match plan.reading {
        Reading::Set { .. } => {
            // The row at which a set is asked adds nothing to its sum.
            vectors.truncate(items * plan.width);
            vectors.resize(rows * plan.width, 0.0);
            Table::new(vectors, plan.width)
        }
        _ => Table::new(vectors, plan.width),
    };
    let (encoder, features) = features.unzip();
    let data = checkpoint::fingerprint(items, sequences.iter(), features.as_ref());
    if let (Reading::Set { cold }, Some(features)) = (plan.reading, features) {
        table = table.with_features(features, cold, training.seed);
    }
    let scale = (plan.width as f32).sqrt();
    let seed = training.seed;
    let mut engine = Engine::new(plan.body.clone(), table, scale, items, loss, seed, device);
    let dropout = (plan.dropout > 0.0).then_some(Dropout {
        rate: plan.dropout,
        seed,
    });

    let network = |engine: &Engine| -> Result<Network> {
        Ok(Network {
            body: plan.body.clone(),
            weights: engine.weights()?,
            vectors: engine.table.finished(&users),
            features: engine.table.features().to_vec(),
            width: plan.width,
            context: plan.context,
            scale,
            items,
            asks_at_end: plan.reading.asks_at_end(),
        })
    };
    let diverged = |iteration| Error::Diverged {
        model: plan.name,
        iteration,
        reason: "a weight is not finite; lower training.learning_rate".to_string(),
    };
    let stage = monitor.start(plan.name, Some(training.epochs as u64));
    let mut best: Option<(f64, Network)> = None;
    let mut run = Run::default();
    let path = training.checkpoint.as_deref();
    if let Some(path) = path
        && checkpoint::is_there(path)?
    {
        let like = network(&engine)?;
        (run, best) = checkpoint::read(path, &settings, data, &mut engine, like)?;
        stage.advance(run.epoch as u64, format_args!("from the checkpoint"))?;
    }
    for epoch in run.epoch..training.epochs {
        if training.patience.is_some_and(|most| run.stale >= most) {
            break;
        }
        let (mut sum, mut steps) = (0.0, 0);
        let mask = items as u32;
        for batch in batches(&plan, &histories, mask, epoch as u64, &mut run.number) {
            run.step += 1;
            let candidates = match loss {
                NextItemLoss::InBatchSoftmax => draws.in_batch(&batch.targets),
                _ => draws.candidates(loss, seed, run.step),
            };
            let adam = Adam {
                rate: training.learning_rate,
                step: run.step,
            };
            let loss = engine.step(&batch, &candidates, dropout, adam)?;
            if !loss.is_finite() {
                return Err(Error::Diverged {
                    model: plan.name,
                    iteration: epoch,
                    reason: format!("the loss is {loss}; lower training.learning_rate"),
                });
            }
            sum += loss;
            steps += 1;
            stage.check()?;
        }
        let mut message = format!("loss {:.4}", sum / f64::from(steps.max(1)));
        if !cases.is_empty() {
            let network = network(&engine)?;
            if !network.is_finite() {
                return Err(diverged(epoch));
            }
            let found = validate(&network, &cases);
            message += &format!(" · validation NDCG@10 {found:.4}");
            run.stale += 1;
            if best.as_ref().is_none_or(|(most, _)| found > *most) {
                best = Some((found, network));
                run.stale = 0;
            }
        }
        run.epoch = epoch + 1;
        if let Some(path) = path {
            checkpoint::write(path, &settings, data, run, &engine, best.as_ref())?;
        }
        stage.advance(1, format_args!("{message}"))?;
    }
    let network = match best {
        Some((_, network)) => network,
        None => network(&engine)?,
    };
    if !network.is_finite() {
        return Err(diverged(run.epoch));
    }
    Ok(NextItemModel::new(
        settings, memory, sequences, network, encoder,
    ))
}

/// One epoch: every history in pieces of the context's length, cut at another place each time.
fn batches(
    plan: &Plan,
    histories: &[&[u32]],
    mask: u32,
    epoch: u64,
    number: &mut u64,
) -> Vec<Batch> {
    let mut draw = rng::stream(plan.training.seed ^ ORDER, epoch);
    // A model that reads from left to right needs one item more, its last target.
    let forward = plan.reading == Reading::Forward;
    let length = plan.context + usize::from(forward);
    let mut pieces: Vec<&[u32]> = Vec::new();
    for &history in histories {
        let mut end = history.len();
        if end > length {
            end -= draw.random_range(0..plan.context.min(end - length + 1));
            pieces.extend(history.get(end.saturating_sub(1)..).filter(|p| p.len() > 1));
        }
        while end > 1 {
            let start = end.saturating_sub(length);
            pieces.extend(history.get(start..end));
            end = match start {
                0 => 0,
                start if forward => start + 1,
                start => start,
            };
        }
    }
    pieces.shuffle(&mut draw);
    pieces
        .chunks(plan.training.batch)
        .map(|pieces| {
            let mut batch = Batch::default();
            for piece in pieces {
                let before = batch.inputs.len();
                match plan.reading {
                    Reading::Forward => {
                        let n = piece.len() - 1;
                        batch.inputs.extend(piece.iter().take(n));
                        batch.targets.extend(piece.iter().skip(1));
                    }
                    Reading::Set { .. } => {
                        batch.inputs.extend(piece.iter());
                        batch.targets.extend(piece.iter());
                    }
                    Reading::Cloze(share) => {
                        let draw = &mut rng::stream(plan.training.seed ^ CLOZE, *number);
                        hide(piece, share, mask, draw, &mut batch);
                    }
                }
                let length = batch.inputs.len() - before;
                batch.sequences.push(Rows::rows(length, *number));
                *number += 1;
            }
            batch
        })
        .collect()
}

/// Hides some items of a piece, one at least; or cuts it anywhere and hides its last item alone.
fn hide(mut piece: &[u32], share: f32, mask: u32, draw: &mut rng::Stream, batch: &mut Batch) {
    let alone = draw.random::<f64>() < LAST_ALONE;
    if alone && piece.len() > 2 {
        let end = draw.random_range(2..=piece.len());
        piece = piece.get(..end).unwrap_or(piece);
    }
    let last = piece.len() - 1;
    let one = draw.random_range(0..=last);
    let from = batch.inputs.len();
    for (at, &item) in piece.iter().enumerate() {
        let hidden = match alone {
            true => at == last,
            false => draw.random::<f32>() < share,
        };
        batch.inputs.push(if hidden { mask } else { item });
        batch.targets.push(if hidden { item } else { NONE });
    }
    let hidden = batch.targets.iter().skip(from).any(|&t| t != NONE);
    if !hidden
        && let (Some(input), Some(target), Some(&item)) = (
            batch.inputs.get_mut(from + one),
            batch.targets.get_mut(from + one),
            piece.get(one),
        )
    {
        (*input, *target) = (mask, item);
    }
}

/// Mean NDCG@10 of the last items, among all items that did not come before.
fn validate(network: &Network, cases: &[&[u32]]) -> f64 {
    let gains: Vec<f64> = cases
        .par_chunks(32)
        .flat_map_iter(|cases| {
            let histories: Vec<&[u32]> = cases
                .iter()
                .map(|items| items.split_last().map_or(&[][..], |(_, before)| before))
                .collect();
            let vectors = network.next(&histories);
            let mut scores = vec![0.0; network.items];
            let rows = &network.vectors[..network.items * network.width];
            let gains: Vec<f64> = cases
                .iter()
                .zip(vectors.chunks_exact(network.width))
                .map(|(items, vector)| {
                    let Some((&target, before)) = items.split_last() else {
                        return 0.0;
                    };
                    kernels::scores(vector, rows, &mut scores);
                    let bar = scores[target as usize];
                    for &seen in before {
                        scores[seen as usize] = f32::NEG_INFINITY;
                    }
                    let above =
                        |(i, &s): (usize, &f32)| s > bar || (s == bar && i < target as usize);
                    match scores.iter().enumerate().filter(|&x| above(x)).count() {
                        rank @ 0..10 => 1.0 / ((rank + 2) as f64).log2(),
                        _ => 0.0,
                    }
                })
                .collect();
            gains
        })
        .collect();
    gains.iter().sum::<f64>() / gains.len().max(1) as f64
}
