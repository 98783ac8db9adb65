//! Files of every model with some bytes changed: opening and using them gives errors or answers, and never
//! a panic.

use std::path::Path;

use rand::RngExt;
use refrain_core::{Monitor, rng};
use refrain_embeddings::{
    Corpus, DocumentVectors, Documents, Embeddings, Example, Glove, GloveTraining, Ngrams,
    Objective, Quantization, QuantizedEmbeddings, Result, SentenceVectors, TextClassifier,
    TextClassifierModel, TextClassifierTraining, Word2Vec, Word2VecTraining,
};

use super::{blocks, small};

const CASES: u64 = 300;

/// Opens and uses `CASES` copies of a file with a few bytes changed: in half of them digits of the header,
/// so that it stays one.
fn spoil(path: &Path, mut uses: impl FnMut(&Path) -> Result<()>) {
    let whole = std::fs::read(path).unwrap();
    uses(path).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let digits: Vec<usize> = (8..header)
        .filter(|&at| whole[at].is_ascii_digit())
        .collect();
    let (mut opened, copy) = (0, path.with_extension("spoilt"));
    for case in 0..CASES {
        let mut rng = rng::stream(case, 5);
        let mut bytes = whole.clone();
        for _ in 0..rng.random_range(1..4) {
            if case % 2 == 0 {
                let at = digits[rng.random_range(0..digits.len())];
                bytes[at] = b'0' + rng.random_range(0..10u8);
            } else {
                let at = rng.random_range(8..bytes.len());
                bytes[at] = [0, 0xff, 0x7f, rng.random::<u8>()][rng.random_range(0..4)];
            }
        }
        std::fs::write(&copy, &bytes).unwrap();
        opened += u64::from(uses(&copy).is_ok());
    }
    assert!(opened > CASES / 50 && opened < CASES, "{opened} opened");
}

#[test]
fn trainings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.refrain");
    let corpus = Corpus::from_sentences(blocks(2, 5, 40)).unwrap();
    let monitor = Monitor::silent();
    for objective in [Objective::NegativeSampling, Objective::HierarchicalSoftmax] {
        let ngrams = Ngrams {
            buckets: 20,
            ..Ngrams::default()
        };
        let config = Word2Vec {
            dim: 4,
            epochs: 2,
            objective,
            ngrams: Some(ngrams),
            ..small()
        };
        config.start(&corpus).unwrap().save(&path).unwrap();
        spoil(&path, |path| {
            let mut training = Word2VecTraining::load(path)?;
            training.epoch(&corpus, &monitor)?;
            training.finish()?.neighbours("b0w1", 3)?;
            Ok(())
        });
    }
    // A checkpoint says how many threads there are; 0 is no number of them.
    let mut bytes = std::fs::read(&path).unwrap();
    let place = bytes.windows(11).position(|w| w == br#"threads\":2"#);
    bytes[place.unwrap() + 10] = b'0';
    std::fs::write(&path, bytes).unwrap();
    let mut training = Word2VecTraining::load(&path).unwrap();
    training.epoch(&corpus, &monitor).unwrap();

    let config = Glove {
        dim: 4,
        epochs: 2,
        threads: 2,
        memory: 1 << 20,
        ..Glove::default()
    };
    let training = config.start(&corpus, &monitor).unwrap();
    training.save(&path).unwrap();
    spoil(&path, |path| {
        let mut training = GloveTraining::load(path)?;
        training.epoch(&corpus, &monitor)?;
        training.finish()?.neighbours("b0w1", 3)?;
        Ok(())
    });
}

#[test]
fn classifiers_and_documents() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.refrain");
    let monitor = Monitor::silent();
    let texts = blocks(2, 5, 40);
    let label = |text: &Vec<String>| text[0].get(..2).unwrap_or_default().to_string();
    let example = |text: &Vec<String>| Example::new(label(text), text);
    let examples: Vec<Example> = texts.iter().map(example).collect();
    let config = TextClassifier {
        dim: 4,
        epochs: 2,
        buckets: 30,
        ..TextClassifier::default()
    };
    let training = config.start(&examples).unwrap();
    training.save(&path).unwrap();
    spoil(&path, |path| {
        let mut training = TextClassifierTraining::load(path)?;
        training.epoch(&examples, &monitor)?;
        training.finish()?.predict(&["b0w1", "b1w2"], 2);
        Ok(())
    });
    config.fit(&examples).unwrap().save(&path).unwrap();
    spoil(&path, |path| {
        let model = TextClassifierModel::load(path)?;
        model.predict(&["b0w1", "b1w2"], 2);
        model.telling_words("b1", 2);
        model.extend(&examples, 1)?.epoch(&examples, &monitor)?;
        Ok(())
    });
    let config = Word2Vec {
        dim: 4,
        epochs: 2,
        documents: Some(Documents::default()),
        ..small()
    };
    let corpus = Corpus::from_sentences(&texts).unwrap();
    config.fit_documents(&corpus).unwrap().save(&path).unwrap();
    spoil(&path, |path| {
        let model = DocumentVectors::load(path)?;
        let vector = model.infer(&["b0w1", "b0w2"], 2);
        model.documents().nearest(&vector, 2)?;
        Ok(())
    });
}

#[test]
fn vectors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.refrain");
    let texts = blocks(2, 5, 40);
    let corpus = Corpus::from_sentences(&texts).unwrap();
    let config = Word2Vec {
        dim: 4,
        epochs: 2,
        ..small()
    };
    let words = config.fit(&corpus).unwrap();
    for words in [words.clone(), words.clone().indexed()] {
        words.save(&path).unwrap();
        spoil(&path, |path| {
            let words = Embeddings::load(path)?;
            let _ = words.vocabulary().tokens();
            words.nearest(&[1.0, 0.0, 0.5, -1.0], 3)?;
            let _ = (
                words.folded(),
                words.neighbours("b0w1", 3),
                words.quantized(Quantization::Int8),
            );
            let _ = SentenceVectors::fit(&words, &texts, 1e-3);
            Ok(())
        });
    }
    for to in [
        Quantization::Int8,
        Quantization::Product { parts: 2, seed: 1 },
    ] {
        words.quantized(to).unwrap().save(&path).unwrap();
        spoil(&path, |path| {
            let words = QuantizedEmbeddings::load(path)?;
            words.nearest(&[1.0, 0.0, 0.5, -1.0], 3)?;
            let _ = (words.neighbours("b0w1", 3), words.to_embeddings());
            Ok(())
        });
    }
    let sentences = SentenceVectors::fit(&words, &texts, 1e-3).unwrap();
    sentences.save(&path).unwrap();
    spoil(&path, |path| {
        let sentences = SentenceVectors::load(path)?;
        let _ = sentences.embed(&words, &texts[0]);
        Ok(())
    });
}
