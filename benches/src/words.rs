//! What the benches of word vectors share: the corpus, and the judge of vectors.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use refrain::embeddings::evaluate::{JudgedPair, Question};
use refrain::embeddings::{Analogy, Corpus, Embeddings, Vocabulary, evaluate, tokenize};

/// Writes the corpus as all sides read it: a sentence a line, tokens between spaces.
///
/// # Errors
/// When a text cannot be read or the file not be written.
pub fn write_tokens(data: Option<&Path>, to: &Path) -> Result<(), Box<dyn Error>> {
    let mut text = String::new();
    match data {
        Some(data) => {
            let mut paths = Vec::new();
            for folder in ["old-books", "datasets-sotu/data", "datasets-moby-dick/data"] {
                let Ok(entries) = std::fs::read_dir(data.join(folder)) else {
                    println!("without {folder}: no such folder in {}", data.display());
                    continue;
                };
                for entry in entries {
                    paths.push(entry?.path());
                }
            }
            paths.retain(|path| path.extension().is_some_and(|e| e == "txt"));
            paths.sort();
            for path in &paths {
                text.push_str(&String::from_utf8_lossy(&std::fs::read(path)?));
                text.push_str("\n\n");
            }
            println!(
                "corpus: {} texts, {:.1} MB",
                paths.len(),
                text.len() as f64 / 1e6
            );
        }
        None => {
            text = refrain::data::bundled::text()?.replace('\n', "\n\n");
            println!("corpus: the bundled text (set REFRAIN_DATA for another)");
        }
    }
    let mut out = BufWriter::new(File::create(to)?);
    let mut sentence = String::new();
    for line in text.lines().chain([""]) {
        tokenize::words(line, &mut |token| {
            sentence.push_str(token);
            sentence.push(' ');
        });
        if line.trim().is_empty() && !sentence.is_empty() {
            writeln!(out, "{}", sentence.trim_end())?;
            sentence.clear();
        }
    }
    out.flush()?;
    Ok(())
}

/// Processor time of this process, in seconds; not a number where the system does not tell.
pub fn processor_seconds() -> f64 {
    let ticks = || {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        let user: f64 = fields.get(11)?.parse().ok()?;
        let system: f64 = fields.get(12)?.parse().ok()?;
        Some(user + system)
    };
    // Linux reports this in hundredths, whatever its own clock is.
    ticks().map_or(f64::NAN, |ticks| ticks / 100.0)
}

/// Word pairs with the scores people gave them, and analogies.
#[derive(Debug, Default)]
pub struct Judge {
    similarity: Vec<(&'static str, Vec<JudgedPair>)>,
    analogies: Vec<[String; 4]>,
}

impl Judge {
    /// All in lower case, as the corpus is; the files lie in `word-benchmarks` of the data.
    ///
    /// # Errors
    /// When one is missing or broken.
    pub fn new(data: Option<&Path>) -> Result<Self, Box<dyn Error>> {
        let Some(folder) = data.map(|data| data.join("word-benchmarks")) else {
            return Ok(Self::default());
        };
        let missing = |error| format!("{error} (from vecto-ai/word-benchmarks)");
        let mut similarity = Vec::new();
        for name in ["simlex999", "wordsim353-sim", "wordsim353-rel", "men", "rw"] {
            let file = folder.join(format!("{name}.csv"));
            let pairs = evaluate::read_pairs(file).map_err(missing)?.into_iter();
            let lower = pairs.map(|(a, b, score)| (a.to_lowercase(), b.to_lowercase(), score));
            similarity.push((name, lower.collect()));
        }
        let file = folder.join("google-analogies.csv");
        let questions = evaluate::read_analogies(file).map_err(missing)?;
        let lower = |question: Question| question.words.map(|word| word.to_lowercase());
        Ok(Self {
            similarity,
            analogies: questions.into_iter().map(lower).collect(),
        })
    }

    /// Words of the pairs that the corpus does not have: n-grams give them vectors.
    ///
    /// # Errors
    /// When the corpus cannot be read.
    pub fn unknown(&self, tokens: &Path, min_count: u64) -> Result<Vec<String>, Box<dyn Error>> {
        let corpus = Corpus::from_files([tokens], tokenize::whitespace);
        let known = Vocabulary::build(&corpus, min_count)?;
        let pairs = self.similarity.iter().flat_map(|(_, pairs)| pairs);
        let words = pairs.flat_map(|(a, b, _)| [a, b]);
        let mut words: Vec<String> = words.filter(|w| known.get(w).is_none()).cloned().collect();
        words.sort();
        words.dedup();
        Ok(words)
    }

    /// The correlations and the analogies of some vectors, on a line.
    pub fn judge(&self, words: &Embeddings) -> String {
        self.judge_first(words, words.len())
    }

    /// The same, but analogies are asked of the first `known` words alone: behind them stand others that
    /// n-grams gave vectors.
    pub fn judge_first(&self, words: &Embeddings, known: usize) -> String {
        let mut line = String::new();
        for (name, pairs) in &self.similarity {
            let pairs = pairs.iter().map(|(a, b, score)| (a, b, *score));
            let report = evaluate::word_similarity(words, pairs);
            line += &format!("{name} {:.3} ({})  ", report.spearman, report.pairs);
        }
        let questions = self.analogies.iter().map(|words| words.each_ref());
        let first = words.most_frequent(known);
        match first.and_then(|first| evaluate::analogies(&first, questions, Analogy::Add)) {
            Ok(report) if report.asked > 0 => {
                line += &format!("analogies {}/{}", report.right, report.asked);
            }
            _ => {}
        }
        line
    }
}
