//! Trains a translator, an encoder-decoder with byte pairs, and translates by beam search.
//!
//! ```sh
//! REFRAIN_DATA=data cargo run --release --example translate --features tokenizers
//! cargo run --release --example translate --features tokenizers -- --quick
//! ```
//!
//! The data is Multi30k, German to English: `multi30k-en-de/{train,val,test_2016_flickr}.{de,en}.gz` in
//! the folder `REFRAIN_DATA`. `--quick` learns German numerals from generated ones. Checkpoints go into
//! `--out`, and a run that was cut short goes on from there; at the end stand there the model as a folder
//! of Hugging Face with its tokenizer, the learning curve as a picture, and the translations of the test
//! part.

mod support;

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use flate2::read::MultiGzDecoder;
use refrain::Monitor;
use refrain::sequence::metrics::{Bleu, ChrF};
use refrain::sequence::{
    BeamSearch, EncoderDecoder, EncoderDecoderConfig, HuggingFaceTokenizer, NormPlace, Pair,
    Schedule, TokenizerTraining, Trained, Trainer,
};

/// Train a translator
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Steps of training
    #[arg(long, default_value_t = 4000)]
    steps: usize,
    /// Pairs of a step
    #[arg(long, default_value_t = 192)]
    batch: usize,
    /// Tokens of the vocabulary, both languages together
    #[arg(long, default_value_t = 6000)]
    vocabulary: usize,
    /// Layers of the encoder, and of the decoder
    #[arg(long, default_value_t = 4)]
    layers: usize,
    /// The length of a token's vector; twice that inside the feed-forward parts
    #[arg(long, default_value_t = 128)]
    width: usize,
    #[arg(long, default_value_t = 0.3)]
    dropout: f32,
    /// The highest learning rate
    #[arg(long, default_value_t = 4e-3)]
    rate: f64,
    /// How many translations are followed at once
    #[arg(long, default_value_t = 5)]
    beams: usize,
    /// The power of the length that a translation's log-probability is divided by
    #[arg(long, default_value_t = 1.0)]
    length_penalty: f32,
    /// Where to train: cpu, flex, ndarray, wgpu or cuda; REFRAIN_DEVICE sets it too
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/translate")]
    out: PathBuf,
    /// Generated numerals and a tiny model: shows that it runs
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("translate: {error}");
            ExitCode::FAILURE
        }
    }
}

type Lines = Vec<(String, String)>;

/// Pairs to learn from, to choose by, and to be judged on.
struct Data {
    training: Lines,
    validation: Lines,
    test: Lines,
}

fn lines(path: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let told = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut text = String::new();
    let file = BufReader::new(File::open(path).map_err(told)?);
    MultiGzDecoder::new(file)
        .read_to_string(&mut text)
        .map_err(told)?;
    Ok(text.lines().map(|line| line.trim().to_string()).collect())
}

fn multi30k(folder: &Path) -> Result<Data, Box<dyn Error>> {
    let part = |name: &str| -> Result<Lines, Box<dyn Error>> {
        let german = lines(&folder.join(format!("{name}.de.gz")))?;
        let english = lines(&folder.join(format!("{name}.en.gz")))?;
        if german.len() != english.len() {
            return Err(format!("{name}: {} and {} lines", german.len(), english.len()).into());
        }
        Ok(german.into_iter().zip(english).collect())
    };
    Ok(Data {
        training: part("train")?,
        validation: part("val")?,
        test: part("test_2016_flickr")?,
    })
}

