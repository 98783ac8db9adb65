//! Makes `floret.fifu`, a golden file of `formats/finalfusion.rs`: a program of its own, with the
//! dependency `finalfusion = { version = "=0.18.0", default-features = false }`, run in this folder.
//!
//! Prints the vectors that the tests expect, as sums of rows.

use std::fs::File;
use std::io::{BufReader, BufWriter};

use finalfusion::compat::floret::ReadFloretText;
use finalfusion::embeddings::Embeddings;
use finalfusion::io::WriteEmbeddings;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut text = BufReader::new(File::open("words.floret")?);
    let embeddings = Embeddings::read_floret_text(&mut text)?;
    embeddings.write_embeddings(&mut BufWriter::new(File::create("floret.fifu")?))?;
    for word in ["cats", "猫"] {
        let found = embeddings.embedding_with_norm(word).ok_or("no vector")?;
        println!("{word} {:?}", found.embedding.into_owned() * found.norm);
    }
    Ok(())
}
