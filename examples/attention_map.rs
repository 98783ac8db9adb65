//! Pictures of where a transformer looks: each token a row, bright where it looks.
//!
//! ```sh
//! cargo run --release --features tokenizers --example attention_map
//! cargo run --release --features tokenizers --example attention_map -- --model all-MiniLM-L6-v2 \
//!     --text "The cat sat on the mat because it was tired."
//! ```
//!
//! Without `--model` it first trains a small transformer on the characters of *Moby-Dick*; a model is a
//! folder of Hugging Face of the BERT family. `heads.svg` shows all heads of all layers, `map.svg` one of
//! them with its tokens: the one of `--layer` and `--head`, or the one that looks least at itself and at
//! the text's ends.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use plotters::coord::Shift;
use plotters::prelude::*;
use refrain::Monitor;
use refrain::data::bundled;
use refrain::sequence::{
    Characters, Corpus, Encoder, EncoderInput, HuggingFaceTokenizer, Tokenizer, Trainer,
    TransformerConfig,
};

/// Draw where a transformer looks
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Folder of a pretrained encoder; a small model trained here if not given
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// What it reads
    #[arg(long)]
    text: Option<String>,
    /// Layer of the large picture, from 0
    #[arg(long, requires = "head")]
    layer: Option<usize>,
    /// Head of the large picture, from 0
    #[arg(long, requires = "layer")]
    head: Option<usize>,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/attention")]
    out: PathBuf,
    /// cpu, wgpu, …
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Everything small: shows that it runs, means little
    #[arg(long)]
    quick: bool,
}

/// What was read, and how much each token looks at each.
struct Looks {
    tokens: Vec<String>,
    heads: usize,
    /// Of each layer `[heads, tokens, tokens]`.
    layers: Vec<Vec<f32>>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("attention_map: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let looks = match &options.model {
        Some(folder) => pretrained(options, folder)?,
        None => trained_here(options)?,
    };
    let (layer, head) = match options.layer.zip(options.head) {
        Some(given) => given,
        None => looks.farthest(),
    };
    if layer >= looks.layers.len() || head >= looks.heads {
        let (layers, heads) = (looks.layers.len(), looks.heads);
        return Err(format!("the model has {layers} layers of {heads} heads").into());
    }
    println!("layer {layer}, head {head}:");
    for (i, token) in looks.tokens.iter().enumerate() {
        let mut row: Vec<(usize, f32)> = looks.row(layer, head, i).enumerate().collect();
        row.sort_by(|a, b| b.1.total_cmp(&a.1));
        let best = row.iter().take(3).map(|&(j, w)| {
            let percent = 100.0 * w;
            format!("{:?} at {j} ({percent:.0} %)", looks.tokens[j])
        });
        println!(
            "{i:>4} {token:<12?} {}",
            best.collect::<Vec<_>>().join(", ")
        );
    }

    let out = &options.out;
    std::fs::create_dir_all(out).map_err(|e| format!("{}: {e}", out.display()))?;
    for (name, svg) in [
        ("heads.svg", looks.all_heads()?),
        ("map.svg", looks.one_head(layer, head)?),
    ] {
        let path = out.join(name);
        std::fs::write(&path, svg).map_err(|e| format!("{}: {e}", path.display()))?;
        println!("{} written", path.display());
    }
    Ok(())
}

fn pretrained(options: &Options, folder: &PathBuf) -> Result<Looks, Box<dyn Error>> {
    let text = options.text.as_deref();
    let text = text.unwrap_or("The cat did not eat the fish because it was too old.");
    let encoder = Encoder::load(folder, &refrain::device(&options.device)?)?;
    let tokenizer = HuggingFaceTokenizer::load(folder)?;
    let read = tokenizer.encode(text)?;
    let input = EncoderInput {
        tokens: &read.tokens,
        types: &read.types,
    };
    let trace = encoder.trace(&[input])?;
    let names = read.tokens.iter().map(|&token| tokenizer.name(token));
    Ok(Looks {
        tokens: names.map(Option::unwrap_or_default).collect(),
        heads: encoder.config().heads,
        layers: trace.into_iter().flat_map(|t| t.attention).collect(),
    })
}

