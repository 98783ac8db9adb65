//! Does a discriminator make a language model better? Short sentences, lines of Tang poems, or bars of jigs.
//!
//! ```sh
//! cargo run --release --example text_gan                # sentences of the bundled English texts
//! cargo run --release --example text_gan -- --poems
//! cargo run --release --example text_gan -- --tunes     # two bars of the bundled jigs
//! cargo run --release --example text_gan -- --tunes --transformer
//! ```
//!
//! A language model, recurrent or a transformer, is trained by maximum likelihood, then further by SeqGAN. Both are sampled
//! at several temperatures and compared as *Language GANs Falling Short* (Caccia et al. 2020) asks: BLEU
//! against held-out texts (quality), self-BLEU (variety), the perplexity of the samples under a model of
//! real texts, and that of held-out texts under a model of the samples. Of bars also the share is told that
//! last as long as they should. The adversarial model is only
//! better where it is better in quality *and* variety than likelihood at some temperature.

mod support;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use refrain::Monitor;
use refrain::data::bundled;
use refrain::gan::{SequenceDiscriminator, SequenceGan, Sweep, SweepPoint, TextFrame, sweep};
use refrain::music::{Letter, Tokenizer, Tonic, Tune};
use refrain::sequence::{
    Cell, Corpus, LanguageModel, ModelConfig, RnnConfig, Sampler, Trainer, TransformerConfig,
    Vocabulary,
};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// SeqGAN against maximum likelihood
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Lines of Tang poems, five characters and five, in place of English sentences
    #[arg(long, conflicts_with = "tunes")]
    poems: bool,
    /// Two bars of the bundled jigs, moved to one key, in place of English sentences
    #[arg(long)]
    tunes: bool,
    /// A transformer in place of a recurrent model
    #[arg(long)]
    transformer: bool,
    /// Rounds of the game
    #[arg(long, default_value_t = 150)]
    rounds: usize,
    /// Texts at each temperature
    #[arg(long, default_value_t = 500)]
    texts: usize,
    /// Where to train: cpu, flex, ndarray, wgpu or cuda; REFRAIN_DEVICE sets it too
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("text_gan: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The most common tokens, of which all must be.
const COMMON: usize = 2_000;

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let width = if options.quick { 16 } else { 96 };
    match options.transformer {
        true => {
            let config = TransformerConfig {
                layers: 2,
                width,
                context: 32,
                dropout: 0.2,
                ..TransformerConfig::default()
            };
            play(options, &config)
        }
        false => {
            let config = RnnConfig {
                cell: Cell::Gru,
                layers: 1,
                width,
                dropout: 0.2,
                ..RnnConfig::default()
            };
            play(options, &config)
        }
    }
}

