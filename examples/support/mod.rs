//! What several examples share: where data lies, and word vectors made here.
#![allow(dead_code)] // each example takes what it needs

pub mod mnist;

use std::error::Error;
use std::mem::discriminant;
use std::path::{Path, PathBuf};

use refrain::Monitor;
use refrain::embeddings::{Corpus, Embeddings, Word2Vec, tokenize};
use refrain::gan::{EpochReport, ImageShape, Images};
use refrain::sequence::{Sentence, Trainer};

/// The folder of a data set inside the one that `REFRAIN_DATA` names; `None` where that is not set or has
/// no such folder, or a quick look is enough.
pub fn data(quick: bool, set: &str) -> Option<PathBuf> {
    let root = std::env::var_os("REFRAIN_DATA").filter(|_| !quick)?;
    Some(PathBuf::from(root).join(set)).filter(|folder| folder.is_dir())
}

/// Prints each alarm of the epochs after the first `told` that the epoch before them did not raise, and
/// gives back how many epochs there are.
pub fn tell_alarms(history: &[EpochReport], told: usize) -> usize {
    for (i, epoch) in history.iter().enumerate().skip(told) {
        let before = i.checked_sub(1).map_or(&[][..], |i| &history[i].alarms);
        for alarm in &epoch.alarms {
            if !before
                .iter()
                .any(|a| discriminant(a) == discriminant(alarm))
            {
                println!("epoch {}: {alarm}", epoch.epoch);
            }
        }
    }
    history.len()
}

/// Where `device` says, else where `REFRAIN_DEVICE` does.
pub fn device(device: &Option<String>) -> Result<refrain::Device, Box<dyn Error>> {
    Ok(match device {
        Some(name) => refrain::device(name)?,
        None => refrain::device_from_env()?,
    })
}

/// The bundled digits, 8×8.
pub fn digits() -> Result<Images, Box<dyn Error>> {
    let digits = refrain::data::bundled::digits()?;
    let pixels: Vec<f32> = digits
        .images
        .iter()
        .flatten()
        .map(|&v| f32::from(v))
        .collect();
    let labels = digits.labels.iter().map(|&l| u32::from(l)).collect();
    Ok(Images::scaled(ImageShape::square(1, 8), &pixels, 16.0)?.with_labels(labels, 10)?)
}

/// Word vectors: those of a file, or skip-gram on the old books beside the data and on the sentences
/// to learn from.
pub fn word_vectors(
    file: Option<&Path>,
    data: Option<&Path>,
    sentences: &[Sentence],
) -> Result<Embeddings, Box<dyn Error>> {
    if let Some(file) = file {
        return Ok(Embeddings::load(file)?);
    }
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut words = |text: &str| {
        let mut line = Vec::new();
        tokenize::words(text, &mut |token| line.push(token.to_string()));
        lines.push(line);
    };
    for sentence in sentences {
        words(&sentence.words.join(" "));
    }
    let root = data.and_then(Path::parent);
    for book in ["bronte.txt", "darwin.txt", "dubois.txt"] {
        let path = root.map(|root| root.join("old-books").join(book));
        if let Some(text) = path.and_then(|path| std::fs::read_to_string(path).ok()) {
            text.lines().for_each(&mut words);
        }
    }
    let config = Word2Vec {
        dim: if root.is_some() { 100 } else { 16 },
        min_count: if root.is_some() { 5 } else { 1 },
        ..Word2Vec::default()
    };
    Ok(config.fit_with(&Corpus::from_sentences(lines)?, &Monitor::bars())?)
}

/// The vector of each word, one behind the other; zeros for an unknown one.
pub fn static_vectors(words: &Embeddings, sentence: &Sentence) -> Vec<f32> {
    let mut values = Vec::new();
    for word in &sentence.words {
        match vector(words, word) {
            Some(vector) => values.extend_from_slice(&vector),
            None => values.resize(values.len() + words.dim(), 0.0),
        }
    }
    values
}

/// Of each word the mean of its pieces' states, `[words, width]`; zeros beyond the encoder's length.
#[cfg(feature = "tokenizers")]
pub fn encoder_states(
    encoder: &refrain::sequence::TextEncoder,
    sentence: &Sentence,
) -> Result<Vec<f32>, Box<dyn Error>> {
    let text = sentence.words.join(" ");
    let tokens = encoder.tokenizer().encode(&text)?;
    let states = encoder
        .encoder()
        .encode(&[refrain::sequence::EncoderInput::from(
            tokens.tokens.as_slice(),
        )])?;
    let width = encoder.width();
    let mut pieces: std::collections::HashMap<usize, Vec<&[f32]>> =
        std::collections::HashMap::new();
    let rows = states.first().map(|rows| rows.chunks_exact(width));
    for (bytes, row) in tokens.bytes.iter().zip(rows.into_iter().flatten()) {
        if !bytes.is_empty() {
            let word = text.as_bytes()[..bytes.start]
                .iter()
                .filter(|&&b| b == b' ')
                .count();
            pieces.entry(word).or_default().push(row);
        }
    }
    let mut out = vec![0.0; sentence.words.len() * width];
    for (word, row) in out.chunks_exact_mut(width).enumerate() {
        let own = pieces.get(&word).map(Vec::as_slice).unwrap_or_default();
        for piece in own {
            row.iter_mut()
                .zip(*piece)
                .for_each(|(x, p)| *x += p / own.len() as f32);
        }
    }
    Ok(out)
}

/// The vector of a word as it stands or in lower case, else of what it would be without signs around
/// it, letters drawn out (`soooo`) and what follows an apostrophe.
pub fn vector(words: &Embeddings, word: &str) -> Option<Vec<f32>> {
    let own = |word: &str| words.embed(word).map(|vector| vector.into_owned());
    let lower = word.to_lowercase();
    let inner = lower.trim_matches(|c: char| !c.is_alphanumeric());
    let stem = inner.split(['\'', '’']).next().unwrap_or(inner);
    let drawn = |most: usize| -> String {
        let mut kept = Vec::new();
        for c in stem.chars() {
            if kept.len() < most || kept[kept.len() - most..].iter().any(|&last| last != c) {
                kept.push(c);
            }
        }
        kept.into_iter().collect()
    };
    let found = own(&lower).or_else(|| own(inner)).or_else(|| own(stem));
    found.or_else(|| own(&drawn(2))).or_else(|| own(&drawn(1)))
}

/// So many passes over so many examples, validated after each, the best kept.
pub fn trainer(examples: usize, batch: usize, epochs: usize, learning_rate: f64) -> Trainer {
    let each = examples.div_ceil(batch).max(1);
    Trainer {
        steps: epochs * each,
        batch,
        learning_rate,
        warm_up: each / 2,
        weight_decay: 0.01,
        evaluate_every: each,
        checkpoint_every: usize::MAX,
        ..Trainer::default()
    }
}

/// The path of a file that `write` makes in a folder, which is made too where there is none.
pub fn written(
    folder: &Path,
    name: &str,
    write: impl FnOnce(&Path) -> Result<(), Box<dyn Error>>,
) -> Result<PathBuf, Box<dyn Error>> {
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let path = folder.join(name);
    write(&path)?;
    Ok(path)
}

/// Deterministic choices for made-up data.
pub struct Choice(pub u64);

impl Choice {
    /// One of them.
    pub fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        all[(self.0 >> 33) as usize % all.len()]
    }
}
