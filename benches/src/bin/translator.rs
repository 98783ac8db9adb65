//! An encoder-decoder: milliseconds per training step beside PyTorch's `nn.Transformer`, and
//! translations a second beside `transformers`, interleaved on the same threads.
//!
//! ```text
//! cargo run --release -p refrain-benches --bin translator -- --python python3
//! ```
//!
//! The pairs are drawn at random with lengths like those of Multi30k's: neither side's speed depends on
//! what the tokens say. Targets are as long as sources.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use clap::Parser;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use refrain::sequence::{
    BeamSearch, EncoderDecoder, EncoderDecoderConfig, EncoderDecoderModule, NormPlace, Pair,
    Trainer,
};
use refrain_benches::median;
use serde::Deserialize;
use serde_json::json;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "An encoder-decoder: time per step and per translation, beside PyTorch")]
struct Arguments {
    /// A Python with PyTorch and transformers; without it only our side runs
    #[arg(long)]
    python: Option<PathBuf>,
    /// Threads for both sides
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Interleaved rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Steps in each round
    #[arg(long, default_value_t = 4)]
    burst: usize,
    /// Pairs of a step
    #[arg(long, default_value_t = 192)]
    batch: usize,
    #[arg(long, default_value_t = 6000)]
    vocabulary: usize,
    #[arg(long, default_value_t = 128)]
    width: usize,
    #[arg(long, default_value_t = 4)]
    layers: usize,
    /// Sources to translate in a round; 0 for none
    #[arg(long, default_value_t = 64)]
    translations: usize,
    #[arg(long, default_value_t = 5)]
    beams: usize,
}

