use super::*;

#[test]
fn held_out_documents_are_disjoint_and_seeded() {
    let documents: Vec<Vec<u32>> = (0..50).map(|i| vec![i, i]).collect();
    let corpus = Corpus::documents(Vocabulary::numbered(50).unwrap(), documents).unwrap();
    let split = |seed| {
        let corpus = corpus.clone().hold_out(0.2, seed).unwrap();
        (corpus.train().clone(), corpus.validation().unwrap().clone())
    };
    let (train, held) = split(1);
    assert_eq!((train.tokens(), held.tokens()), (80, 20));
    let mut all: Vec<u32> = train.iter().chain(held.iter()).map(|d| d[0]).collect();
    all.sort_unstable();
    assert_eq!(all, (0..50).collect::<Vec<_>>());
    assert_eq!(split(1), (train.clone(), held));
    assert_ne!(split(2).0, train);
}

#[test]
fn bad_tokens_and_short_parts_are_refused() {
    let names = || Vocabulary::numbered(4).unwrap();
    let error = Corpus::stream(names(), vec![0, 1, 4])
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "corpus, sequence 0, position 2: token 4 is not in a vocabulary of 4"
    );
    assert!(Corpus::stream(names(), vec![]).is_err());
    assert!(Corpus::documents(names(), vec![vec![1], vec![]]).is_err());
    let corpus = Corpus::stream(names(), vec![0; 8]).unwrap();
    assert!(corpus.clone().hold_out(f64::NAN, 0).is_err());
    assert!(corpus.clone().hold_out(0.05, 0).is_err());
    assert!(
        corpus
            .with_validation(TokenSequences::stream(vec![9, 9]))
            .is_err()
    );
}

/// As a file and in memory: the same corpus, parts and all.
#[test]
fn a_file_of_tokens_is_the_corpus_it_was_made_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("corpus.refrain");
    let names = Vocabulary::numbered(50).unwrap();
    let documents: Vec<Vec<u32>> = (0..40)
        .map(|i| (0..i % 7).map(|j| (i * 3 + j) % 50).collect())
        .collect();
    let mut writer = CorpusWriter::documents(&path, names.clone()).unwrap();
    for document in &documents {
        writer.push(document).unwrap();
    }
    let written = writer.finish().unwrap();
    let memory = Corpus::documents(names.clone(), documents.clone()).unwrap();
    let opened = Corpus::open(&path).unwrap();
    for corpus in [&written, &opened] {
        assert_eq!(corpus.train(), memory.train());
        assert_eq!(corpus.vocabulary(), memory.vocabulary());
        assert_eq!(corpus.train().fingerprint(), memory.train().fingerprint());
    }
    let parts = |corpus: &Corpus| {
        let corpus = corpus.clone().hold_out(0.3, 5).unwrap();
        (corpus.train().clone(), corpus.validation().unwrap().clone())
    };
    assert_eq!(parts(&opened), parts(&memory));
    let long = documents.iter().filter(|d| d.len() > 1);
    let whole: Vec<u32> = long.flatten().copied().collect();
    let packed = opened.packed();
    let every: Vec<u32> = packed.train().iter().flatten().copied().collect();
    assert!(packed.train().is_stream());
    assert_eq!(every, whole);

    let mut writer = CorpusWriter::stream(&path, names.clone()).unwrap();
    for document in &documents {
        writer.push(document).unwrap();
    }
    let stream = writer.finish().unwrap();
    assert_eq!(stream.train(), &TokenSequences::stream(documents.concat()));
    // What was beside is gone.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn packed_parts_keep_their_documents() {
    let names = Vocabulary::numbered(9).unwrap();
    let documents = (0..8).map(|i| vec![i, i, 8]).collect();
    let corpus = Corpus::documents(names, documents).unwrap();
    let corpus = corpus.hold_out(0.5, 2).unwrap();
    let documents = corpus.train().clone();
    let packed = corpus.packed();
    let stream: Vec<u32> = documents.iter().flatten().copied().collect();
    assert_eq!(packed.train(), &TokenSequences::stream(stream));
    assert!(packed.validation().unwrap().is_stream());
    assert_eq!(packed.clone().packed().train(), packed.train());
}

#[test]
fn broken_files_and_bad_pushes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("corpus.refrain");
    let names = Vocabulary::numbered(4).unwrap();
    let mut writer = CorpusWriter::documents(&path, names.clone()).unwrap();
    writer.push(&[0, 1]).unwrap();
    let error = writer.push(&[1, 4]).unwrap_err().to_string();
    assert_eq!(
        error,
        "push 1, position 1: token 4 is not in a vocabulary of 4"
    );
    drop(writer);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let empty = CorpusWriter::stream(&path, names.clone()).unwrap();
    assert!(matches!(empty.finish(), Err(Error::TooShort { .. })));
    assert!(!path.exists());
    assert!(CorpusWriter::stream(folder.path().join("no/such"), names.clone()).is_err());

    let write = |tokens: &[u32], ends: &[u64]| {
        let header = serde_json::json!({ "stream": false, "tokens": "external" });
        refrain_core::ModelWriter::new("sequence.corpus", 1)
            .config(&header)
            .and_then(|w| w.ids("tokens", names.ids()))
            .and_then(|w| w.u32("tokens", &[tokens.len()], tokens))
            .and_then(|w| w.u64("ends", &[ends.len()], ends))
            .and_then(|w| w.write(&path))
            .unwrap();
        Corpus::open(&path).map(|corpus| corpus.train().len())
    };
    assert_eq!(write(&[0, 1, 2, 3], &[2, 4]).unwrap(), 2);
    assert!(matches!(
        write(&[0, 1, 2, 9], &[2, 4]),
        Err(Error::Token { token: 9, .. })
    ));
    for ends in [&[3, 2][..], &[2, 5], &[u64::MAX], &[4, 3, 4]] {
        let error = write(&[0, 1, 2, 3], ends).unwrap_err().to_string();
        assert!(error.contains("not in order"), "{error}");
    }
    write(&[0, 1, 2, 3], &[2, 4]).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for keep in [0, 7, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..keep]).unwrap();
        assert!(Corpus::open(&path).is_err(), "{keep} bytes");
    }
}
