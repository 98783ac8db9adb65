//! Tells who did what to whom: labels the words around a predicate with their roles.
//!
//! ```sh
//! REFRAIN_DATA=data cargo run --release --example label_roles
//! cargo run --release --example label_roles -- --quick
//! ```
//!
//! Universal PropBank, English Web Treebank (Akbik et al., 2015; only its dev and test parts, so
//! training is on dev, each tenth sentence of it left to choose by) in `$REFRAIN_DATA/srl-up-ewt`;
//! without `REFRAIN_DATA` a few sentences are made up. Each predicate makes one example: the words, each
//! with its vector, the predicate's, and how far it stands from it. Which word is the predicate is given;
//! parts of speech and trees are not. A role stands at the head of its phrase. F1 counts words with a role
//! other than the predicate's own `V`.

mod support;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use refrain::Monitor;
use refrain::data::conll;
use refrain::embeddings::Embeddings;
use refrain::sequence::metrics::SpanScores;
use refrain::sequence::{
    Body, Cell, LabelScheme, Labeller, LabellerConfig, Sentence, SentenceConfig,
};

/// Tell who did what to whom
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Word vectors, a file of refrain; made here if not given
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,
    /// Passes over the predicates
    #[arg(long)]
    epochs: Option<usize>,
    /// Where to train: cpu, flex, ndarray, wgpu or cuda; REFRAIN_DEVICE sets it too
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/roles")]
    out: PathBuf,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

/// A sentence, one of its predicates, and the role of each word.
struct Case {
    sentence: Sentence,
    predicate: usize,
    roles: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("label_roles: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let device = support::device(&options.device)?;
    let data = support::data(options.quick, "srl-up-ewt");
    let (train, test) = match &data {
        Some(folder) => (
            read(&folder.join("en_ewt-up-dev.conllu"))?,
            read(&folder.join("en_ewt-up-test.conllu"))?,
        ),
        None => {
            println!("REFRAIN_DATA/srl-up-ewt not used: sentences are made up\n");
            (made_up(0..150), made_up(150..200))
        }
    };
    let plain: Vec<Sentence> = train.iter().map(|case| case.sentence.clone()).collect();
    let words = support::word_vectors(options.vectors.as_deref(), data.as_deref(), &plain)?;
    // Predicates of a sentence stand together: whole sentences are held out.
    let (mut learn, mut validation) = (Vec::new(), Vec::new());
    let mut number = 0;
    for (i, case) in train.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|before| train.get(before));
        number += usize::from(before.is_some_and(|b| b.sentence.words != case.sentence.words));
        let part = if number % 10 == 9 {
            &mut validation
        } else {
            &mut learn
        };
        part.push(labelled(case, &words));
    }
    let test: Vec<_> = test.iter().map(|case| labelled(case, &words)).collect();
    println!(
        "{} predicates to learn from, {} to choose by, {} to judge on",
        learn.len(),
        validation.len(),
        test.len()
    );

    let reading = SentenceConfig {
        word_width: words.dim(),
        features: 2 * words.dim() + DISTANCES,
        filters: 30,
        body: Body::Recurrent {
            cell: Cell::Lstm,
            hidden: if options.quick { 16 } else { 128 },
            layers: if options.quick { 1 } else { 2 },
        },
        dropout: 0.4,
        ..SentenceConfig::default()
    };
    let config = LabellerConfig {
        reading,
        scheme: LabelScheme::Plain,
        crf: false,
        seed: options.seed,
    };
    let known: Vec<_> = learn
        .iter()
        .chain(&validation)
        .chain(&test)
        .cloned()
        .collect();
    let model = Labeller::new(&config, &roles_of(&learn, &known), &device)?
        .with_vectors(|word| words.embed(word).map(|v| v.into_owned()))?;
    let (examples, held_out) = (model.examples(&learn)?, model.examples(&validation)?);
    let epochs = options.epochs.unwrap_or(if options.quick { 3 } else { 12 });
    let mut trainer = support::trainer(examples.len(), 32, epochs, 3e-3);
    trainer.seed = options.seed;
    let trained = trainer.fit_module_with(&model, &examples, &held_out, &Monitor::bars())?;

    let sentences: Vec<Sentence> = test.iter().map(|(s, _)| s.clone()).collect();
    let found = trained.model.label(&sentences)?;
    // Each word with a role is a span of its own; the predicate itself is given.
    let span = |role: &str| match role {
        "O" | "V" => "O".to_string(),
        role => format!("S-{role}"),
    };
    let truth: Vec<Vec<String>> = test
        .iter()
        .map(|(_, roles)| roles.iter().map(|r| span(r)).collect())
        .collect();
    let roles: Vec<Vec<String>> = found
        .iter()
        .map(|s| s.iter().map(|j| span(&j.label)).collect())
        .collect();
    let scores = SpanScores::new(&truth, &roles)?;
    println!("test set, words with a role:\n{scores}");
    println!("micro F1 {:.4}", scores.micro().f1());
    for (sentence, judged) in sentences.iter().zip(&found).take(4) {
        let told = sentence
            .words
            .iter()
            .zip(judged)
            .map(|(word, j)| match j.label.as_str() {
                "O" => word.clone(),
                role => format!("[{word}]{role}"),
            });
        println!("  {}", told.collect::<Vec<_>>().join(" "));
    }
    std::fs::create_dir_all(&options.out).map_err(|e| format!("{}: {e}", options.out.display()))?;
    let path = options.out.join("roles.refrain");
    trained.model.save(&path)?;
    println!("{} written", path.display());
    Ok(())
}