fn play<C: ModelConfig>(options: &Options, config: &C) -> Result<(), Box<dyn Error>> {
    let device = support::device(&options.device)?;
    let (texts, longest) = match (options.poems, options.tunes) {
        (true, _) => (poems()?, 12),
        (_, true) => (bars()?, 24),
        _ => (sentences(&bundled::text()?), 12),
    };
    let most = if options.quick { 300 } else { usize::MAX };
    let (vocabulary, documents) = tokens(texts, longest, most);
    let frame = TextFrame {
        start: 0,
        end: 1,
        longest: longest + 1,
    };
    let names = Vocabulary::named(&vocabulary)?;
    let corpus = Corpus::documents(names, documents)?.hold_out(0.2, options.seed)?;
    let held_out: Vec<Vec<u32>> = match corpus.validation() {
        Some(part) => part.iter().map(<[u32]>::to_vec).collect(),
        None => Vec::new(),
    };
    println!(
        "{} texts to learn from, {} held out, {} tokens known",
        corpus.train().iter().count(),
        held_out.len(),
        vocabulary.len()
    );

    // Maximum likelihood.
    let trainer = Trainer {
        steps: if options.quick { 30 } else { 2_000 },
        batch: 32,
        learning_rate: 4e-3,
        warm_up: 20,
        evaluate_every: if options.quick { 15 } else { 100 },
        patience: Some(4),
        seed: options.seed,
        ..Trainer::default()
    };
    let likelihood = trainer
        .fit_with(config, &corpus, &device, &Monitor::bars())?
        .model;
    println!(
        "maximum likelihood: perplexity {:.1} on what was held out",
        perplexity(&likelihood, &held_out)?
    );
    // A judge that neither model can lean on: trained on the held-out texts too.
    let all = corpus
        .train()
        .iter()
        .map(<[u32]>::to_vec)
        .chain(held_out.clone())
        .collect();
    let everything = Corpus::documents(corpus.vocabulary().clone(), all)?;
    let judge_trainer = Trainer {
        steps: trainer.steps / 2,
        seed: options.seed + 1,
        ..trainer.clone()
    };
    let judge = judge_trainer
        .fit_with(config, &everything, &device, &Monitor::bars())?
        .model;

    // The game.
    let gan = SequenceGan {
        discriminator: SequenceDiscriminator::default(),
        rounds: if options.quick { 3 } else { options.rounds },
        warm_up: if options.quick { 3 } else { 200 },
        batch: if options.quick { 8 } else { 32 },
        rollouts: if options.quick { 1 } else { 4 },
        seed: options.seed,
        ..SequenceGan::default()
    };
    let played = gan.fit_with(&likelihood, &corpus, frame, &device, &Monitor::bars())?;
    if let (Some(first), Some(last)) = (played.history.first(), played.history.last()) {
        println!(
            "SeqGAN: reward {:.3} in the first round, {:.3} in the last; the discriminator is right {:.0} % of the time",
            first.reward,
            last.reward,
            100.0 * last.accuracy
        );
    }

    let temperatures = Sweep {
        frame,
        temperatures: match options.quick {
            true => vec![0.7, 1.0],
            false => vec![0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2],
        },
        texts: if options.quick { 30 } else { options.texts },
        seed: options.seed,
    };
    let reverse_trainer = Trainer {
        steps: if options.quick { 10 } else { 400 },
        evaluate_every: usize::from(u16::MAX),
        patience: None,
        ..trainer
    };
    let reverse = Some((config, corpus.vocabulary(), &reverse_trainer, &device));
    println!("\n  temperature    BLEU  self-BLEU  perplexity  reverse perplexity");
    let mut measured = Vec::new();
    for (name, model) in [("likelihood", &likelihood), ("SeqGAN", &played.generator)] {
        let points = sweep(model, &temperatures, &held_out, &judge, reverse)?;
        points
            .iter()
            .for_each(|point| println!("{name:>10} {point}"));
        measured.push(points);
    }
    let [likelihood_points, gan_points] = measured.as_slice() else {
        return Ok(());
    };
    println!("\n{}", verdict(gan_points, likelihood_points));

    for (name, model) in [
        ("maximum likelihood", &likelihood),
        ("SeqGAN", &played.generator),
    ] {
        println!("\n{name} writes:");
        let texts = write(model, &frame, &vocabulary, options)?;
        let gap = if options.poems { "" } else { " " };
        texts
            .iter()
            .take(5)
            .for_each(|t| println!("  {}", t.join(gap)));
        if options.tunes {
            let right = texts.iter().filter(|text| lasts_two_bars(text)).count();
            println!(
                "  {:.1} % last two bars",
                100.0 * right as f64 / texts.len().max(1) as f64
            );
        }
    }
    Ok(())
}

