//! Vectors of Chinese characters and of pairs of them, from the bundled Tang poems.
//!
//! ```sh
//! cargo run --release --example chinese_word_vectors
//! ```
//!
//! Chinese is written without spaces, so what a word is, is a choice: here each character, and each run
//! of two within a verse (its halves are mostly two characters long). A segmenter of your own is a
//! closure. Prints neighbours and poems near to a poem, and writes a picture into `--out`.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use refrain::data::bundled;
use refrain::embeddings::{Corpus, SentenceVectors, Word2Vec, tokenize};

/// Vectors of Chinese characters and pairs of them
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Folder to write into
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "refrain-out/chinese-words"
    )]
    out: PathBuf,
    /// Passes over the poems
    #[arg(long, default_value_t = 20)]
    epochs: usize,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chinese_word_vectors: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Both characters and pairs of them.
fn characters_and_pairs(verse: &str, emit: &mut dyn FnMut(&str)) {
    for part in verse.split(['，', '。', '？', '！', '；']) {
        let starts: Vec<usize> = part
            .char_indices()
            .map(|(at, _)| at)
            .chain([part.len()])
            .collect();
        for (i, pair) in starts.windows(2).enumerate() {
            emit(&part[pair[0]..pair[1]]);
            if let Some(&end) = starts.get(i + 2) {
                emit(&part[pair[0]..end]);
            }
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let poems = bundled::tang_poems()?;
    let text: Vec<String> = poems.iter().map(|poem| poem.lines.concat()).collect();
    let config = Word2Vec {
        dim: if options.quick { 16 } else { 64 },
        epochs: if options.quick { 1 } else { options.epochs },
        subsample: 1e-3,
        ..Word2Vec::default()
    };

    let characters = config.fit(&Corpus::from_text(text.join("\n"), tokenize::characters))?;
    println!("{} characters", characters.len());
    for word in ["山", "酒", "春", "愁", "劍"] {
        let near = characters.neighbours(word, 8)?;
        let near: Vec<&str> = near.iter().map(|n| n.word).collect();
        println!("  {word}: {}", near.join(" "));
    }
    let pairs = config.fit(&Corpus::from_text(text.join("\n"), characters_and_pairs))?;
    println!("{} characters and pairs", pairs.len());
    for word in ["明月", "故鄉", "長安", "白雲"] {
        if let Ok(near) = pairs.neighbours(word, 6) {
            let near: Vec<&str> = near.iter().map(|n| n.word).collect();
            println!("  {word}: {}", near.join(" "));
        }
    }

    // Poems as means of their characters.
    let tokens: Vec<Vec<String>> = text
        .iter()
        .map(|poem| {
            let mut all = Vec::new();
            tokenize::characters(poem, &mut |token| all.push(token.to_string()));
            all
        })
        .collect();
    let model = SentenceVectors::fit(&characters, &tokens, 1e-3)?;
    let vectors = model.embed_batch(&characters, &tokens);
    let wanted = poems
        .iter()
        .position(|p| p.author == "李白" && p.title == "靜夜思");
    if let Some((at, own)) = wanted.and_then(|at| Some((at, vectors[at].as_ref()?))) {
        let mut near: Vec<(f32, usize)> = vectors
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != at)
            .filter_map(|(i, other)| Some((cosine(own, other.as_ref()?), i)))
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        println!("near 李白《靜夜思》 {}", text[at]);
        for (similarity, i) in near.into_iter().take(3) {
            let start: String = text[i].chars().take(24).collect();
            println!(
                "  {similarity:.2} {}《{}》 {start}",
                poems[i].author, poems[i].title
            );
        }
    }

    let shown = [
        "山", "水", "江", "河", "湖", "海", "春", "夏", "秋", "冬", "酒", "醉", "杯", "愁", "悲",
        "淚", "馬", "劍", "戰", "兵", "花", "柳", "草", "木", "日", "月", "星", "雲",
    ];
    let known: Vec<&str> = shown
        .into_iter()
        .filter(|c| characters.vector(c).is_some())
        .collect();
    let out = &options.out;
    std::fs::create_dir_all(out).map_err(|e| format!("{}: {e}", out.display()))?;
    let path = out.join("characters.svg");
    let picture = characters.project(&known, 2, true)?;
    std::fs::write(&path, picture.to_svg("Characters of Tang poems"))?;
    println!("{} written", path.display());
    Ok(())
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f32::MIN_POSITIVE)
}
