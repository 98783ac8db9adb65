//! Stages 4 and 5: a transformer learns the tunes, leans towards one listener, and composes.

use std::collections::HashMap;

use refrain::music::{
    Constraint, Form, Key, Metre, Midi, Rhythm, Score, SharedRun, Tokenizer, Tune, Wav,
    longest_shared_run,
};
use refrain::sequence::{Corpus, Sampler, Trainer, Transformer, TransformerConfig, Vocabulary};

use crate::listen::Data;
use crate::recommend::Recommended;
use crate::{Result, Tour};

/// The most notes in a row a composed tune may share with a known one.
const LONGEST_COPY: usize = 16;

/// A model that leans towards the listener, and the tunes it learned from.
pub struct Composer {
    model: Transformer,
    tokenizer: Tokenizer,
    tunes: Vec<Known>,
}

/// A tune of the catalogue that can be learned from.
struct Known {
    id: String,
    title: String,
    tune: Tune,
    tokens: Vec<u32>,
}

pub fn train(tour: &mut Tour, data: &Data, recommended: &Recommended) -> Result<Composer> {
    let quick = tour.options.quick;
    let tokenizer = Tokenizer::default();
    let config = TransformerConfig {
        layers: if quick { 2 } else { 4 },
        heads: 4,
        width: if quick { 64 } else { 128 },
        context: 320,
        ..TransformerConfig::default()
    };
    let tunes = learnable(data, &tokenizer, config.context)?;
    let vocabulary = Vocabulary::named(tokenizer.names())?;
    let documents = tunes.iter().map(|t| t.tokens.clone()).collect();
    let corpus =
        Corpus::documents(vocabulary.clone(), documents)?.hold_out(0.05, tour.options.seed)?;
    println!(
        "   {} of {} tunes, {} tokens of {} kinds",
        tunes.len(),
        data.tunes.len(),
        corpus.train().tokens(),
        tokenizer.size()
    );
    let trainer = Trainer {
        steps: if quick { 12 } else { 1_200 },
        batch: if quick { 4 } else { 12 },
        learning_rate: 2e-3,
        warm_up: if quick { 2 } else { 100 },
        evaluate_every: if quick { 6 } else { 150 },
        seed: tour.options.seed,
        ..Trainer::default()
    };
    let trained = trainer.fit_with(&config, &corpus, &tour.device, &tour.monitor)?;
    let best = trained.curve.best().ok_or("nothing was held out")?;
    println!(
        "   {} parameters, {:.0} tokens/s, validation loss {:.3} nats per token at step {}",
        trained.model.parameters(),
        trained.tokens_per_second(),
        best.loss,
        best.step
    );
    trained.model.save(tour.path("composer.refrain"))?;
    let plot = trained.curve.to_svg();
    tour.write("learning-curve.svg", &plot)?;
    tour.page.section("A transformer learns the tunes");
    tour.page.text(format_args!(
        "{} tunes as {} tokens; {} layers of width {}, {} parameters. A twentieth of the tunes is held \
         out: the loss on them is {:.3} nats per token at step {} (a perplexity of {:.2} among {} \
         tokens). The curve says: {}.",
        tunes.len(),
        corpus.train().tokens(),
        config.layers,
        config.width,
        trained.model.parameters(),
        best.loss,
        best.step,
        best.perplexity(),
        tokenizer.size(),
        trained.curve.fit()
    ));
    tour.page.svg(
        &plot,
        "Cross-entropy in nats per token, while training and on held-out tunes.",
    );

    // Lean towards the listener: the favourites, and what was recommended.
    let mut wanted: Vec<&str> = data
        .favourites()
        .into_iter()
        .map(|f| f.0)
        .take(80)
        .collect();
    wanted.extend(recommended.items.iter().map(String::as_str));
    let mine: Vec<Vec<u32>> = match data.about_tunes {
        true => tunes
            .iter()
            .filter(|t| wanted.contains(&t.id.as_str()))
            .map(|t| t.tokens.clone())
            .collect(),
        false => Vec::new(),
    };
    let model = if mine.len() < 5 {
        println!("   too few favourites are tunes: composing in the style of all of them");
        trained.model
    } else {
        println!(
            "   fine-tuning on {} favourites and recommendations",
            mine.len()
        );
        let tuner = Trainer {
            steps: if quick { 4 } else { 60 },
            learning_rate: 3e-4,
            warm_up: 5,
            seed: tour.options.seed,
            ..Trainer::fine_tuning()
        };
        let favourites = Corpus::documents(vocabulary, mine)?;
        tuner
            .fine_tune_with(&trained.model, &favourites, &tour.monitor)?
            .model
    };
    Ok(Composer {
        model,
        tokenizer,
        tunes,
    })
}

