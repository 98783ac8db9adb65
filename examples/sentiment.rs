//! Tells praise from blame in sentences of film reviews.
//!
//! ```sh
//! REFRAIN_DATA=data cargo run --release --features tokenizers --example sentiment
//! cargo run --release --features tokenizers --example sentiment -- --quick
//! ```
//!
//! Sentence polarity (Pang and Lee, 2005): 5,331 sentences of praise and as many of blame in
//! `$REFRAIN_DATA/sentence-polarity`, as NLTK's data or the authors' page have them; without it a few
//! sentences are made up. Sentence `i` belongs to the test set where `(i · 2654435761 mod 2³²) / 2¹⁶`
//! ends in 9 and to the validation set where it ends in 8: a tenth each.
//!
//! By default recurrent layers in both directions learn from scratch, above word vectors made here (or
//! those of `--vectors`, say GloVe's: `examples/support/words.py` tells where), one copy tuned and one
//! not. With `--encoder all-MiniLM-L6-v2` a pretrained encoder is fine-tuned instead; with `--frozen` it
//! stays as it is, and the recurrent layers are told its states of each word too.

mod support;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use refrain::embeddings::Embeddings;
use refrain::sequence::metrics::ClassScores;
use refrain::sequence::{
    Body, Cell, EncoderClassifier, Sentence, SentenceClassifier, SentenceConfig, TextEncoder,
};
use refrain::{Device, Monitor};

/// Tell praise from blame
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Word vectors, a file of refrain; made here if not given
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,
    /// Fine-tune the encoder of this folder instead
    #[arg(long, value_name = "FOLDER")]
    encoder: Option<PathBuf>,
    /// Leave the encoder as it is: its states are features of the words
    #[arg(long, requires = "encoder")]
    frozen: bool,
    /// Passes over the sentences
    #[arg(long)]
    epochs: Option<usize>,
    /// Where to train: cpu, flex, ndarray, wgpu or cuda; REFRAIN_DEVICE sets it too
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Judge what an earlier run with the same options has written (a file; where the encoder is tuned, a folder),
    /// instead of learning
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Judge on the part to choose by: to choose settings without a look at the test part
    #[arg(long)]
    choose: bool,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/sentiment")]
    out: PathBuf,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

type Labelled = (Sentence, String);

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sentiment: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let device = support::device(&options.device)?;
    let data = support::data(options.quick, "sentence-polarity");
    let all = match &data {
        Some(folder) => read(folder)?,
        None => {
            println!("REFRAIN_DATA/sentence-polarity not used: sentences are made up\n");
            made_up()
        }
    };
    let (mut train, mut validation, mut test) = (Vec::new(), Vec::new(), Vec::new());
    for (i, labelled) in (0u32..).zip(all) {
        let part = match (i.wrapping_mul(2_654_435_761) >> 16) % 10 {
            9 => &mut test,
            8 => &mut validation,
            _ => &mut train,
        };
        part.push(labelled);
    }
    if options.choose {
        test = validation.clone();
    }
    println!(
        "{} sentences to learn from, {} to choose by, {} to judge on",
        train.len(),
        validation.len(),
        test.len()
    );
    let found = match &options.encoder {
        Some(folder) if !options.frozen => {
            fine_tuned(options, folder, &train, &validation, &test, &device)?
        }
        _ => {
            let parts = [&mut train, &mut validation, &mut test];
            from_scratch(options, data.as_deref(), parts, &device)?
        }
    };
    let truth: Vec<&String> = test.iter().map(|(_, label)| label).collect();
    let scores = ClassScores::new(&truth, &found)?;
    let part = if options.choose { "validation" } else { "test" };
    println!("accuracy on the {part} set {:.4}", scores.accuracy());
    for label in &scores.labels {
        let of = scores.of(label);
        println!(
            "{label:10} precision {:.3}, recall {:.3}",
            of.precision(),
            of.recall()
        );
    }
    Ok(())
}

/// Praise first, then blame; the files are in Latin-1.
fn read(folder: &Path) -> Result<Vec<Labelled>, Box<dyn Error>> {
    let mut all = Vec::new();
    for (name, label) in [("rt-polarity.pos", "praise"), ("rt-polarity.neg", "blame")] {
        let path = folder.join(name);
        let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let text: String = bytes.iter().map(|&b| char::from(b)).collect();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            all.push((Sentence::new(line.split_whitespace()), label.to_string()));
        }
    }
    Ok(all)
}

fn made_up() -> Vec<Labelled> {
    let mut choice = support::Choice(7);
    let sentence = |i: usize| {
        let praise = i.is_multiple_of(2);
        let word = match praise {
            true => choice.of(&["warm", "clever", "moving", "lovely", "brilliant"]),
            false => choice.of(&["dull", "clumsy", "tedious", "lifeless", "pointless"]),
        };
        let film = choice.of(&["film", "story", "comedy", "drama", "script"]);
        let end = choice.of(&["from start to end", "all in all", "for most of its length"]);
        let text = format!("a {word} {film} {end} .");
        let label = if praise { "praise" } else { "blame" };
        (Sentence::new(text.split(' ')), label.to_string())
    };
    (0..200).map(sentence).collect()
}

