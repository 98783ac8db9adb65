//! Composes: tunes in ABC after the bundled ones, or chorales after Bach's.
//!
//! ```sh
//! cargo run --release --example compose_tunes                       # a transformer; --model lstm for an RNN
//! REFRAIN_DATA=DATA cargo run --release --example compose_tunes -- --chorales
//! ```
//!
//! While a tune is written, its grammar rules out what would not add up. `--chorales` reads
//! `DATA/jsb-chorales/jsb-chorales-quarter.json` (Boulanger-Lewandowski's 229, 76 and 77 chorales on a grid
//! of quarters; `czhuang/JSB-Chorales-dataset`), and tells the negative log-likelihood of a frame of 88
//! keys on the test part. ABC and MIDI files go into `--out`.

mod support;

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use refrain::data::bundled;
use refrain::music::{Constraint, Form, Midi, PlayedNote, Tokenizer, Tune, longest_shared_run};
use refrain::sequence::{
    Cell, Corpus, FrameConfig, FrameModel, Frames, LanguageModel, ModelConfig, RnnConfig, Sampler,
    Trainer, TransformerConfig, Vocabulary,
};
use refrain::{Device, Monitor};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Model {
    Transformer,
    Lstm,
    Gru,
}

/// Compose tunes, or chorales
#[derive(Parser)]
#[command(version, about)]
struct Options {
    #[arg(long, value_enum, default_value_t = Model::Transformer)]
    model: Model,
    /// Chorales instead of tunes, by a recurrent network over frames of keys
    #[arg(long)]
    chorales: bool,
    /// The share of values dropped in training on chorales
    #[arg(long, default_value_t = 0.2)]
    dropout: f32,
    /// Judge chorales on the validation part alone: to choose settings without a look at the test part
    #[arg(long)]
    choose: bool,
    /// How many to compose
    #[arg(long, default_value_t = 3)]
    count: usize,
    /// Training steps
    #[arg(long)]
    steps: Option<usize>,
    #[arg(long, default_value_t = 0.9)]
    temperature: f32,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/compose")]
    out: PathBuf,
    /// Where to train: cpu, flex, ndarray, wgpu or cuda; REFRAIN_DEVICE sets it too
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compose_tunes: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let device = support::device(&options.device)?;
    std::fs::create_dir_all(&options.out).map_err(|e| format!("{}: {e}", options.out.display()))?;
    match options.chorales {
        true => chorales(options, &device),
        false => tunes(options, &device),
    }
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Box<dyn Error>> {
    std::fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    println!("{} written", path.display());
    Ok(())
}

/// The most tokens of a tune.
const CONTEXT: usize = 320;

fn tunes(options: &Options, device: &Device) -> Result<(), Box<dyn Error>> {
    let tokenizer = Tokenizer::default();
    let mut known = Vec::new();
    for record in bundled::tunes()? {
        let tune = Tune::parse(&record.abc())?;
        if tune.validate().is_valid()
            && let Ok(tokens) = tokenizer.encode(&tune)
            && tokens.len() <= CONTEXT
        {
            known.push((tune, tokens));
        }
    }
    let documents = known.iter().map(|(_, tokens)| tokens.clone()).collect();
    let vocabulary = Vocabulary::named(tokenizer.names())?;
    let corpus = Corpus::documents(vocabulary, documents)?.hold_out(0.05, options.seed)?;
    println!("{} tunes, {} tokens", known.len(), corpus.train().tokens());
    let model = tune_model(options, &corpus, device)?;

    for number in 0..options.count {
        // Rhythm, metre and key of one of the tunes.
        let at = (options.seed as usize + 97 * number) % known.len();
        let header = tokenizer.header_of(&known[at].0)?;
        let sampler = Sampler {
            temperature: options.temperature,
            top_p: Some(0.95),
            stop: vec![Tokenizer::END],
            max_tokens: CONTEXT - header.len(),
            seed: options.seed.wrapping_add(number as u64),
            ..Sampler::default()
        };
        let mut grammar = Constraint::new(&header, Some(Form::default()))?;
        let mut read = header.len();
        let written = sampler.generate_with(model.as_ref(), &header, |tokens, logits| {
            for &token in tokens.iter().skip(read) {
                if grammar.push(token).is_ok() {
                    read += 1;
                }
            }
            grammar.mask(logits);
        })?;
        let ids = [header, written.tokens].concat();
        // A tune that did not end in time keeps its whole bars.
        let (mut tune, _) = tokenizer.repair(&ids)?;
        tune.titles = vec![format!("Composed, {}", number + 1)];
        let abc = tune.to_abc();
        Tune::parse(&abc)?; // what is written can be read again
        println!("\n{abc}");
        println!(
            "valid: {}; the longest run of notes that a known tune has too: {}",
            if tune.validate().is_valid() {
                "yes"
            } else {
                "no"
            },
            longest_shared_run(&tune, known.iter().map(|(tune, _)| tune)).notes
        );
        let name = format!("tune-{}", number + 1);
        write(&options.out.join(&name).with_extension("abc"), &abc)?;
        let midi = Midi::default().to_bytes(&tune)?;
        write(&options.out.join(&name).with_extension("mid"), midi)?;
    }
    Ok(())
}

fn tune_model(
    options: &Options,
    corpus: &Corpus,
    device: &Device,
) -> Result<Box<dyn LanguageModel>, Box<dyn Error>> {
    let quick = options.quick;
    let cell = match options.model {
        Model::Transformer => {
            let config = TransformerConfig {
                layers: if quick { 1 } else { 4 },
                width: if quick { 32 } else { 128 },
                context: CONTEXT,
                ..TransformerConfig::default()
            };
            return train(options, &config, corpus, device);
        }
        Model::Lstm => Cell::Lstm,
        Model::Gru => Cell::Gru,
    };
    let config = RnnConfig {
        cell,
        layers: if quick { 1 } else { 2 },
        width: if quick { 32 } else { 256 },
        dropout: if quick { 0.0 } else { 0.2 },
        bptt: CONTEXT,
        ..RnnConfig::default()
    };
    train(options, &config, corpus, device)
}

fn train<C: ModelConfig>(
    options: &Options,
    config: &C,
    corpus: &Corpus,
    device: &Device,
) -> Result<Box<dyn LanguageModel>, Box<dyn Error>>
where
    C::Model: 'static,
{
    let trainer = Trainer {
        steps: options
            .steps
            .unwrap_or(if options.quick { 4 } else { 1_200 }),
        batch: if options.quick { 4 } else { 12 },
        learning_rate: 2e-3,
        evaluate_every: 150,
        seed: options.seed,
        ..Trainer::default()
    };
    let trained = trainer.fit_with(config, corpus, device, &Monitor::bars())?;
    let best = trained.curve.best().ok_or("nothing was held out")?;
    println!(
        "{:.3} nats per token on the tunes that were held out, {:.0} tokens/s",
        best.loss,
        trained.tokens_per_second()
    );
    Ok(Box::new(trained.model))
}

const CHORALES: &str = "jsb-chorales/jsb-chorales-quarter.json";

/// MIDI's number of a piano's lowest key.
const LOWEST: u32 = 21;

/// Training, validation and test part.
type Parts = [Vec<Frames>; 3];

fn chorales(options: &Options, device: &Device) -> Result<(), Box<dyn Error>> {
    let folder = std::env::var("REFRAIN_DATA").ok().filter(|f| !f.is_empty());
    let [training, validation, test] = match folder {
        Some(folder) => published(&Path::new(&folder).join(CHORALES))?,
        None if options.quick => made_up(),
        None => {
            let source = "czhuang/JSB-Chorales-dataset";
            return Err(
                format!("set REFRAIN_DATA to a folder that holds {CHORALES} ({source})").into(),
            );
        }
    };
    let more = transposed(&training);
    println!(
        "{} chorales to learn from, {} with transposed ones; {} and {} to judge by",
        training.len(),
        more.len(),
        validation.len(),
        test.len()
    );
    let config = FrameConfig {
        cell: if options.model == Model::Gru {
            Cell::Gru
        } else {
            Cell::Lstm
        },
        hidden: if options.quick { 16 } else { 256 },
        dropout: options.dropout,
        ..FrameConfig::default()
    };
    let trainer = Trainer {
        steps: options
            .steps
            .unwrap_or(if options.quick { 10 } else { 3_000 }),
        batch: 16,
        learning_rate: 1e-2,
        warm_up: 50,
        weight_decay: 0.01,
        betas: (0.9, 0.999),
        average: Some(if options.quick { 0.5 } else { 0.995 }),
        evaluate_every: 100,
        patience: Some(5),
        seed: options.seed,
        ..Trainer::default()
    };
    let model = FrameModel::new(&config, options.seed, device)?;
    let trained = trainer.fit_module_with(&model, &more, &validation, &Monitor::bars())?;
    let model = trained.model;
    println!(
        "negative log-likelihood of a frame: {:.3} nats on the validation part",
        model.loss_per_frame(&validation)?
    );
    if !options.choose {
        println!("{:.3} nats on the test part", model.loss_per_frame(&test)?);
    }
    for number in 0..options.count {
        let first = test.get(number % test.len().max(1)).ok_or("no chorale")?;
        let begin = Frames(first.0.iter().take(4).cloned().collect());
        let seed = options.seed.wrapping_add(number as u64);
        let rest = model.generate(&begin, 60, options.temperature, seed)?;
        let piece = [begin.0, rest].concat();
        let midi = Midi {
            program: 19, // a church organ
            ..Midi::default()
        };
        let title = format!("Chorale {}", number + 1);
        let bytes = midi.notes_to_bytes(&held(&piece), QUARTER, &title)?;
        write(
            &options.out.join(format!("chorale-{}.mid", number + 1)),
            bytes,
        )?;
    }
    Ok(())
}

fn published(path: &Path) -> Result<Parts, Box<dyn Error>> {
    let place = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| place(&e))?;
    let mut all: HashMap<String, Vec<Frames>> =
        serde_json::from_str(&text).map_err(|e| place(&e))?;
    let mut parts = Parts::default();
    for (part, name) in parts.iter_mut().zip(["train", "valid", "test"]) {
        let pieces = all
            .remove(name)
            .ok_or_else(|| place(&format!("no part {name}")))?;
        let keys = pieces
            .iter()
            .map(|piece| piece.transposed(-(LOWEST as i32)));
        *part = keys
            .collect::<Option<_>>()
            .ok_or_else(|| place(&format!("part {name}: a key below a piano's lowest")))?;
    }
    Ok(parts)
}