/// e to the mean loss of a token.
fn perplexity(model: &dyn LanguageModel, texts: &[Vec<u32>]) -> Result<f64, Box<dyn Error>> {
    let mut logs = Vec::new();
    for text in texts {
        logs.extend(model.log_probabilities(text)?.into_iter().map(f64::from));
    }
    Ok((-logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp())
}

/// Who is ahead in quality and variety at once.
fn verdict(gan: &[SweepPoint], likelihood: &[SweepPoint]) -> String {
    let beaten = |some: &[SweepPoint], by: &[SweepPoint]| {
        some.iter()
            .filter(|p| by.iter().any(|o| o.dominates(p)))
            .count()
    };
    let (gan_beaten, likelihood_beaten) = (beaten(gan, likelihood), beaten(likelihood, gan));
    // Quality and variety in one number.
    let lowest = |points: &[SweepPoint]| {
        let all = points.iter().filter_map(|p| p.reverse_perplexity);
        all.fold(f64::INFINITY, f64::min)
    };
    let (gan_lowest, likelihood_lowest) = (lowest(gan), lowest(likelihood));
    let who = match (
        gan_beaten.cmp(&likelihood_beaten),
        gan_lowest.total_cmp(&likelihood_lowest),
    ) {
        (Ordering::Greater, Ordering::Greater) => "maximum likelihood wins both",
        (Ordering::Less, Ordering::Less) => "SeqGAN wins both",
        _ => "neither wins both",
    };
    format!(
        "In BLEU and self-BLEU at once, likelihood at some temperature beats {gan_beaten} of {} points of \
         SeqGAN, and SeqGAN beats {likelihood_beaten} of {} of likelihood. The lowest reverse perplexity \
         is {likelihood_lowest:.1} for likelihood, {gan_lowest:.1} for SeqGAN: {who}.",
        gan.len(),
        likelihood.len()
    )
}

/// Texts of a model, by their tokens' names.
fn write(
    model: &dyn LanguageModel,
    frame: &TextFrame,
    names: &[String],
    options: &Options,
) -> Result<Vec<Vec<String>>, Box<dyn Error>> {
    let sampler = Sampler {
        stop: vec![frame.end],
        max_tokens: frame.longest,
        seed: options.seed,
        ..Sampler::default()
    };
    let count = if options.quick { 5 } else { options.texts };
    let texts = sampler.generate_many(model, &[frame.start], count)?;
    let named = |tokens: &[u32]| -> Vec<String> {
        let words = tokens.iter().filter(|&&t| t != frame.end);
        words
            .filter_map(|&t| names.get(t as usize))
            .cloned()
            .collect()
    };
    Ok(texts.iter().map(|text| named(&text.tokens)).collect())
}

/// Sentences of three words and more, in lower case, signs apart.
fn sentences(text: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let (mut sentence, mut word) = (Vec::new(), String::new());
    for c in text.chars().chain([' ']) {
        if c.is_ascii_alphabetic() || (c == '\'' && !word.is_empty()) {
            word.push(c.to_ascii_lowercase());
            continue;
        }
        if !word.is_empty() {
            sentence.push(std::mem::take(&mut word));
        }
        if ",.!?;:".contains(c) {
            sentence.push(c.to_string());
        }
        if ".!?;".contains(c) {
            all.push(std::mem::take(&mut sentence));
        }
    }
    all.retain(|s| s.len() > 3);
    all
}

/// Lines of five characters and five.
fn poems() -> Result<Vec<Vec<String>>, Box<dyn Error>> {
    let mut all = Vec::new();
    for line in bundled::tang_poems()?.iter().flat_map(|poem| &poem.lines) {
        let signs: Vec<String> = line.chars().map(String::from).collect();
        if signs.len() == 12 && signs[5] == "，" {
            all.push(signs);
        }
    }
    Ok(all)
}

/// Two bars that follow each other, of jigs in G whose unit is an eighth: `d 2 f a ^ g f | d 5 A`.
fn bars() -> Result<Vec<Vec<String>>, Box<dyn Error>> {
    let tokenizer = Tokenizer::default();
    let g = Tonic {
        letter: Letter::G,
        alter: 0,
    };
    let mut all = Vec::new();
    for record in bundled::tunes()? {
        let Ok(tokens) = Tune::parse(&record.abc())
            .and_then(|tune| tune.transpose_to(g))
            .and_then(|tune| tokenizer.encode(&tune))
        else {
            continue;
        };
        let names: Vec<String> = tokens
            .iter()
            .filter_map(|&token| tokenizer.name(token).map(str::to_string))
            .collect();
        if names.get(2).map(String::as_str) != Some("M:6/8") || names[3] != "L:1/8" {
            continue;
        }
        let bars: Vec<&[String]> = names[6..].split(|name| name.contains('|')).collect();
        for pair in bars.windows(2) {
            let text = [pair[0], &["|".to_string()], pair[1]].concat();
            if lasts_two_bars(&text) {
                all.push(text);
            }
        }
    }
    Ok(all)
}

/// Whether these are two bars of six eighths.
fn lasts_two_bars(text: &[String]) -> bool {
    let bars: Vec<&[String]> = text.split(|name| name == "|").collect();
    bars.len() == 2 && bars.iter().all(|bar| eighths(bar) == Some(6.0))
}

/// How long plain notes and rests last; `None` where there is anything else.
fn eighths(bar: &[String]) -> Option<f64> {
    let (mut sum, mut last) = (0.0, 0.0);
    for name in bar {
        let first = name.chars().next()?;
        if first.is_ascii_alphabetic() && !name.contains(':') && name.len() < 4 {
            (sum, last) = (sum + 1.0, 1.0);
        } else if first.is_ascii_digit() && last == 1.0 {
            let (above, below) = name.split_once('/').unwrap_or((name, "1"));
            let length = above.parse::<f64>().ok()? / below.parse::<f64>().ok()?;
            (sum, last) = (sum + length - 1.0, 0.0);
        } else if !["^", "_", "="].contains(&name.as_str()) {
            return None;
        }
    }
    Some(sum)
}

/// Distinct texts of common tokens only, between their ends, and the tokens' names.
fn tokens(texts: Vec<Vec<String>>, longest: usize, most: usize) -> (Vec<String>, Vec<Vec<u32>>) {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    texts
        .iter()
        .flatten()
        .for_each(|word| *counts.entry(word).or_default() += 1);
    let mut common: Vec<(&str, usize)> = counts.into_iter().collect();
    common.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    common.truncate(COMMON);
    let mut names = vec!["<start>".to_string(), "<end>".to_string()];
    names.extend(common.iter().map(|(word, _)| word.to_string()));
    let ids: HashMap<&str, u32> = names
        .iter()
        .enumerate()
        .map(|(i, w)| (w.as_str(), i as u32))
        .collect();
    let mut documents = Vec::new();
    for text in texts.iter().filter(|t| t.len() <= longest) {
        let known: Option<Vec<u32>> = text
            .iter()
            .map(|word| ids.get(word.as_str()).copied())
            .collect();
        if let Some(known) = known {
            let mut document = vec![0];
            document.extend(known);
            document.push(1);
            documents.push(document);
        }
    }
    documents.sort();
    documents.dedup();
    documents.truncate(most);
    (names, documents)
}
