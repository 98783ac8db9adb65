//! Trains a small language model on a text, says how well it foretells what was held out, and writes.
//!
//! ```sh
//! cargo run --release --example generate_text                              # speeches and a novel, bundled
//! cargo run --release --example generate_text -- --poems --model gru       # poems of the Tang, bundled
//! cargo run --release --example generate_text -- my.txt --prompt "Once " --temperature 0.8 --top-p 0.95
//! ```
//!
//! Characters are the tokens, or with `--tokens` words or bytes. The last tenth of the text is held out, or every
//! tenth poem; the loss there is told in nats per token, as a perplexity and in bits per character, by which all
//! tokens compare, but for words that are unknown: they cost no letters. The text appears as it is written.

mod support;

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use refrain::data::bundled;
use refrain::sequence::{
    Bytes, Cell, Characters, Corpus, LanguageModel, ModelConfig, RnnConfig, Sampler, Tokenizer,
    Trainer, TransformerConfig, Words,
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
    Elman,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tokens {
    Characters,
    /// Words, signs and white space: the 8,000 most frequent that occur at least twice
    Words,
    Bytes,
}

impl Tokens {
    /// What a token is, and several are.
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::Characters => ["character", "characters"],
            Self::Words => ["word", "words"],
            Self::Bytes => ["byte", "bytes"],
        }
    }

    fn tokenizer(self, texts: &[String]) -> Result<Box<dyn Tokenizer>, Box<dyn Error>> {
        Ok(match self {
            Self::Characters => Box::new(Characters::from_text(&texts.concat())?),
            Self::Words => Box::new(Words::from_texts(texts, 2, 8_000)?),
            Self::Bytes => Box::new(Bytes::new()),
        })
    }
}

/// Train a language model on a text, and write with it
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// A text in UTF-8; speeches and a novel, which are bundled, if not given
    file: Option<PathBuf>,
    /// Learn from the bundled poems of the Tang, one document each
    #[arg(long, conflicts_with = "file")]
    poems: bool,
    #[arg(long, value_enum, default_value_t = Model::Transformer)]
    model: Model,
    #[arg(long, value_enum, default_value_t = Tokens::Characters)]
    tokens: Tokens,
    /// Training steps
    #[arg(long, default_value_t = 1500)]
    steps: usize,
    /// What to continue
    #[arg(long)]
    prompt: Option<String>,
    /// 0 always takes the likeliest token
    #[arg(long, default_value_t = 0.8)]
    temperature: f32,
    /// Draw from so many likeliest tokens
    #[arg(long)]
    top_k: Option<usize>,
    /// Draw from the likeliest tokens that have this probability together
    #[arg(long)]
    top_p: Option<f32>,
    /// Draw from tokens at least this share as likely as the likeliest
    #[arg(long)]
    min_p: Option<f32>,
    /// End before this text; may be given several times
    #[arg(long)]
    stop: Vec<String>,
    /// Tokens to write
    #[arg(long, default_value_t = 400)]
    max_tokens: usize,
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
            eprintln!("generate_text: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let device = support::device(&options.device)?;
    let texts = match options.poems {
        true => poems(options)?,
        false => vec![text(options)?],
    };
    let tokenizer = options.tokens.tokenizer(&texts)?;
    let (training, held) = hold_out(texts);
    let validation = corpus(tokenizer.as_ref(), &held)?.train().clone();
    let corpus = corpus(tokenizer.as_ref(), &training)?.with_validation(validation)?;
    println!(
        "{} {} of {} kinds to learn from",
        corpus.train().tokens(),
        options.tokens.names()[1],
        corpus.vocabulary().len()
    );
    let characters = held.iter().map(|text| text.chars().count()).sum();
    let model = model(options, &corpus, characters, &device)?;

    let default = if options.poems { "靜夜思\n" } else { "The" };
    let prompt = options.prompt.as_deref().unwrap_or(default);
    let mut stops: Vec<&str> = options.stop.iter().map(String::as_str).collect();
    if options.poems {
        stops.push(END_OF_POEM);
    }
    let sampler = Sampler {
        temperature: options.temperature,
        top_k: options.top_k,
        top_p: options.top_p,
        min_p: options.min_p,
        max_tokens: options.max_tokens,
        seed: options.seed,
        // What is unknown is never written.
        logit_bias: (tokenizer.vocabulary().token(Words::UNKNOWN))
            .map(|unknown| (unknown, f32::NEG_INFINITY))
            .into_iter()
            .collect(),
        ..Sampler::default()
    };
    print!("\n{prompt}");
    for piece in sampler.write(model.as_ref(), tokenizer.as_ref(), prompt, &stops)? {
        print!("{}", piece?);
        std::io::stdout().flush()?;
    }
    println!();
    Ok(())
}