/// Cadences, so that the example runs without the chorales.
fn made_up() -> Parts {
    let chords: [[u32; 4]; 4] = [
        [27, 39, 43, 48],
        [32, 39, 44, 48],
        [34, 38, 43, 46],
        [27, 43, 46, 51],
    ];
    let piece = |number: u32| {
        let chord = |t: u32| chords[((t + number) % 4) as usize].map(|key| key + number % 5);
        Frames((0..16).map(|t| chord(t).to_vec()).collect())
    };
    [0..12, 12..15, 15..18].map(|numbers| numbers.map(piece).collect())
}

/// The pieces in every key that stays between their lowest and their highest note.
fn transposed(pieces: &[Frames]) -> Vec<Frames> {
    let ranges = || pieces.iter().filter_map(Frames::range);
    let lowest = ranges().map(|r| r.0).min().unwrap_or(0);
    let highest = ranges().map(|r| r.1).max().unwrap_or(0);
    let inside = |piece: &Frames| {
        let range = piece.range();
        range.is_none_or(|(low, high)| low >= lowest && high <= highest)
    };
    let all = pieces.iter().flat_map(|piece| {
        let steps = -5..=5;
        steps.filter_map(move |steps| piece.transposed(steps))
    });
    all.filter(inside).collect()
}

/// Seconds of a frame.
const QUARTER: f64 = 0.6;

/// Frames as notes; a key that goes on sounding is held.
fn held(frames: &[Vec<u32>]) -> Vec<PlayedNote> {
    let mut notes: Vec<PlayedNote> = Vec::new();
    for (t, frame) in frames.iter().enumerate() {
        let start = t as f64 * QUARTER;
        for &key in frame {
            let pitch = (key + LOWEST).min(127) as u8;
            let before = notes.iter_mut().rev().find(|n| n.pitch == pitch);
            match before.filter(|n| (n.start + n.duration - start).abs() < 1e-6) {
                Some(note) => note.duration += QUARTER,
                None => notes.push(PlayedNote {
                    start,
                    duration: QUARTER,
                    pitch,
                    velocity: 0.7,
                    element: None,
                }),
            }
        }
    }
    notes
}
