//! Does a discriminator make a language model better? Short sentences, or lines of Tang poems.
//!
//! ```sh
//! cargo run --release --example text_gan                # sentences of the bundled English texts
//! cargo run --release --example text_gan -- --poems
//! ```
//!
//! A recurrent language model is trained by maximum likelihood, then further by SeqGAN. Both are sampled
//! at several temperatures and compared as *Language GANs Falling Short* (Caccia et al. 2020) asks: BLEU
//! against held-out texts (quality), self-BLEU (variety), the perplexity of the samples under a model of
//! real texts, and that of held-out texts under a model of the samples. The adversarial model is only
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
use refrain::sequence::{
    Cell, Corpus, RnnConfig, RnnLm, Sampler, TokenSequences, Trainer, Vocabulary,
};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// SeqGAN against maximum likelihood
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Lines of Tang poems, five characters and five, in place of English sentences
    #[arg(long)]
    poems: bool,
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

/// The most tokens of a text, and the most common tokens, of which all must be.
const LONGEST: usize = 12;
const COMMON: usize = 2_000;

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let device = support::device(&options.device)?;
    let texts = match options.poems {
        true => poems()?,
        false => sentences(&bundled::text()?),
    };
    let (vocabulary, documents) = tokens(texts, if options.quick { 300 } else { usize::MAX });
    let frame = TextFrame {
        start: 0,
        end: 1,
        longest: LONGEST + 1,
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
    let width = if options.quick { 16 } else { 96 };
    let rnn = RnnConfig {
        cell: Cell::Gru,
        layers: 1,
        width,
        dropout: 0.2,
        ..RnnConfig::default()
    };
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
        .fit_with(&rnn, &corpus, &device, &Monitor::bars())?
        .model;
    let loss = likelihood.loss(&TokenSequences::documents(&held_out))?;
    println!(
        "maximum likelihood: perplexity {:.1} on what was held out",
        loss.exp()
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
        .fit_with(&rnn, &everything, &device, &Monitor::bars())?
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

    let config = Sweep {
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
    let reverse = Some((&rnn, &reverse_trainer, &device));
    println!("\n  temperature    BLEU  self-BLEU  perplexity  reverse perplexity");
    let mut measured = Vec::new();
    for (name, model) in [("likelihood", &likelihood), ("SeqGAN", &played.generator)] {
        let points = sweep(model, &config, &held_out, &judge, reverse)?;
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
        show(model, &frame, &vocabulary, options.seed)?;
    }
    Ok(())
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

fn show(
    model: &RnnLm,
    frame: &TextFrame,
    names: &[String],
    seed: u64,
) -> Result<(), Box<dyn Error>> {
    let sampler = Sampler {
        stop: vec![frame.end],
        max_tokens: frame.longest,
        seed,
        ..Sampler::default()
    };
    for text in sampler.generate_many(model, &[frame.start], 5)? {
        let words = text.tokens.iter().filter(|&&t| t != frame.end);
        let words: Vec<&str> = words
            .filter_map(|&t| names.get(t as usize))
            .map(String::as_str)
            .collect();
        let gap = if words.iter().all(|w| w.is_ascii()) {
            " "
        } else {
            ""
        };
        println!("  {}", words.join(gap));
    }
    Ok(())
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

/// Distinct texts of common tokens only, between their ends, and the tokens' names.
fn tokens(texts: Vec<Vec<String>>, most: usize) -> (Vec<String>, Vec<Vec<u32>>) {
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
    for text in texts.iter().filter(|t| t.len() <= LONGEST) {
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
