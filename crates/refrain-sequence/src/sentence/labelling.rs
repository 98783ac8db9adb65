//! Labels found by one model, or by several together.

use burn::tensor::Tensor;

use super::{EncodedSentence, Judgement, Labeller, Sentence, file};
use crate::train::Learning;
use crate::{Crf, Error, Result};

/// Sentences read at a time.
const BATCH: usize = 32;

impl Labeller {
    /// A label for each word, with its probability given the whole sentence.
    ///
    /// # Errors
    /// As [`examples`](Self::examples), for what concerns the words; those of the device.
    pub fn label(&self, sentences: &[Sentence]) -> Result<Vec<Vec<Judgement>>> {
        judged(&[self], &self.crf, sentences)
    }

    /// The same by several models together, such as those of several seeds: the scores of labels and of
    /// their neighbours are averaged, which is the geometric mean of what the models think of a
    /// sentence's labels. Mostly right more often than any one of them, and as many times the work.
    ///
    /// # Errors
    /// [`Error::Config`] without a model, or where they do not have the same labels and scheme; else
    /// those of [`label`](Self::label).
    pub fn label_together(models: &[Self], sentences: &[Sentence]) -> Result<Vec<Vec<Judgement>>> {
        let Some(first) = models.first() else {
            return Err(Error::config("models", "none", "at least one"));
        };
        for (number, model) in (1..).zip(models) {
            if !model.labels().eq(first.labels()) || model.config.scheme != first.config.scheme {
                let value = format_args!("number {number} of {}", models.len());
                let wanted = "of the same labels and scheme as the first one";
                return Err(Error::config("models", value, wanted));
            }
        }
        let all: Vec<&Self> = models.iter().collect();
        judged(&all, &mean_crf(&all, first)?, sentences)
    }
}

/// Scores of neighbours, averaged.
fn mean_crf(models: &[&Labeller], first: &Labeller) -> Result<Crf> {
    let count = first.labels.len();
    let mut mean = vec![0.0; count * count + 2 * count];
    for model in models {
        let values = crate::adamw::read(&model.crf)?;
        for (mean, value) in mean.iter_mut().zip(values) {
            *mean += value / models.len() as f32;
        }
    }
    let (transitions, ends) = mean.split_at(count * count);
    let (start, end) = ends.split_at(count);
    Crf::from_scores(transitions, start, end, &first.device())
}

/// The models have the same labels.
fn judged(models: &[&Labeller], crf: &Crf, sentences: &[Sentence]) -> Result<Vec<Vec<Judgement>>> {
    let encode = |sentence: &Sentence| {
        let each = models.iter();
        each.map(|model| model.known.encode(&model.config.reading, sentence))
            .collect::<Result<Vec<_>>>()
    };
    let encoded = sentences.iter().map(encode).collect::<Result<Vec<_>>>()?;
    let encoded: Vec<Vec<&EncodedSentence>> =
        encoded.iter().map(|each| each.iter().collect()).collect();
    let Some(first) = models.first() else {
        return Ok(Vec::new());
    };
    let found = paths(models, crf, &encoded, true)?.into_iter();
    let named = found.map(|(labels, likely)| {
        let rows = labels.iter().zip(likely.chunks_exact(first.labels.len()));
        rows.map(|(&label, row)| Judgement {
            label: first.labels.name(label).unwrap_or_default().to_string(),
            probability: row.get(label as usize).copied().unwrap_or_default(),
        })
        .collect()
    });
    Ok(named.collect())
}

/// The best labels of each sentence, which every model encoded, and the probabilities of all labels
/// where they are wanted.
pub(super) fn paths<'a>(
    models: &[&Labeller],
    crf: &Crf,
    sentences: &[impl AsRef<[&'a EncodedSentence]>],
    likely: bool,
) -> Result<Vec<(Vec<u32>, Vec<f32>)>> {
    let words = |each: &[&EncodedSentence]| each.first().map_or(0, |sentence| sentence.len());
    let sentences: Vec<&[&EncodedSentence]> = sentences.iter().map(AsRef::as_ref).collect();
    file::in_batches(
        &sentences.iter().collect::<Vec<_>>(),
        BATCH,
        |each| words(each),
        |batch| {
            let lengths: Vec<usize> = batch.iter().map(|each| words(each)).collect();
            let mut sum: Option<Tensor<3>> = None;
            for (number, model) in models.iter().enumerate() {
                let own = batch.iter().filter_map(|each| each.get(number).copied());
                let own: Vec<&EncodedSentence> = own.collect();
                let device = model.device();
                let scores = model.scores(&own, &lengths, &Learning::default(), &device)?;
                sum = Some(match sum {
                    Some(sum) => sum.clone() + scores.to_device(&sum.device()),
                    None => scores,
                });
            }
            let Some(sum) = sum else {
                return Ok(Vec::new());
            };
            let scores = match models.len() {
                1 => sum,
                n => sum / n as f32,
            };
            let marginals = match likely {
                true => crf.marginals(scores.clone(), Some(&lengths))?,
                false => vec![Vec::new(); batch.len()],
            };
            let paths = crf.viterbi(scores, Some(&lengths))?;
            let labels = paths.into_iter().map(|path| path.labels);
            Ok(labels.zip(marginals).collect())
        },
    )
}