/// After a poem, and nowhere inside one.
const END_OF_POEM: &str = "\n\n";

/// A title, a line feed, the couplets.
fn poems(options: &Options) -> Result<Vec<String>, Box<dyn Error>> {
    let mut poems: Vec<String> = bundled::tang_poems()?
        .iter()
        .map(|poem| format!("{}\n{}{END_OF_POEM}", poem.title, poem.lines.join("\n")))
        .collect();
    if options.quick {
        poems.truncate(100);
    }
    Ok(poems)
}

fn text(options: &Options) -> Result<String, Box<dyn Error>> {
    let text = match &options.file {
        Some(path) => {
            std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?
        }
        None => bundled::text()?,
    };
    let most = if options.quick { 20_000 } else { usize::MAX };
    Ok(text.chars().take(most).collect())
}

/// The end of a text, or every tenth of several, apart from what is learned from.
fn hold_out(texts: Vec<String>) -> (Vec<String>, Vec<String>) {
    if let [text] = texts.as_slice() {
        let kept = text.chars().count() * 9 / 10;
        let end: usize = text.chars().take(kept).map(char::len_utf8).sum();
        let (training, held) = text.split_at(end);
        return (vec![training.to_string()], vec![held.to_string()]);
    }
    let numbered = texts.into_iter().enumerate();
    let (held, training): (Vec<_>, Vec<_>) = numbered.partition(|(i, _)| i % 10 == 9);
    let texts = |part: Vec<(usize, String)>| part.into_iter().map(|(_, text)| text).collect();
    (texts(training), texts(held))
}

/// One text as a stream, several as documents.
fn corpus(tokenizer: &dyn Tokenizer, texts: &[String]) -> Result<Corpus, Box<dyn Error>> {
    Ok(match texts {
        [text] => Corpus::text(tokenizer, text)?,
        texts => Corpus::texts(tokenizer, texts)?,
    })
}

fn model(
    options: &Options,
    corpus: &Corpus,
    characters: usize,
    device: &Device,
) -> Result<Box<dyn LanguageModel>, Box<dyn Error>> {
    let quick = options.quick;
    let cell = match options.model {
        Model::Transformer => {
            let config = TransformerConfig {
                layers: if quick { 1 } else { 4 },
                width: if quick { 32 } else { 128 },
                context: if quick { 32 } else { 128 },
                ..TransformerConfig::default()
            };
            return train(options, &config, corpus, characters, device);
        }
        Model::Lstm => Cell::Lstm,
        Model::Gru => Cell::Gru,
        Model::Elman => Cell::Elman,
    };
    let config = RnnConfig {
        cell,
        layers: if quick { 1 } else { 2 },
        width: if quick { 32 } else { 256 },
        bptt: if quick { 32 } else { 64 },
        ..RnnConfig::default()
    };
    train(options, &config, corpus, characters, device)
}

fn train<C: ModelConfig>(
    options: &Options,
    config: &C,
    corpus: &Corpus,
    characters: usize,
    device: &Device,
) -> Result<Box<dyn LanguageModel>, Box<dyn Error>>
where
    C::Model: 'static,
{
    let trainer = Trainer {
        steps: if options.quick { 20 } else { options.steps },
        batch: if options.quick { 4 } else { 16 },
        learning_rate: 2e-3,
        evaluate_every: if options.quick { 10 } else { 250 },
        seed: options.seed,
        ..Trainer::default()
    };
    let trained = trainer.fit_with(config, corpus, device, &Monitor::bars())?;
    let nothing = "nothing was held out";
    let best = trained.curve.best().ok_or(nothing)?;
    let tokens = corpus.validation().ok_or(nothing)?.tokens();
    let [one, many] = options.tokens.names();
    println!(
        "step {}, what was held out: {:.3} nats per {one}, perplexity {:.2}, {:.3} bits per character; \
         {:.0} {many}/s",
        best.step,
        best.loss,
        best.loss.exp(),
        best.bits_per_character(tokens, characters),
        trained.tokens_per_second()
    );
    Ok(Box::new(trained.model))
}
