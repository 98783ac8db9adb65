use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use super::sparse::Csr;
use crate::{Error, Memory, Result};

/// What an event's weight (a rating, a play count) is worth when histories are compared.
///
/// "Document" below is the row being compared (an item, for item-kNN), "term" is the column it is
/// described by (a user). Weights at or below zero are no evidence and count as absent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Weighting {
    /// One, whatever the weight.
    Binary,
    /// The weight itself.
    Raw,
    /// ln(1 + weight): the tenth play says less than the first.
    Log,
    /// ln(1 + weight) · ln(1 + N / nₜ): a term that occurs with everything says little. N counts
    /// documents, nₜ those with the term.
    #[default]
    TfIdf,
    /// Okapi BM25 over ln(1 + weight), with `k1` for saturation and `b` for length normalisation.
    Bm25 {
        /// Saturation; larger lets large weights count more.
        k1: f32,
        /// How far long documents are marked down, from 0 to 1.
        b: f32,
    },
}

impl Weighting {
    /// What one event of this weight is worth before terms are weighted.
    pub(crate) fn strength(self, weight: f32) -> f32 {
        match self {
            Weighting::Binary => f32::from(u8::from(weight > 0.0)),
            Weighting::Raw => weight.max(0.0),
            _ => weight.max(0.0).ln_1p(),
        }
    }

    /// Refuses weightings that compare documents where a model only asks what an event is worth.
    pub(crate) fn check_strength(self, model: &'static str) -> Result<()> {
        match self {
            Weighting::Binary | Weighting::Raw | Weighting::Log => Ok(()),
            other => Err(Error::Config {
                model,
                field: "weighting",
                value: format!("{other:?}"),
                expected: "must be Binary, Raw or Log",
            }),
        }
    }

    pub(crate) fn check(self, model: &'static str) -> Result<()> {
        let Weighting::Bm25 { k1, b } = self else {
            return Ok(());
        };
        let field = match () {
            () if !(k1.is_finite() && k1 > 0.0) => ("weighting.k1", k1, "must be above 0"),
            () if !(0.0..=1.0).contains(&b) => ("weighting.b", b, "must be from 0 to 1"),
            () => return Ok(()),
        };
        Err(Error::Config {
            model,
            field: field.0,
            value: field.1.to_string(),
            expected: field.2,
        })
    }
}

/// Weights documents given as rows; the terms' weights come along, for documents that arrive later.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Terms {
    weighting: Weighting,
    /// Inverse document frequency of each term; all 1 where it is not used.
    idf: Vec<f32>,
    mean_length: f32,
}

impl Terms {
    /// Learns the terms' weights from documents whose values are strengths.
    pub(crate) fn learn(documents: &Csr, weighting: Weighting) -> Self {
        let n = documents.n_rows();
        let mut counts = vec![0u32; documents.width()];
        let mut length = 0.0f64;
        for row in 0..n as u32 {
            for (term, strength) in documents.pairs(row) {
                if let Some(count) = counts.get_mut(term as usize) {
                    *count += 1;
                }
                length += f64::from(strength);
            }
        }
        let idf = |&count: &u32| match weighting {
            Weighting::TfIdf | Weighting::Bm25 { .. } => (n as f32 / count.max(1) as f32).ln_1p(),
            _ => 1.0,
        };
        let mean_length = (length / n.max(1) as f64) as f32;
        Self {
            weighting,
            idf: counts.iter().map(idf).collect(),
            mean_length,
        }
    }

    /// One document's strengths become its weights.
    pub(crate) fn weigh(&self, terms: &[u32], strengths: &mut [f32]) {
        let total: f32 = strengths.iter().sum();
        for (&term, value) in terms.iter().zip(strengths) {
            let idf = self.idf.get(term as usize).copied().unwrap_or_default();
            *value = idf
                * match self.weighting {
                    Weighting::Bm25 { k1, b } => {
                        let length = total / self.mean_length.max(f32::MIN_POSITIVE);
                        *value * (k1 + 1.0) / (k1 * (1.0 - b + b * length) + *value)
                    }
                    _ => *value,
                };
        }
    }
}

/// Users × items, as strengths; events without evidence left out.
pub(crate) fn strengths(memory: &Memory, weighting: Weighting) -> Csr {
    let mut rows = Csr::with_width(memory.n_items());
    for user in 0..memory.n_users() as u32 {
        rows.push_row(strengths_of(memory.history(user), weighting));
    }
    rows
}

/// One history as strengths.
pub(crate) fn strengths_of<'a>(
    history: (&'a [u32], &'a [f32]),
    weighting: Weighting,
) -> impl Iterator<Item = (u32, f32)> + 'a {
    let pairs = history.0.iter().copied().zip(history.1.iter().copied());
    pairs
        .map(move |(i, w)| (i, weighting.strength(w)))
        .filter(|&(_, s)| s > 0.0)
}

/// What each event of the log, in its order, is worth by its age: 1 for the newest, ½ a half-life
/// before it.
pub(crate) fn decay(model: &'static str, log: &Interactions, half_life: f64) -> Result<Vec<f32>> {
    if half_life.is_nan() || half_life <= 0.0 {
        return Err(Error::Config {
            model,
            field: "half_life",
            value: half_life.to_string(),
            expected: "must be above 0",
        });
    }
    let Some(times) = log.times() else {
        let reason = "half_life needs a log with times".to_string();
        return Err(Error::Data { model, reason });
    };
    let newest = times.iter().copied().max().unwrap_or_default();
    // In f64, as two i64 may lie further apart than an i64 reaches.
    let age = |time: i64| newest as f64 - time as f64;
    let worth = |&time: &i64| (-age(time) / half_life).exp2() as f32;
    let worth: Vec<f32> = times.iter().map(worth).collect();
    // Seconds taken for days, or milliseconds for seconds, leave but a few events worth anything.
    let left: f64 = worth.iter().copied().map(f64::from).sum();
    if left < 10.0 && left < 1e-2 * worth.len() as f64 {
        let oldest = times.iter().copied().min().unwrap_or_default();
        let reason = format!(
            "with a half_life of {half_life} the {} events, which span {} units of time, are worth \
             {left:.1} new ones: is it in the unit of the log's times?",
            worth.len(),
            newest as f64 - oldest as f64,
        );
        return Err(Error::Data { model, reason });
    }
    Ok(worth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_life_in_another_unit_is_refused() {
        let mut log = Interactions::builder();
        for day in 0..200i64 {
            // A play a day, in milliseconds.
            log.push(day, day % 11, 1.0, Some(day * 86_400_000))
                .unwrap();
        }
        let log = log.build().unwrap();
        let days = 86_400_000.0;
        assert_eq!(decay("m", &log, 30.0 * days).unwrap().len(), 200);
        assert!(
            decay("m", &log, f64::INFINITY)
                .unwrap()
                .iter()
                .all(|&w| w == 1.0)
        );
        let error = decay("m", &log, 30.0 * 86_400.0 / 1e3)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("half_life of 2592") && error.contains("unit"),
            "{error}"
        );
    }
}