/// The examples whose words the model learns, and one more for each role that they do not have.
fn roles_of(
    learn: &[(Sentence, Vec<String>)],
    all: &[(Sentence, Vec<String>)],
) -> Vec<(Sentence, Vec<String>)> {
    let mut out = learn.to_vec();
    let roles = all.iter().flat_map(|(_, roles)| roles.iter().cloned());
    out.push((Sentence::default(), roles.collect()));
    out
}

fn read(path: &Path) -> Result<Vec<Case>, Box<dyn Error>> {
    let mut cases = Vec::new();
    for sentence in conll::read_propbank(path)? {
        for proposition in sentence.propositions {
            let roles = proposition.roles.into_iter();
            cases.push(Case {
                sentence: Sentence::new(sentence.words.iter().cloned()),
                predicate: proposition.predicate,
                roles: roles
                    .map(|r| if r == "_" { "O".to_string() } else { r })
                    .collect(),
            });
        }
    }
    Ok(cases)
}

/// What says how far a word stands from the predicate: at it, and by steps of 1, 2, 4, … on each side.
const DISTANCES: usize = 11;

fn labelled(case: &Case, words: &Embeddings) -> (Sentence, Vec<String>) {
    let own = support::static_vectors(words, &case.sentence);
    let dim = words.dim();
    let predicate = own
        .chunks_exact(dim)
        .nth(case.predicate)
        .unwrap_or_default();
    let mut features = Vec::new();
    for (i, vector) in own.chunks_exact(dim).enumerate() {
        features.extend_from_slice(vector);
        features.extend_from_slice(predicate);
        let away = i.abs_diff(case.predicate);
        let step = if away == 0 {
            0
        } else {
            (1 + away.ilog2() as usize).min(5)
        };
        let side = if i < case.predicate { 0 } else { 5 };
        let place = if step == 0 { 0 } else { side + step };
        features.extend((0..DISTANCES).map(|d| if d == place { 1.0 } else { 0.0 }));
    }
    let words = case.sentence.words.clone();
    (Sentence { words, features }, case.roles.clone())
}

fn made_up(range: std::ops::Range<usize>) -> Vec<Case> {
    let mut choice = support::Choice(range.start as u64);
    let case = |i: usize| {
        let who = choice.of(&["she", "he", "Ahab", "Ada"]);
        let what = choice.of(&["songs", "tunes", "letters", "whales"]);
        let verb = choice.of(&["wrote", "found", "sold", "saw"]);
        let (words, roles) = match i % 2 {
            0 => (vec![who, verb, what], vec!["ARG0", "V", "ARG1"]),
            _ => (
                vec![what, "were", verb, "by", who],
                vec!["ARG1", "O", "V", "O", "ARG0"],
            ),
        };
        Case {
            predicate: roles.iter().position(|&role| role == "V").unwrap_or(0),
            sentence: Sentence::new(words),
            roles: roles.into_iter().map(String::from).collect(),
        }
    };
    range.map(case).collect()
}
