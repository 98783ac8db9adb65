//! Quality against variety, as *Language GANs Falling Short* (Caccia et al. 2020,
//! <https://arxiv.org/abs/1811.02549>) asks: no single number tells whether one generator of text is better
//! than another, for a lower temperature buys quality with variety. Each model is sampled at several
//! temperatures, and the better one is better at the same variety.

use std::fmt;

use refrain_core::Device;
use refrain_sequence::metrics::Bleu;
use refrain_sequence::{Corpus, LanguageModel, ModelConfig, Trainer, Vocabulary};

use super::TextFrame;
use super::texts::write;
use crate::{Error, Result};

/// How models of text are compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// How texts begin and end.
    pub frame: TextFrame,
    /// The temperatures that texts are sampled at; 1 is the model itself.
    pub temperatures: Vec<f32>,
    /// Texts at each temperature.
    pub texts: usize,
    /// What they are drawn by.
    pub seed: u64,
}

/// What a model's texts at one temperature are worth.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct SweepPoint {
    /// The temperature.
    pub temperature: f32,
    /// Quality: mean BLEU (0 to 100) against real texts; higher is better.
    pub bleu: f64,
    /// Variety: self-BLEU (0 to 100); lower is better.
    pub self_bleu: f64,
    /// Quality: perplexity of the texts under a language model of real texts; lower is better.
    pub perplexity: f64,
    /// Quality and variety: perplexity of real texts under a language model trained on these; lower is
    /// better. `None` where it was not asked.
    pub reverse_perplexity: Option<f64>,
}

impl SweepPoint {
    /// Whether this point is at least as good as another in both BLEU and self-BLEU, and better in one.
    pub fn dominates(&self, other: &Self) -> bool {
        let (quality, variety) = (self.bleu - other.bleu, other.self_bleu - self.self_bleu);
        quality >= 0.0 && variety >= 0.0 && quality + variety > 0.0
    }
}

impl fmt::Display for SweepPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            temperature,
            bleu,
            self_bleu,
            perplexity,
            ..
        } = self;
        write!(
            f,
            "{temperature:>5.2}{bleu:>8.2}{self_bleu:>11.2}{perplexity:>12.2}"
        )?;
        match self.reverse_perplexity {
            Some(reverse) => write!(f, "{reverse:>20.2}"),
            None => write!(f, "{:>20}", "–"),
        }
    }
}

/// Samples `model` at each temperature and compares its texts with `real` ones; `judge` is a language
/// model of real texts. With `reverse`, another one of this kind, with this vocabulary, is trained on each
/// set of texts.
///
/// # Errors
/// [`Error::Config`] without temperatures or with fewer than two texts, [`Error::Empty`] without real
/// texts, and those of the sequence models.
pub fn sweep<C: ModelConfig>(
    model: &dyn LanguageModel,
    config: &Sweep,
    real: &[Vec<u32>],
    judge: &dyn LanguageModel,
    reverse: Option<(&C, &Vocabulary, &Trainer, &Device)>,
) -> Result<Vec<SweepPoint>> {
    if config.temperatures.is_empty() || config.texts < 2 {
        return Err(Error::config(
            "texts",
            "a sweep needs a temperature and two texts at least",
        ));
    }
    if real.is_empty() {
        return Err(Error::Empty { what: "real texts" });
    }
    // Numbers for words: BLEU sees only whether two are the same.
    let words = |texts: &[Vec<u32>]| -> Vec<String> {
        let inner = |t: &Vec<u32>| {
            let tokens = t
                .iter()
                .filter(|&&t| t != config.frame.start && t != config.frame.end);
            tokens.map(u32::to_string).collect::<Vec<_>>().join(" ")
        };
        texts.iter().map(inner).collect()
    };
    let references = words(real);
    let bleu = Bleu {
        tokenized: true,
        ..Bleu::default()
    };
    let mut points = Vec::new();
    for &temperature in &config.temperatures {
        let written = write(model, &config.frame, temperature, config.texts, config.seed)?;
        let texts = words(&written);
        let reverse_perplexity = match reverse {
            Some((kind, names, trainer, device)) => Some(reverse_perplexity(
                &written,
                real,
                names,
                (kind, trainer),
                device,
            )?),
            None => None,
        };
        points.push(SweepPoint {
            temperature,
            bleu: bleu.mean_against(&texts, &references)?,
            self_bleu: bleu.self_score(&texts)?,
            perplexity: perplexity(judge, &written)?,
            reverse_perplexity,
        });
    }
    Ok(points)
}

/// e to the mean cross-entropy of all tokens but each text's first.
fn perplexity(judge: &dyn LanguageModel, texts: &[Vec<u32>]) -> Result<f64> {
    let (mut sum, mut count) = (0.0, 0usize);
    for text in texts {
        let logs = judge.log_probabilities(text)?;
        count += logs.len();
        sum -= logs.iter().map(|&l| f64::from(l)).sum::<f64>();
    }
    Ok((sum / count.max(1) as f64).exp())
}

/// The perplexity of `real` texts under a model that is trained on `written` ones, which share a
/// vocabulary.
///
/// # Errors
/// Those of the sequence models.
pub fn reverse_perplexity<C: ModelConfig>(
    written: &[Vec<u32>],
    real: &[Vec<u32>],
    vocabulary: &Vocabulary,
    (config, trainer): (&C, &Trainer),
    device: &Device,
) -> Result<f64> {
    let corpus = Corpus::documents(vocabulary.clone(), written.to_vec())?;
    let trained = trainer.fit(config, &corpus, device)?.model;
    perplexity(&trained, real)
}