/// Tunes that parse, are valid and fit the context; the others are left out and counted.
fn learnable(data: &Data, tokenizer: &Tokenizer, context: usize) -> Result<Vec<Known>> {
    let mut known = Vec::new();
    for record in &data.tunes {
        let Ok(tune) = Tune::parse(&record.abc()) else {
            continue;
        };
        if !tune.validate().is_valid() {
            continue;
        }
        if let Ok(tokens) = tokenizer.encode(&tune)
            && tokens.len() <= context + 1
        {
            let (id, title) = (record.id.clone(), record.title.clone());
            known.push(Known {
                id,
                title,
                tune,
                tokens,
            });
        }
    }
    match known.is_empty() {
        true => Err("the catalogue holds no valid tune to learn from".into()),
        false => Ok(known),
    }
}

/// What shall be composed: the rhythm and mode the listener prefers, in a usual key and metre.
struct Wish {
    rhythm: Rhythm,
    metre: Metre,
    key: Key,
    header: Vec<u32>,
}

fn wish(data: &Data, composer: &Composer) -> Result<Wish> {
    let mine = data.favourites();
    let weight: HashMap<&str, f32> = match data.about_tunes {
        true => mine.iter().copied().collect(),
        false => composer
            .tunes
            .iter()
            .map(|t| (t.id.as_str(), 1.0))
            .collect(),
    };
    let of = |known: &Known| weight.get(known.id.as_str()).copied().unwrap_or(0.0);
    // Free metres have no bars to count.
    let barred = || {
        composer
            .tunes
            .iter()
            .filter(|t| t.tune.metre.bar().is_some())
    };
    let rhythm = heaviest(barred().map(|t| (t.tune.rhythm.unwrap_or(Rhythm::Other), of(t))))
        .ok_or("no tune to take the rhythm from")?;
    let mode = heaviest(barred().map(|t| (t.tune.key.mode, of(t))))
        .ok_or("no tune to take the mode from")?;
    // The favourites come first, but a mode may not occur among those of this rhythm.
    let fitting = || {
        let all = barred().map(|t| (t, of(t) + 1e-3));
        all.filter(|(t, _)| t.tune.rhythm == Some(rhythm) && t.tune.key.mode == mode)
    };
    let model = heaviest(fitting().map(|(t, w)| ((t.tune.metre, t.tune.unit, t.tune.key), w)));
    let (metre, unit, key) = match model {
        Some(found) => found,
        None => heaviest(
            barred()
                .filter(|t| t.tune.rhythm == Some(rhythm))
                .map(|t| ((t.tune.metre, t.tune.unit, t.tune.key), of(t) + 1e-3)),
        )
        .ok_or("no tune to take the key from")?,
    };
    let header = composer.tokenizer.header(rhythm, metre, unit, key)?;
    Ok(Wish {
        rhythm,
        metre,
        key,
        header,
    })
}

/// The value with the largest sum of weights; the first one where two are equal.
fn heaviest<T: PartialEq>(values: impl Iterator<Item = (T, f32)>) -> Option<T> {
    let mut sums: Vec<(T, f32)> = Vec::new();
    for (value, weight) in values {
        match sums.iter_mut().find(|s| s.0 == value) {
            Some(sum) => sum.1 += weight,
            None => sums.push((value, weight)),
        }
    }
    sums.into_iter()
        .reduce(|best, s| if s.1 > best.1 { s } else { best })
        .map(|s| s.0)
}

