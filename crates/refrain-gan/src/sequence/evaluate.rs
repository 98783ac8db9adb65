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
    /// Quality: perplexity of the texts under a language model of real texts; lower is better. e to the
    /// power of −mean ln p, over all tokens of all texts but each text's first, where p is the model's
    /// probability of the token after those before it; the token that ends a text counts.
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

#[cfg(test)]
mod tests {
    use refrain_sequence::{LanguageState, RnnConfig};

    use super::*;

    /// The probability of each token after each.
    #[derive(Clone)]
    struct Table([[f32; 4]; 4]);

    struct Read<'a>(&'a Table, usize);

    impl LanguageModel for Table {
        fn vocabulary_size(&self) -> usize {
            4
        }

        fn context(&self) -> Option<usize> {
            None
        }

        fn start(&self) -> refrain_sequence::Result<Box<dyn LanguageState + '_>> {
            Ok(Box::new(Read(self, 0)))
        }
    }

    impl LanguageState for Read<'_> {
        fn feed(&mut self, tokens: &[u32]) -> refrain_sequence::Result<Vec<f32>> {
            self.1 += tokens.len();
            let last = *tokens.last().unwrap() as usize;
            Ok(self.0.0[last].map(f32::ln).to_vec())
        }

        fn position(&self) -> usize {
            self.1
        }

        fn fork<'s>(&self) -> Box<dyn LanguageState + 's>
        where
            Self: 's,
        {
            Box::new(Read(self.0, self.1))
        }
    }

    #[test]
    fn perplexity_by_hand() {
        let judge = Table([
            [0.125, 0.125, 0.5, 0.25],
            [0.25; 4],
            [0.25, 0.125, 0.5, 0.125],
            [0.5, 0.25, 0.125, 0.125],
        ]);
        // 0.5 · 0.5 of two tokens, 0.25 · 0.125 · 0.5 of three: 2⁻⁸ in all, of one each 2^(−8/5).
        let texts = [vec![0, 2, 2], vec![0, 3, 2, 2]];
        let found = perplexity(&judge, &texts).unwrap();
        assert!((found - 2f64.powf(8.0 / 5.0)).abs() < 1e-6, "{found}");
    }

    #[test]
    fn a_judge_that_knows_nothing_hesitates_among_all_tokens() {
        let config = Sweep {
            frame: TextFrame {
                start: 0,
                end: 1,
                longest: 5,
            },
            temperatures: vec![0.5, 1.0],
            texts: 20,
            seed: 1,
        };
        let model = Table([[0.0, 0.1, 0.3, 0.6]; 4]);
        let real = [vec![0, 2, 3, 1], vec![0, 3, 1]];
        let points = sweep::<RnnConfig>(&model, &config, &real, &Table([[0.25; 4]; 4]), None);
        for point in points.unwrap() {
            assert!((point.perplexity - 4.0).abs() < 1e-6, "{point}");
        }
    }
}
