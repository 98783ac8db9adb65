use proptest::prelude::*;
use rand::RngExt;

use super::*;

/// Words around 40 centres, and one of zeros.
fn words(count: usize, dim: usize) -> Embeddings {
    let mut rng = refrain_core::rng::stream(3, 4);
    let mut draw = |size: f32| -> Vec<f32> {
        let values = (0..dim).map(|_| rng.random_range(-size..size));
        values.collect()
    };
    let centres: Vec<Vec<f32>> = (0..40).map(|_| draw(1.0)).collect();
    let vectors = (0..count).map(|i| {
        let near = draw(0.7);
        let sum = centres[i % 40].iter().zip(near);
        let size = if i == 7 { 0.0 } else { 1.0 + (i % 5) as f32 };
        (
            format!("w{i}"),
            sum.map(|(a, b)| (a + b) * size).collect::<Vec<f32>>(),
        )
    });
    Embeddings::from_vectors(vectors).unwrap()
}

fn all() -> [Quantization; 3] {
    let product = |parts| Quantization::Product { parts, seed: 1 };
    [Quantization::Int8, product(16), product(5)]
}

/// The share of the ten nearest that are found.
fn recall(words: &Embeddings, small: &QuantizedEmbeddings) -> f64 {
    let mut found = 0;
    for word in words.vocabulary().ids().iter().step_by(97) {
        let exact = words.neighbours(word, 10).unwrap();
        let near = small.neighbours(word, 10).unwrap();
        let same = near
            .iter()
            .filter(|n| exact.iter().any(|e| e.word == n.word));
        found += same.count();
    }
    found as f64 / (10 * words.len().div_ceil(97)) as f64
}

#[test]
fn fewer_bytes_are_nearly_the_same_vectors() {
    let words = words(5000, 32);
    let full = words.vectors().len() * 4;
    for (to, (least, within, bytes)) in
        all()
            .into_iter()
            .zip([(0.97, 0.01, 0.32), (0.5, 0.25, 0.45), (0.1, 0.8, 0.2)])
    {
        let small = words.quantized(to).unwrap();
        assert_eq!((small.len(), small.dim()), (5000, 32));
        assert!((small.bytes() as f64) < bytes * full as f64);
        let recall = recall(&words, &small);
        assert!(recall >= least, "{to:?}: {recall}");
        let again = small.to_embeddings().unwrap();
        for (word, vector) in words.iter().step_by(53) {
            let near = small.vector(word).unwrap();
            let off: f32 = near.iter().zip(vector).map(|(a, b)| (a - b).powi(2)).sum();
            let length: f32 = vector.iter().map(|v| v * v).sum();
            assert!(off.sqrt() <= within * length.sqrt() + 1e-6, "{to:?} {word}");
            assert_eq!(again.vector(word).unwrap(), near);
        }
        assert_eq!(small.vector("w7").unwrap(), vec![0.0; 32]);
        let kept = small.nearest_where(words.row(0).unwrap(), 3, |_, word| word.ends_with('5'));
        assert!(kept.unwrap().iter().all(|n| n.word.ends_with('5')));
    }
}

#[test]
fn round_trip_and_bad_questions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.refrain");
    let words = words(300, 20);
    for to in all() {
        let small = words.quantized(to).unwrap();
        small.save(&path).unwrap();
        assert_eq!(QuantizedEmbeddings::load(&path).unwrap(), small);
        assert!(small.neighbours("nobody", 3).is_err() && small.vector("nobody").is_none());
        assert!(small.nearest(&[1.0; 3], 3).is_err());
        assert!(small.nearest(&[f32::NAN; 20], 3).unwrap().len() <= 3);
        let none = Embeddings::from_vectors(Vec::<(&str, [f32; 20])>::new()).unwrap();
        assert!(none.quantized(Quantization::Int8).unwrap().is_empty());
    }
    for parts in [0, 21] {
        let to = Quantization::Product { parts, seed: 1 };
        assert!(matches!(words.quantized(to), Err(Error::Config { .. })));
    }
    let wide = Embeddings::from_vectors([("a", vec![1.0; 1 << 17])]).unwrap();
    assert!(matches!(
        wide.quantized(Quantization::Int8),
        Err(Error::Config { .. })
    ));
    assert!(Embeddings::load(&path).is_err(), "another kind of file");
}

proptest! {
    #[test]
    fn hostile_files_never_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let words = words(9, 6);
        for to in [Quantization::Int8, Quantization::Product { parts: 2, seed: 1 }] {
            let mut bytes = words.quantized(to).unwrap().writer().unwrap().to_bytes().unwrap();
            for (at, value) in &edits {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            let Ok(file) = ModelFile::from_bytes(bytes) else { continue };
            if let Ok(small) = QuantizedEmbeddings::from_file(&file) {
                let _ = small.nearest(&[1.0; 6], 3);
                let _ = small.to_embeddings();
            }
        }
    }
}