const GERMAN: [&str; 20] = [
    "",
    "ein",
    "zwei",
    "drei",
    "vier",
    "fünf",
    "sechs",
    "sieben",
    "acht",
    "neun",
    "zehn",
    "elf",
    "zwölf",
    "dreizehn",
    "vierzehn",
    "fünfzehn",
    "sechzehn",
    "siebzehn",
    "achtzehn",
    "neunzehn",
];
const GERMAN_TENS: [&str; 8] = [
    "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig",
];
const ENGLISH: [&str; 20] = [
    "",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const ENGLISH_TENS: [&str; 8] = [
    "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
];

/// A number below 1000 in words: German says the ones before the tens.
fn numeral(n: usize) -> (String, String) {
    let (hundreds, rest) = (n / 100, n % 100);
    let (mut german, mut english) = (Vec::new(), Vec::new());
    if hundreds > 0 {
        german.extend([GERMAN[hundreds], "hundert"]);
        english.extend([ENGLISH[hundreds], "hundred"]);
    }
    match (rest / 10, rest % 10) {
        (0 | 1, _) => {
            german.push(GERMAN[rest]);
            english.push(ENGLISH[rest]);
        }
        (tens, ones) => {
            if ones > 0 {
                german.extend([GERMAN[ones], "und"]);
            }
            german.push(GERMAN_TENS[tens - 2]);
            english.push(ENGLISH_TENS[tens - 2]);
            english.push(ENGLISH[ones]);
        }
    }
    english.retain(|word| !word.is_empty());
    (german.concat(), english.join(" "))
}

fn numerals() -> Data {
    let all = (1..1000).map(|i| numeral(i * 389 % 1000));
    let mut training: Lines = all.collect();
    let test = training.split_off(900);
    let validation = training.split_off(850);
    Data {
        training,
        validation,
        test,
    }
}

const PADDING: &str = "<pad>";
const END: &str = "</s>";

fn tokens(tokenizer: &HuggingFaceTokenizer, text: &str) -> Result<Vec<u32>, Box<dyn Error>> {
    let mut tokens = tokenizer.encode(text)?.tokens;
    tokens.extend(tokenizer.token(END));
    Ok(tokens)
}

fn pairs(tokenizer: &HuggingFaceTokenizer, lines: &Lines) -> Result<Vec<Pair>, Box<dyn Error>> {
    let pair = |(source, target): &(String, String)| {
        Ok(Pair {
            source: tokens(tokenizer, source)?,
            target: tokens(tokenizer, target)?,
        })
    };
    lines.iter().map(pair).collect()
}

/// The best translation of each line.
fn translate(
    model: &EncoderDecoder,
    tokenizer: &HuggingFaceTokenizer,
    search: &BeamSearch,
    pairs: &[Pair],
) -> Result<Vec<String>, Box<dyn Error>> {
    let sources: Vec<&[u32]> = pairs.iter().map(|pair| pair.source.as_slice()).collect();
    let found = model.translate(&sources, search)?;
    let best = found.iter().map(|texts| match texts.first() {
        Some(best) => Ok(tokenizer.decode(&best.tokens)?.trim().to_string()),
        None => Ok(String::new()),
    });
    best.collect()
}

fn bleu(texts: &[String], lines: &Lines) -> Result<f64, Box<dyn Error>> {
    let references: Vec<[&str; 1]> = lines.iter().map(|line| [line.1.as_str()]).collect();
    Ok(Bleu::default().corpus(texts, &references)?.score)
}

fn trained(
    options: &Options,
    data: &Data,
    tokenizer: &HuggingFaceTokenizer,
) -> Result<Trained<EncoderDecoder>, Box<dyn Error>> {
    let device = support::device(&options.device)?;
    let config = EncoderDecoderConfig {
        vocabulary: tokenizer.len(),
        encoder_layers: if options.quick { 1 } else { options.layers },
        decoder_layers: if options.quick { 1 } else { options.layers },
        width: if options.quick { 32 } else { options.width },
        hidden: if options.quick { 64 } else { 2 * options.width },
        positions: 160,
        norm: NormPlace::Before,
        dropout: if options.quick { 0.0 } else { options.dropout },
        start: tokenizer.token(PADDING).unwrap_or_default(),
        end: tokenizer.token(END).unwrap_or_default(),
        ..EncoderDecoderConfig::default()
    };
    let training = pairs(tokenizer, &data.training)?;
    let validation = pairs(tokenizer, &data.validation)?;
    let batch = if options.quick { 32 } else { options.batch };
    let epoch = training.len().div_ceil(batch);
    let steps = if options.quick { 240 } else { options.steps };
    let checkpoint = options.out.join("checkpoint.refrain");
    let trainer = Trainer {
        steps,
        batch,
        learning_rate: if options.quick { 1e-2 } else { options.rate },
        schedule: Schedule::Cosine,
        final_share: 0.02,
        warm_up: steps / 10,
        betas: (0.9, 0.98),
        weight_decay: 1e-4,
        label_smoothing: 0.1,
        evaluate_every: if options.quick { 80 } else { 2 * epoch },
        checkpoint: Some(checkpoint.clone()),
        checkpoint_every: epoch,
        seed: options.seed,
        ..Trainer::default()
    };
    let model = EncoderDecoder::new(&config, options.seed, &device)?;
    let targets: usize = training.iter().map(|pair| pair.target.len()).sum();
    println!(
        "{} pairs, {targets} target tokens of {}; {} parameters; an epoch is {epoch} steps",
        training.len(),
        tokenizer.len(),
        model.parameters(),
    );
    let (module, bars) = (model.module(&device), Monitor::bars());
    let trained = match checkpoint.exists() {
        true => {
            println!("going on from {}", checkpoint.display());
            trainer.resume_module_with(&checkpoint, &module, &training, &validation, &bars)?
        }
        false => trainer.fit_module_with(&module, &training, &validation, &bars)?,
    };
    let model = EncoderDecoder::from_module(&trained.model, &device)?;
    Ok(Trained {
        model,
        curve: trained.curve,
        stopped_early: trained.stopped_early,
        training_time: trained.training_time,
        tokens: trained.tokens,
    })
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let data = match (options.quick, std::env::var_os("REFRAIN_DATA")) {
        (true, _) => numerals(),
        (false, Some(folder)) => multi30k(&Path::new(&folder).join("multi30k-en-de"))?,
        (false, None) => {
            return Err(
                "set REFRAIN_DATA to a folder with multi30k-en-de (Multi30k, Elliott et \
                        al., 2016, for research), or give --quick"
                    .into(),
            );
        }
    };
    std::fs::create_dir_all(&options.out)?;
    let both = |line: &(String, String)| [line.0.clone(), line.1.clone()];
    let tokenizer = TokenizerTraining {
        size: if options.quick {
            320
        } else {
            options.vocabulary
        },
        special: [PADDING, END].map(String::from).to_vec(),
        ..TokenizerTraining::default()
    }
    .fit(data.training.iter().flat_map(both))?;

    let trained = trained(options, &data, &tokenizer)?;
    println!(
        "{:.0} s of training, {:.0} target tokens a second",
        trained.training_time.as_secs_f64(),
        trained.tokens_per_second()
    );
    for point in &trained.curve.validation {
        let perplexity = point.loss.exp();
        println!(
            "step {:5}: validation {:.4} nats a token, perplexity {perplexity:.2}",
            point.step, point.loss
        );
    }
    let model = &trained.model;
    let folder = options.out.join("model");
    model.save(&folder)?;
    tokenizer.save(folder.join("tokenizer.json"))?;
    std::fs::write(options.out.join("curve.svg"), trained.curve.to_svg())?;

    let search = BeamSearch {
        width: options.beams,
        length_penalty: options.length_penalty,
        max_tokens: 100,
        ..BeamSearch::default()
    };
    let validation = pairs(&tokenizer, &data.validation)?;
    let texts = translate(model, &tokenizer, &search, &validation)?;
    println!("validation BLEU {:.2}", bleu(&texts, &data.validation)?);
    let test = pairs(&tokenizer, &data.test)?;
    let began = Instant::now();
    let texts = translate(model, &tokenizer, &search, &test)?;
    let seconds = began.elapsed().as_secs_f64();
    let references: Vec<[&str; 1]> = data.test.iter().map(|line| [line.1.as_str()]).collect();
    println!(
        "test BLEU {:.2}, chrF2 {:.2}; {} translations by {} beams in {seconds:.1} s, {:.0} a second",
        bleu(&texts, &data.test)?,
        ChrF::default().corpus(&texts, &references)?,
        texts.len(),
        options.beams,
        texts.len() as f64 / seconds
    );
    std::fs::write(options.out.join("test.txt"), texts.join("\n") + "\n")?;

    for ((source, reference), text) in data.test.iter().zip(&texts).take(5) {
        println!("\n  {source}\n  {text}\n  ({reference})");
    }
    alignment(model, &tokenizer, &test[0], &texts[0])?;
    Ok(())
}

/// For each token written, the source token that the heads of all layers look at most.
fn alignment(
    model: &EncoderDecoder,
    tokenizer: &HuggingFaceTokenizer,
    pair: &Pair,
    text: &str,
) -> Result<(), Box<dyn Error>> {
    let target = tokens(tokenizer, text)?;
    let trace = model.trace(&pair.source, &target)?;
    let n = pair.source.len();
    println!("\nwhere the decoder looks:");
    for (row, &token) in target.iter().enumerate() {
        let mut sums = vec![0.0; n];
        for weights in &trace.across {
            for head in weights.chunks(n * target.len()) {
                for (sum, weight) in sums.iter_mut().zip(&head[row * n..]) {
                    *sum += weight;
                }
            }
        }
        let best = (0..n).max_by(|&a, &b| sums[a].total_cmp(&sums[b]));
        let best = best.and_then(|at| tokenizer.decode(&[pair.source[at]]).ok());
        let token = tokenizer.decode(&[token])?;
        println!(
            "  {:>14} ← {}",
            token.trim(),
            best.unwrap_or_default().trim()
        );
    }
    Ok(())
}