fn main() {
    if let Err(error) = run(&Arguments::parse()) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

/// What a turn took.
#[derive(Deserialize)]
struct Turn {
    wall: f64,
    processor: f64,
}

/// The rival's process, which ends with this.
struct Rival {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Rival {
    fn start(
        python: &Path,
        threads: usize,
        pairs: &Path,
        model: &Path,
    ) -> Result<Self, Box<dyn Error>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/torch_translator.py");
        let mut process = Command::new(python)
            .arg(script)
            .arg(pairs)
            .args(["--threads", &threads.to_string(), "--model"])
            .arg(model)
            .env("OMP_NUM_THREADS", threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("no standard output")?;
        let mut rival = Self {
            process,
            output: BufReader::new(output),
        };
        println!("PyTorch: {}", rival.line()?.trim());
        Ok(rival)
    }

    fn line(&mut self) -> Result<String, Box<dyn Error>> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        match line.is_empty() {
            true => Err("the rival ended".into()),
            false => Ok(line),
        }
    }

    fn turn(&mut self, what: &str) -> Result<Turn, Box<dyn Error>> {
        let input = self.process.stdin.as_mut().ok_or("no standard input")?;
        writeln!(input, "{what}")?;
        input.flush()?;
        Ok(serde_json::from_str(&self.line()?)?)
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Seconds of processor time of this process, to a hundredth, where the system tells them.
fn processor() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = text.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> = after
        .split_whitespace()
        .map(|f| f.parse().unwrap_or(0.0))
        .collect();
    fields.iter().skip(11).take(2).sum::<f64>() / 100.0
}

fn timed(work: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<Turn, Box<dyn Error>> {
    let (began, before) = (Instant::now(), processor());
    work()?;
    Ok(Turn {
        wall: began.elapsed().as_secs_f64(),
        processor: processor() - before,
    })
}

fn pairs(arguments: &Arguments) -> Vec<Pair> {
    let mut draw = StdRng::seed_from_u64(1);
    let most = arguments.vocabulary as u32;
    let count = arguments.batch * 24;
    let mut text = |n: usize| -> Vec<u32> {
        let tokens = (0..n).map(|_| draw.random_range(2..most));
        tokens.chain([1]).collect()
    };
    (0..count)
        .map(|i| {
            // 8 to 24 tokens, most often about 15.
            let n = 8 + (i * 7 % 9) + (i * 5 % 8);
            Pair {
                source: text(n),
                target: text(n),
            }
        })
        .collect()
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(arguments.threads)
        .build_global()?;
    let device = refrain::device("cpu")?;
    let config = EncoderDecoderConfig {
        vocabulary: arguments.vocabulary,
        encoder_layers: arguments.layers,
        decoder_layers: arguments.layers,
        width: arguments.width,
        hidden: 2 * arguments.width,
        positions: 64,
        norm: NormPlace::Before,
        dropout: 0.3,
        ..EncoderDecoderConfig::default()
    };
    let model = EncoderDecoder::new(&config, 1, &device)?;
    let pairs = pairs(arguments);
    let folder = std::env::temp_dir().join(format!("translator-{}", std::process::id()));
    model.save(folder.join("model"))?;
    let most = 20;
    let rows: Vec<(&[u32], &[u32])> = pairs
        .iter()
        .map(|p| (p.source.as_slice(), p.target.as_slice()))
        .collect();
    let told = json!({
        "config": {
            "vocabulary": config.vocabulary, "width": config.width, "heads": config.heads,
            "layers": config.encoder_layers, "hidden": config.hidden, "dropout": config.dropout,
            "positions": config.positions, "batch": arguments.batch,
            "translated": arguments.translations, "most": most,
        },
        "pairs": rows,
    });
    let path = folder.join("pairs.json");
    std::fs::write(&path, told.to_string())?;
    let mut rival = match &arguments.python {
        Some(python) => {
            let model = folder.join("model");
            Some(Rival::start(python, arguments.threads, &path, &model)?)
        }
        None => None,
    };
    let targets: usize = pairs.iter().map(|p| p.target.len()).sum();
    println!(
        "{} parameters, batches of {} pairs, {:.0} target tokens each, {} threads",
        model.parameters(),
        arguments.batch,
        targets as f64 / (pairs.len() as f64 / arguments.batch as f64),
        arguments.threads
    );

    let module = model.module(&device);
    train(arguments, &module, &pairs, 1)?;
    let (mut ours, mut theirs): (Vec<Turn>, Vec<Turn>) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        ours.push(timed(|| {
            train(arguments, &module, &pairs, arguments.burst)
        })?);
        if let Some(rival) = &mut rival {
            theirs.push(rival.turn(&format!("train {}", arguments.burst))?);
        }
    }
    let scale = 1e3 / arguments.burst as f64;
    report("ms a training step", scale, &ours, &theirs);
    if arguments.translations > 0 {
        (ours, theirs) = (Vec::new(), Vec::new());
        let count = arguments.translations.min(pairs.len());
        let sources: Vec<&[u32]> = pairs
            .iter()
            .take(count)
            .map(|p| p.source.as_slice())
            .collect();
        let search = BeamSearch {
            width: arguments.beams,
            max_tokens: most,
            ..BeamSearch::default()
        };
        for _ in 0..arguments.rounds {
            ours.push(timed(|| {
                model.translate(&sources, &search)?;
                Ok(())
            })?);
            if let Some(rival) = &mut rival {
                theirs.push(rival.turn(&format!("translate {}", arguments.beams))?);
            }
        }
        report("ms a translation", 1e3 / count as f64, &ours, &theirs);
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

fn train(
    arguments: &Arguments,
    module: &EncoderDecoderModule,
    pairs: &[Pair],
    steps: usize,
) -> Result<(), Box<dyn Error>> {
    let trainer = Trainer {
        steps,
        batch: arguments.batch,
        label_smoothing: 0.1,
        weight_decay: 1e-4,
        ..Trainer::default()
    };
    trainer.fit_module(module, pairs, &[])?;
    Ok(())
}

fn report(what: &str, scale: f64, ours: &[Turn], theirs: &[Turn]) {
    for (clock, pick) in [
        ("wall", (|t: &Turn| t.wall) as fn(&Turn) -> f64),
        ("processor", |t: &Turn| t.processor),
    ] {
        let middle = |turns: &[Turn]| median(turns.iter().map(|t| scale * pick(t)).collect());
        if theirs.is_empty() {
            println!("{what}, {clock}: {:.1}", middle(ours));
            continue;
        }
        let ratios = theirs.iter().zip(ours).map(|(t, o)| pick(t) / pick(o));
        println!(
            "{what}, {clock}: ours {:.1}, theirs {:.1}, ratio {:.2}",
            middle(ours),
            middle(theirs),
            median(ratios.collect())
        );
    }
}
