//! Trains a small language model on a text, says how well it foretells what was held out, and writes.
//!
//! ```sh
//! cargo run --release --example generate_text                              # speeches and a novel, bundled
//! cargo run --release --example generate_text -- --poems --model gru       # poems of the Tang, bundled
//! cargo run --release --example generate_text -- my.txt --prompt "Once " --temperature 0.8 --top-p 0.95
//! ```
//!
//! Characters are the tokens. A tenth of the text is held out; its loss is told in nats per character, as
//! a perplexity and in bits per character. The text appears as it is written.

mod support;

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use refrain::data::bundled;
use refrain::sequence::{
    Cell, Characters, Corpus, LanguageModel, ModelConfig, RnnConfig, Sampler, Trainer,
    TransformerConfig,
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
    /// Training steps
    #[arg(long, default_value_t = 1500)]
    steps: usize,
    /// What to continue
    #[arg(long)]
    prompt: Option<String>,
    /// 0 always takes the likeliest character
    #[arg(long, default_value_t = 0.8)]
    temperature: f32,
    /// Draw from so many likeliest characters
    #[arg(long)]
    top_k: Option<usize>,
    /// Draw from the likeliest characters that have this probability together
    #[arg(long)]
    top_p: Option<f32>,
    /// Draw from characters at least this share as likely as the likeliest
    #[arg(long)]
    min_p: Option<f32>,
    /// End before this text; may be given several times
    #[arg(long)]
    stop: Vec<String>,
    /// Characters to write
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
    let (characters, corpus) = match options.poems {
        true => poems(options)?,
        false => text(options)?,
    };
    println!(
        "{} characters of {} kinds to learn from",
        corpus.train().tokens(),
        corpus.vocabulary().len()
    );
    let model = model(options, &corpus, &device)?;

    let default = if options.poems { "靜夜思\n" } else { "The " };
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
        ..Sampler::default()
    };
    print!("\n{prompt}");
    for piece in sampler.write(model.as_ref(), &characters, prompt, &stops)? {
        print!("{}", piece?);
        std::io::stdout().flush()?;
    }
    println!();
    Ok(())
}

/// After a poem, and nowhere inside one.
const END_OF_POEM: &str = "\n\n";

/// A title, a line feed, the couplets.
fn poems(options: &Options) -> Result<(Characters, Corpus), Box<dyn Error>> {
    let mut poems: Vec<String> = bundled::tang_poems()?
        .iter()
        .map(|poem| format!("{}\n{}{END_OF_POEM}", poem.title, poem.lines.join("\n")))
        .collect();
    if options.quick {
        poems.truncate(100);
    }
    let characters = Characters::from_text(&poems.concat())?;
    let corpus = Corpus::texts(&characters, &poems)?.hold_out(0.1, options.seed)?;
    Ok((characters, corpus))
}

fn text(options: &Options) -> Result<(Characters, Corpus), Box<dyn Error>> {
    let text = match &options.file {
        Some(path) => {
            std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?
        }
        None => bundled::text()?,
    };
    let most = if options.quick { 20_000 } else { usize::MAX };
    let text: String = text.chars().take(most).collect();
    let characters = Characters::from_text(&text)?;
    let corpus = Corpus::text(&characters, &text)?.hold_out(0.1, options.seed)?;
    Ok((characters, corpus))
}

fn model(
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
                context: if quick { 32 } else { 128 },
                ..TransformerConfig::default()
            };
            return train(options, &config, corpus, device);
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
        steps: if options.quick { 20 } else { options.steps },
        batch: if options.quick { 4 } else { 16 },
        learning_rate: 2e-3,
        evaluate_every: if options.quick { 10 } else { 250 },
        seed: options.seed,
        ..Trainer::default()
    };
    let trained = trainer.fit_with(config, corpus, device, &Monitor::bars())?;
    let best = trained.curve.best().ok_or("nothing was held out")?;
    println!(
        "step {}, what was held out: {:.3} nats per character, perplexity {:.2}, {:.3} bits per character; \
         {:.0} characters/s",
        best.step,
        best.loss,
        best.loss.exp(),
        best.loss / std::f32::consts::LN_2,
        trained.tokens_per_second()
    );
    Ok(Box::new(trained.model))
}