/// Recurrent layers above word vectors.
fn from_scratch(
    options: &Options,
    data: Option<&Path>,
    parts: [&mut Vec<Labelled>; 3],
    device: &Device,
) -> Result<Vec<String>, Box<dyn Error>> {
    let [train, validation, test] = parts;
    let sentences: Vec<Sentence> = train.iter().map(|(s, _)| s.clone()).collect();
    let words = support::word_vectors(options.vectors.as_deref(), data, &sentences)?;
    let encoder = options.encoder.as_ref();
    let encoder = encoder.map(|folder| TextEncoder::load(folder, device));
    let encoder = encoder.transpose()?;
    for (sentence, _) in train
        .iter_mut()
        .chain(validation.iter_mut())
        .chain(test.iter_mut())
    {
        let vectors = support::static_vectors(&words, sentence);
        sentence.features = match &encoder {
            None => vectors,
            Some(encoder) => {
                let states = support::encoder_states(encoder, sentence)?;
                let vectors = vectors.chunks_exact(words.dim());
                let both = vectors.zip(states.chunks_exact(encoder.width()));
                both.flat_map(|(v, s)| v.iter().chain(s)).copied().collect()
            }
        };
    }
    let features = words.dim() + encoder.as_ref().map_or(0, TextEncoder::width);
    let model = match &options.model {
        Some(path) => SentenceClassifier::load(path, device)?,
        None => learn(options, &words, features, train, validation, device)?,
    };
    let sentences: Vec<Sentence> = test.iter().map(|(s, _)| s.clone()).collect();
    let judged = model.classify(&sentences)?;
    Ok(judged.into_iter().map(|all| all[0].label.clone()).collect())
}

/// Trains a classifier and writes it.
fn learn(
    options: &Options,
    words: &Embeddings,
    features: usize,
    train: &[Labelled],
    validation: &[Labelled],
    device: &Device,
) -> Result<SentenceClassifier, Box<dyn Error>> {
    let config = SentenceConfig {
        word_width: words.dim(),
        features,
        filters: if options.quick { 8 } else { 30 },
        body: Body::Recurrent {
            cell: Cell::Lstm,
            hidden: if options.quick { 16 } else { 128 },
            layers: 1,
        },
        word_dropout: 0.2,
        ..SentenceConfig::default()
    };
    let model = SentenceClassifier::new(&config, train, options.seed, device)?
        .with_vectors(|word| words.embed(word).map(|v| v.into_owned()))?;
    let (train, validation) = (model.examples(train)?, model.examples(validation)?);
    let mut trainer = support::trainer(train.len(), 32, options.epochs.unwrap_or(9), 1e-3);
    trainer.seed = options.seed;
    trainer.average = Some(0.998);
    let trained = trainer.fit_module_with(&model, &train, &validation, &Monitor::bars())?;
    println!("{}", trained.curve.fit());
    let path = support::written(&options.out, "sentiment.refrain", |path| {
        Ok(trained.model.save(path)?)
    })?;
    println!("{} written", path.display());
    Ok(trained.model)
}

/// A pretrained encoder and a layer above the mean of its states, tuned together.
fn fine_tuned(
    options: &Options,
    folder: &Path,
    train: &[Labelled],
    validation: &[Labelled],
    test: &[Labelled],
    device: &Device,
) -> Result<Vec<String>, Box<dyn Error>> {
    let texts = |part: &[Labelled]| -> Vec<(String, String)> {
        let text = |(sentence, label): &Labelled| (sentence.words.join(" "), label.clone());
        part.iter().map(text).collect()
    };
    let classifier = match &options.model {
        Some(folder) => EncoderClassifier::load(folder, device)?,
        None => {
            let text = TextEncoder::load(folder, device)?.with_most(64)?;
            let classifier = EncoderClassifier::new(text, ["blame", "praise"], options.seed)?;
            let learnt = classifier.examples(&texts(train))?;
            let held_out = classifier.examples(&texts(validation))?;
            let epochs = options.epochs.unwrap_or(3);
            let mut trainer = support::trainer(learnt.len(), 32, epochs, 7e-5);
            trainer.seed = options.seed;
            let module = classifier.module(device);
            let trained = trainer.fit_module_with(&module, &learnt, &held_out, &Monitor::bars())?;
            println!("{}", trained.curve.fit());
            let classifier = classifier.with_module(&trained.model)?;
            let folder = options.out.join("classifier");
            classifier.save(&folder)?;
            println!("{} written", folder.display());
            classifier
        }
    };
    let test: Vec<String> = texts(test).into_iter().map(|(text, _)| text).collect();
    let judged = classifier.classify(&test)?;
    Ok(judged.into_iter().map(|all| all[0].label.clone()).collect())
}
