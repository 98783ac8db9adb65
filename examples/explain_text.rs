//! Trains a small network of one's own to classify texts, and shows which words made it decide.
//!
//! ```sh
//! cargo run --release --example explain_text
//! REFRAIN_DATA=folder cargo run --release --example explain_text
//! cargo run --release --example explain_text -- --text "My fellow citizens, the whale is at peace."
//! ```
//!
//! Without a folder it tells paragraphs of *Moby-Dick* from sentences of presidents' speeches; with
//! `sentence-polarity` (Pang and Lee, 2005; CC BY 4.0, as NLTK ships it) in the folder of `REFRAIN_DATA`,
//! praise of films from blame. The network is a convolution over word vectors with max pooling (Kim,
//! 2014), a burn module that the trainer of language models trains as well. The words' shares are
//! integrated gradients; they add up to the score, which is checked. `explained.html` shows them.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn::module::Module;
use burn::nn::conv::{Conv1d, Conv1dConfig};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig, PaddingConfig1d};
use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::{Device, Int, Tensor, TensorData};
use clap::Parser;
use refrain::Monitor;
use refrain::data::bundled;
use refrain::embeddings::tokenize;
use refrain::sequence::{self, Attribution, Learner, Learning, Trainer, integrated_gradients};

/// Classify texts and show by which words
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Explain this text too; may be given several times
    #[arg(long)]
    text: Vec<String>,
    /// Optimizer steps
    #[arg(long, default_value_t = 1_000)]
    steps: usize,
    /// Points of the integral
    #[arg(long, default_value_t = 128)]
    points: usize,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/explained")]
    out: PathBuf,
    /// cpu, wgpu, …
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("explain_text: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The words of a text as numbers, and its class.
type Labelled = (Vec<u32>, u32);

/// Word 0 is padding, word 1 any that is not known.
const UNKNOWN: u32 = 1;
const SHORTEST: usize = 5;

#[derive(Module, Debug)]
struct Network {
    words: Embedding,
    convolution: Conv1d,
    head: Linear,
}

impl Network {
    fn new(words: usize, classes: usize, device: &Device) -> Self {
        let (width, filters) = (64, 96);
        let convolution = Conv1dConfig::new(width, filters, 3);
        let convolution = convolution.with_padding(PaddingConfig1d::Explicit(1, 1));
        Self {
            words: EmbeddingConfig::new(words, width).init(device),
            convolution: convolution.init(device),
            head: LinearConfig::new(filters, classes).init(device),
        }
    }

    fn device(&self) -> Device {
        self.head.weight.val().device().inner()
    }

    /// `[texts, words]` → `[texts, words, width]`.
    fn embed(&self, texts: &[&[u32]]) -> Tensor<3> {
        let longest = texts.iter().map(|t| t.len()).max().unwrap_or(0);
        let longest = longest.max(SHORTEST);
        let mut words = Vec::new();
        for text in texts {
            words.extend(text.iter().map(|&w| w as i32));
            words.resize(words.len() + longest - text.len(), 0);
        }
        let words = TensorData::new(words, [texts.len(), longest]);
        self.words
            .forward(Tensor::<2, Int>::from_data(words, &self.device()))
    }

    /// `[texts, words, width]` → the logits of the classes.
    fn logits(&self, embedded: Tensor<3>, learning: &Learning<'_>) -> Tensor<2> {
        let embedded = learning.drop(embedded, 0.3, 0);
        let found = relu(self.convolution.forward(embedded.swap_dims(1, 2)));
        let strongest = found.max_dim(2).squeeze_dim(2);
        self.head.forward(learning.drop(strongest, 0.5, 1))
    }

    fn classify(&self, texts: &[&[u32]]) -> sequence::Result<Vec<u32>> {
        let logits = self.logits(self.embed(texts), &Learning::default());
        let classes = logits.argmax(1).try_into_vec_as::<i32>();
        let classes = classes.map_err(|e| sequence::Error::Device {
            reason: e.to_string(),
        })?;
        Ok(classes.into_iter().map(|class| class as u32).collect())
    }
}

impl Learner for Network {
    type Example = Labelled;

    fn length(example: &Labelled) -> usize {
        example.0.len()
    }

    fn targets(_: &Labelled) -> usize {
        1
    }

    fn loss(&self, batch: &[&Labelled], learning: &Learning<'_>) -> sequence::Result<Tensor<1>> {
        let texts: Vec<&[u32]> = batch.iter().map(|(text, _)| text.as_slice()).collect();
        let classes: Vec<i32> = batch.iter().map(|(_, class)| *class as i32).collect();
        let classes = TensorData::new(classes, [batch.len(), 1]);
        let classes = Tensor::<2, Int>::from_data(classes, &self.device());
        let likely = log_softmax(self.logits(self.embed(&texts), learning), 1);
        Ok(likely.gather(1, classes).sum().neg())
    }

    fn validation_error(&self, examples: &[Labelled]) -> sequence::Result<Option<f64>> {
        let mut wrong = 0;
        for chunk in examples.chunks(256) {
            let texts: Vec<&[u32]> = chunk.iter().map(|(text, _)| text.as_slice()).collect();
            let found = self.classify(&texts)?;
            wrong += found.iter().zip(chunk).filter(|(f, e)| **f != e.1).count();
        }
        Ok(Some(wrong as f64 / examples.len().max(1) as f64))
    }
}

/// Texts with their classes, in a fixed random-looking order.
struct Texts {
    classes: [&'static str; 2],
    all: Vec<(String, u32)>,
}

fn texts(quick: bool) -> Result<Texts, Box<dyn Error>> {
    let folder = std::env::var_os("REFRAIN_DATA").map(|f| Path::new(&f).join("sentence-polarity"));
    let mut all: Vec<(String, u32)> = Vec::new();
    let classes = match folder.filter(|f| f.is_dir() && !quick) {
        Some(folder) => {
            for (name, class) in [("rt-polarity.neg", 0), ("rt-polarity.pos", 1)] {
                let path = folder.join(name);
                let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                let content = String::from_utf8_lossy(&bytes);
                all.extend(content.lines().map(|line| (line.to_string(), class)));
            }
            ["blame", "praise"]
        }
        None => {
            let novel = bundled::moby_dick()?;
            let sentences = |text: &str, class: u32| -> Vec<(String, u32)> {
                let sentences = text.split_inclusive(['.', '?', '!']).map(str::trim);
                let long = sentences.filter(|s| s.len() > 40 && s.len() < 400);
                long.map(|s| (s.to_string(), class)).collect()
            };
            for speech in bundled::speeches()? {
                all.extend(sentences(&speech.text, 1));
            }
            let count = all.len();
            all.extend(novel.lines().flat_map(|l| sentences(l, 0)).take(count));
            ["Moby-Dick", "a speech"]
        }
    };
    // Shuffled by a fixed step that visits every place once.
    let n = all.len();
    let step = (n * 5 / 8..).find(|&s| greatest_divisor(s, n) == 1);
    let step = step.unwrap_or(1);
    all = (0..n)
        .map(|i| std::mem::take(&mut all[i * step % n]))
        .collect();
    if quick {
        all.truncate(600);
    }
    Ok(Texts { classes, all })
}

fn greatest_divisor(a: usize, b: usize) -> usize {
    if b == 0 {
        a
    } else {
        greatest_divisor(b, a % b)
    }
}

fn words(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    tokenize::words(text, &mut |word| all.push(word.to_lowercase()));
    all
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let Texts { classes, all } = texts(options.quick)?;
    let tokenized: Vec<(Vec<String>, u32)> = all.iter().map(|(t, c)| (words(t), *c)).collect();
    // Eight tenths to learn from, one to choose the weights by, one to judge on.
    let parts = [tokenized.len() * 8 / 10, tokenized.len() * 9 / 10];
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for word in tokenized[..parts[0]].iter().flat_map(|(words, _)| words) {
        *counts.entry(word).or_default() += 1;
    }
    let mut known: Vec<&str> = counts.iter().filter(|c| *c.1 >= 2).map(|c| *c.0).collect();
    known.sort_unstable();
    let numbers: HashMap<&str, u32> = known.iter().copied().zip(UNKNOWN + 1..).collect();
    let numbered = |words: &[String]| -> Vec<u32> {
        let number = |word: &String| numbers.get(word.as_str()).copied().unwrap_or(UNKNOWN);
        words.iter().map(number).collect()
    };
    let examples: Vec<Labelled> = tokenized.iter().map(|(w, c)| (numbered(w), *c)).collect();
    let (training, rest) = examples.split_at(parts[0]);
    let (validation, test) = rest.split_at(parts[1] - parts[0]);

    let device = refrain::device(&options.device)?;
    let network = Network::new(known.len() + 2, classes.len(), &device);
    let trainer = Trainer {
        steps: if options.quick { 15 } else { options.steps },
        batch: 32,
        learning_rate: 2e-3,
        weight_decay: 0.02,
        evaluate_every: 50,
        patience: Some(6),
        ..Trainer::default()
    };
    let trained = trainer.fit_module_with(&network, training, validation, &Monitor::bars())?;
    let error = trained.model.validation_error(test)?.unwrap_or(1.0);
    println!(
        "{} texts to learn from; right on {:.1} % of {} others\n{}\n",
        training.len(),
        100.0 * (1.0 - error),
        test.len(),
        trained.curve.fit()
    );

    let mut page = String::from(
        "<!doctype html><meta charset=\"utf-8\"><title>Why?</title>\
         <body style=\"font:17px/1.7 Georgia,serif;max-width:46em;margin:3em auto\">",
    );
    let own = options.text.iter().map(|text| (words(text), None));
    let some = tokenized[parts[1]..].iter().take(8);
    let some = some.map(|(words, class)| (words.clone(), Some(*class)));
    for (words, class) in own.chain(some).filter(|(words, _)| !words.is_empty()) {
        let numbers = numbered(&words);
        let told = explain(&trained.model, &numbers, options.points)?;
        show(&words, class, &told, classes, &mut page)?;
    }
    let out = &options.out;
    std::fs::create_dir_all(out).map_err(|e| format!("{}: {e}", out.display()))?;
    let path = out.join("explained.html");
    std::fs::write(&path, page).map_err(|e| format!("{}: {e}", path.display()))?;
    println!("{} written", path.display());
    Ok(())
}

/// The logit of the second class less that of the first, shared out to the words; padding is what
/// says nothing.
fn explain(network: &Network, words: &[u32], points: usize) -> sequence::Result<Attribution> {
    let score = |embedded: Tensor<3>| {
        let logits = network.logits(embedded, &Learning::default());
        let difference = logits.clone().narrow(1, 1, 1) - logits.narrow(1, 0, 1);
        Ok(difference.squeeze_dim::<1>(1))
    };
    let x = network.embed(&[words]).squeeze_dim::<2>(0);
    let nothing = network.embed(&[&vec![0; x.dims()[0]]]).squeeze_dim::<2>(0);
    integrated_gradients(score, x, nothing, points)
}

fn show(
    words: &[String],
    class: Option<u32>,
    told: &Attribution,
    classes: [&str; 2],
    page: &mut String,
) -> Result<(), Box<dyn Error>> {
    let said = classes[usize::from(told.score > 0.0)];
    let truth = class.map_or(String::new(), |c| {
        format!(", in truth {}", classes[c as usize])
    });
    let mut strongest: Vec<(&String, f32)> =
        words.iter().zip(told.tokens.iter().copied()).collect();
    strongest.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    let strongest = strongest.iter().take(5);
    let strongest: Vec<String> = strongest.map(|(w, x)| format!("{w} {x:+.2}")).collect();
    println!("{}", words.join(" "));
    println!(
        "  {said}{truth}: {:+.2} = {:+.2} of nothing {:+.2} of the words, missing {:+.4}",
        told.score,
        told.baseline,
        told.score - told.baseline,
        told.gap()
    );
    println!("  {}\n", strongest.join(", "));

    let most = told
        .tokens
        .iter()
        .fold(f32::MIN_POSITIVE, |m, t| m.max(t.abs()));
    write!(page, "<p><b>{said}</b>{truth} ({:+.2})<br>", told.score)?;
    for (word, share) in words.iter().zip(&told.tokens) {
        let colour = if *share > 0.0 {
            "31,111,92"
        } else {
            "204,102,26"
        };
        let strength = 0.8 * share.abs() / most;
        let word = word.replace('&', "&amp;").replace('<', "&lt;");
        write!(
            page,
            "<span style=\"background:rgba({colour},{strength:.2})\" title=\"{share:+.3}\">{word}</span> "
        )?;
    }
    page.push_str("</p>\n");
    Ok(())
}