/// A composed tune and what speaks for it.
struct Candidate {
    tune: Tune,
    strict: bool,
    copied: SharedRun,
    on_tonic: bool,
    /// How far its features lie from the listener's favourites, in standard deviations.
    distance: f32,
    log_probability: f32,
}

impl Candidate {
    /// The smaller the better, part by part.
    fn rank(&self) -> (bool, bool, bool, f32) {
        (
            !self.strict,
            self.copied.notes > LONGEST_COPY,
            !self.on_tonic,
            self.distance,
        )
    }
}

pub fn compose(tour: &mut Tour, data: &Data, composer: Composer) -> Result<()> {
    let wish = wish(data, &composer)?;
    let count = if tour.options.quick { 2 } else { 12 };
    let ear = Ear::new(data, &composer.tunes);
    let mut candidates = Vec::new();
    let stage = tour.monitor.start("composing", Some(count));
    for i in 0..count {
        let sampler = Sampler {
            temperature: 0.9,
            top_p: Some(0.95),
            stop: vec![Tokenizer::END],
            max_tokens: composer
                .model
                .config()
                .context
                .saturating_sub(wish.header.len()),
            seed: tour.options.seed.wrapping_add(i),
            ..Sampler::default()
        };
        // The grammar sees each token once and rules out what would not make a tune.
        let mut grammar = Constraint::new(&wish.header, Some(Form::default()))?;
        let mut read = wish.header.len();
        let generated =
            sampler.generate_with(&composer.model, &wish.header, |tokens, logits| {
                for &token in tokens.iter().skip(read) {
                    if grammar.push(token).is_ok() {
                        read += 1;
                    }
                }
                grammar.mask(logits);
            })?;
        let mut ids = wish.header.clone();
        ids.extend(&generated.tokens);
        // A tune that did not end in time keeps its whole bars.
        let (mut tune, _) = composer.tokenizer.repair(&ids)?;
        tune.titles = vec![format!(
            "{} for {}",
            capital(wish.rhythm.name()),
            data.listener
        )];
        let copied = longest_shared_run(&tune, composer.tunes.iter().map(|t| &t.tune));
        let log_probability = generated.mean_log_probability();
        stage.advance(1, format_args!("log-probability {log_probability:.2}"))?;
        candidates.push(Candidate {
            strict: tune.validate().is_strict(),
            on_tonic: ends_on_tonic(&tune),
            distance: ear.distance(&tune),
            copied,
            log_probability,
            tune,
        });
    }
    drop(stage);
    candidates.sort_by(|a, b| {
        a.rank()
            .partial_cmp(&b.rank())
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let best = candidates.first().ok_or("nothing was composed")?;
    present(tour, data, &composer, &wish, best, &candidates)
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars
        .next()
        .map_or(String::new(), |c| c.to_uppercase().chain(chars).collect())
}

/// Whether the last note is the key's first.
fn ends_on_tonic(tune: &Tune) -> bool {
    let last = tune.perform_once().notes.last().map(|n| n.pitch % 12);
    last == Some(tune.key.tonic.pitch_class())
}

/// Judges how near a tune lies to what the listener likes, by what can be measured of its music.
struct Ear {
    centre: Vec<f32>,
    spread: Vec<f32>,
}

impl Ear {
    fn new(data: &Data, tunes: &[Known]) -> Self {
        let all: Vec<[f32; 20]> = tunes.iter().map(|t| t.tune.features().vector()).collect();
        let liked: Vec<&str> = data.favourites().into_iter().map(|f| f.0).collect();
        let mine: Vec<[f32; 20]> = tunes
            .iter()
            .zip(&all)
            .filter(|(t, _)| data.about_tunes && liked.contains(&t.id.as_str()))
            .map(|(_, v)| *v)
            .collect();
        let centre = mean(if mine.is_empty() { &all } else { &mine }, |x| x);
        let everyone = mean(&all, |x| x);
        let squares = mean(&all, |x| x * x);
        let spread = everyone
            .iter()
            .zip(squares)
            .map(|(m, s)| (s - m * m).max(1e-6).sqrt());
        Self {
            centre,
            spread: spread.collect(),
        }
    }

    fn distance(&self, tune: &Tune) -> f32 {
        let values = tune.features().vector();
        let places = values.iter().zip(&self.centre).zip(&self.spread);
        let squares: f32 = places.map(|((v, c), s)| ((v - c) / s).powi(2)).sum();
        (squares / values.len() as f32).sqrt()
    }
}

fn mean(rows: &[[f32; 20]], f: impl Fn(f32) -> f32) -> Vec<f32> {
    let n = rows.len().max(1) as f32;
    (0..20)
        .map(|i| rows.iter().map(|r| f(r[i])).sum::<f32>() / n)
        .collect()
}

fn present(
    tour: &mut Tour,
    data: &Data,
    composer: &Composer,
    wish: &Wish,
    best: &Candidate,
    all: &[Candidate],
) -> Result<()> {
    let tune = &best.tune;
    let abc = tune.to_abc();
    // What is written must be readable again.
    Tune::parse(&abc)?;
    let (wav, midi) = (
        Wav::default().to_bytes(tune)?,
        Midi::default().to_bytes(tune)?,
    );
    let svg = Score::default().to_svg(tune)?;
    tour.write("tune.abc", &abc)?;
    tour.write("tune.mid", midi)?;
    tour.write("tune.wav", wav)?;
    tour.write("tune.svg", &svg)?;

    let valid = all.iter().filter(|c| c.strict).count();
    let notes = tune.perform_once().notes.len();
    let source = composer
        .tunes
        .get(best.copied.tune)
        .map_or("", |t| t.title.as_str());
    println!(
        "   a {} in {}, {}: {valid} of {} candidates are valid; the best has {notes} notes",
        wish.rhythm.name(),
        wish.key.name(),
        wish.metre,
        all.len()
    );
    println!(
        "   longest run shared with a known tune: {} notes, with “{source}”",
        best.copied.notes
    );
    for line in abc.lines() {
        println!("   {line}");
    }
    let page = &mut tour.page;
    page.section(&format!("A new tune for {}", data.listener));
    let why = match data.about_tunes {
        true => "the rhythm and mode this listener plays most",
        false => "the commonest rhythm and mode, since the log is not about tunes",
    };
    page.text(format_args!(
        "A {} in {}: {why}.",
        wish.rhythm.name(),
        wish.key.name()
    ));
    page.svg(&svg, "The score, drawn from the ABC below.");
    // The page carries a smaller recording than the file.
    let small = Wav {
        sample_rate: 22_050,
        stereo: false,
        ..Wav::default()
    };
    page.audio(&small.to_bytes(tune)?);
    page.preformatted(&abc);
    page.text(format_args!(
        "Of {} candidates {valid} are valid: every bar adds up and the notes keep to the key. The tune \
         has {notes} notes; the longest run it shares with any of the {} tunes learned from is {} notes, \
         with “{source}”.",
        all.len(),
        composer.tunes.len(),
        best.copied.notes
    ));
    let yes = |b: bool| if b { "yes" } else { "no" }.to_string();
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|c| {
            vec![
                yes(c.strict),
                c.copied.notes.to_string(),
                yes(c.on_tonic),
                format!("{:.2}", c.distance),
                format!("{:.2}", c.log_probability),
            ]
        })
        .collect();
    page.table(
        &[
            "valid",
            "longest copy",
            "ends on the tonic",
            "distance from taste",
            "log-probability",
        ],
        &rows,
    );
    page.note(format_args!(
        "The candidates, the chosen one first. Criterion: valid; no more than {LONGEST_COPY} notes in \
         a row copied; ends on the tonic; then the smallest distance of its range, leaps, density, \
         speed and pitches from the mean of the favourites, in standard deviations of all tunes."
    ));
    Ok(())
}
