//! What the tests of formats share.

use proptest::prelude::*;
use proptest::sample::Index;
use rand::RngExt;

use crate::Embeddings;

/// So many values between −1 and 1, others at every call of the function.
pub(super) fn draws() -> impl FnMut(usize) -> Vec<f32> {
    let mut rng = refrain_core::rng::stream(1, 2);
    move |count| (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Words `word0`, `word1` and so on.
pub(super) fn numbered(
    count: usize,
    dim: usize,
    draw: &mut impl FnMut(usize) -> Vec<f32>,
) -> Embeddings {
    let rows = (0..count).map(|i| (format!("word{i}"), draw(dim)));
    Embeddings::from_vectors(rows).unwrap()
}

/// What was quantised and read again: the same words, about the same vectors, and n-grams where there were
/// any.
pub(super) fn assert_nearly_the_same(again: &Embeddings, words: &Embeddings) {
    assert_eq!(again.vocabulary().ids(), words.vocabulary().ids());
    let kept = |words: &Embeddings| words.subwords().map(|s| s.kept().map(<[u32]>::to_vec));
    assert_eq!(kept(again), kept(words));
    let (mut off, mut all) = (0.0, 0.0);
    for word in ["word1", "word333", "word599", "sword", "wordy"] {
        let (Some(a), Some(b)) = (again.embed(word), words.embed(word)) else {
            continue;
        };
        off += a.iter().zip(&*b).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
        all += b.iter().map(|v| v * v).sum::<f32>();
    }
    assert!(off < 0.03 * all, "{off} of {all}");
}

/// A file with some bytes changed, anywhere or near its beginning, and often cut short.
pub(super) fn broken(file: &[u8]) -> impl Strategy<Value = Vec<u8>> {
    const EARLY: usize = 120;
    let file = file.to_vec();
    let edit = (any::<Index>(), any::<bool>(), any::<u8>());
    let edits = proptest::collection::vec(edit, 1..8);
    (edits, proptest::option::of(any::<Index>())).prop_map(move |(edits, keep)| {
        let mut bytes = file.clone();
        for (at, early, value) in edits {
            let within = if early {
                EARLY.min(bytes.len())
            } else {
                bytes.len()
            };
            bytes[at.index(within)] = value;
        }
        if let Some(keep) = keep {
            bytes.truncate(keep.index(bytes.len() + 1));
        }
        bytes
    })
}