fn trained_here(options: &Options) -> Result<Looks, Box<dyn Error>> {
    let mut novel = bundled::moby_dick()?;
    if options.quick {
        novel.truncate(novel.floor_char_boundary(20_000));
    }
    let text = options.text.as_deref();
    let text = text.unwrap_or("the white whale, the white whale!");
    let characters = Characters::from_text(&format!("{novel}{text}"))?;
    let tokens = characters.encode(text)?;
    let config = TransformerConfig {
        layers: 2,
        heads: 4,
        width: 64,
        context: 64.max(tokens.len()),
        ..TransformerConfig::default()
    };
    let trainer = Trainer {
        steps: if options.quick { 20 } else { 1_500 },
        learning_rate: 3e-3,
        ..Trainer::default()
    };
    let corpus = Corpus::text(&characters, &novel)?.hold_out(0.05, 0)?;
    let device = refrain::device(&options.device)?;
    let trained = trainer.fit_with(&config, &corpus, &device, &Monitor::bars())?;
    println!("{}\n", trained.curve.fit());
    Ok(Looks {
        tokens: text.chars().map(String::from).collect(),
        heads: config.heads,
        layers: trained.model.attention(&tokens)?,
    })
}

impl Looks {
    /// How much token `query` looks at each.
    fn row(&self, layer: usize, head: usize, query: usize) -> impl Iterator<Item = f32> + '_ {
        let n = self.tokens.len();
        let from = (head * n + query) * n;
        self.layers[layer][from..from + n].iter().copied()
    }

    /// The layer and head that look least at themselves and at the first and the last token.
    fn farthest(&self) -> (usize, usize) {
        let n = self.tokens.len();
        let elsewhere = |layer: usize, head: usize| -> f32 {
            let rows = (1..n.saturating_sub(1)).map(|i| {
                let row = self.row(layer, head, i).enumerate();
                let others = row.filter(|&(j, _)| j != i && j != 0 && j != n - 1);
                others.map(|(_, w)| w).sum::<f32>()
            });
            rows.sum()
        };
        let all = (0..self.layers.len()).flat_map(|l| (0..self.heads).map(move |h| (l, h)));
        all.max_by(|&(a, b), &(c, d)| elsewhere(a, b).total_cmp(&elsewhere(c, d)))
            .unwrap_or_default()
    }

    /// One square of a head.
    fn squares<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        (layer, head): (usize, usize),
        (left, top, size): (i32, i32, i32),
    ) -> Result<(), Box<dyn Error>>
    where
        DB::ErrorType: 'static,
    {
        for i in 0..self.tokens.len() as i32 {
            for (j, weight) in (0i32..).zip(self.row(layer, head, i as usize)) {
                let shade = |from: f32, to: f32| (from + (to - from) * weight.sqrt()) as u8;
                let colour = RGBColor(shade(255.0, 8.0), shade(255.0, 81.0), shade(255.0, 156.0));
                let corner = (left + j * size, top + i * size);
                let other = (corner.0 + size, corner.1 + size);
                area.draw(&Rectangle::new([corner, other], colour.filled()))?;
            }
        }
        Ok(())
    }

    /// Every head, a row for each layer.
    fn all_heads(&self) -> Result<String, Box<dyn Error>> {
        let size = (120 / self.tokens.len().max(1) as i32).max(2);
        let step = size * self.tokens.len() as i32 + 12;
        let (width, height) = (self.heads as i32 * step, self.layers.len() as i32 * step);
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, (width as u32 + 12, height as u32 + 12))
            .into_drawing_area();
        area.fill(&RGBColor(230, 230, 230))?;
        for layer in 0..self.layers.len() {
            for head in 0..self.heads {
                let place = (12 + head as i32 * step, 12 + layer as i32 * step, size);
                self.squares(&area, (layer, head), place)?;
            }
        }
        area.present()?;
        drop(area);
        Ok(svg)
    }

    /// One head with its tokens.
    fn one_head(&self, layer: usize, head: usize) -> Result<String, Box<dyn Error>> {
        let (size, margin) = (18, 110);
        let side = margin + size * self.tokens.len() as i32 + 12;
        let mut svg = String::new();
        let area =
            SVGBackend::with_string(&mut svg, (side as u32, side as u32)).into_drawing_area();
        area.fill(&WHITE)?;
        self.squares(&area, (layer, head), (margin, margin, size))?;
        let font = ("sans-serif", 13).into_font();
        for (i, token) in (0..).zip(&self.tokens) {
            let at = margin + i * size;
            area.draw(&Text::new(token.clone(), (6, at + 2), font.clone()))?;
            let upright = font.transform(FontTransform::Rotate270);
            area.draw(&Text::new(token.clone(), (at + 2, margin - 6), upright))?;
        }
        area.present()?;
        drop(area);
        Ok(svg)
    }
}
