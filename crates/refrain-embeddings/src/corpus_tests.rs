use std::io::Write;

use super::*;
use crate::tokenize;

struct List(Vec<String>);

impl Sink for List {
    fn token(&mut self, token: &str) -> Result<()> {
        self.0.push(token.to_string());
        Ok(())
    }
    fn end(&mut self) -> Result<()> {
        self.0.push("/".to_string());
        Ok(())
    }
}

fn list(corpus: &Corpus<'_>) -> String {
    let mut sink = List(Vec::new());
    corpus.visit(&mut sink).unwrap();
    sink.0.join(" ")
}

#[test]
fn lines_paragraphs_and_files_agree() {
    let text = "one two\nthree\n\nfour";
    let lines = Corpus::from_text(text, tokenize::whitespace);
    assert_eq!(list(&lines), "one two / three / / four /");
    assert_eq!(list(&lines), list(&lines), "a corpus can be read again");
    let paragraphs = Corpus::from_paragraphs(text, tokenize::whitespace);
    assert_eq!(list(&paragraphs), "one two three / four /");

    let folder = tempfile::tempdir().unwrap();
    let (plain, packed) = (folder.path().join("a.txt"), folder.path().join("a.txt.gz"));
    std::fs::write(&plain, text).unwrap();
    let mut gz = flate2::write::GzEncoder::new(File::create(&packed).unwrap(), Default::default());
    gz.write_all(text.as_bytes()).unwrap();
    gz.finish().unwrap();
    let files = Corpus::from_files([&plain, &packed], tokenize::whitespace);
    assert_eq!(list(&files), [list(&lines), list(&lines)].join(" "));

    // A packed file that was cut, or is none, is an error that names it.
    let whole = std::fs::read(&packed).unwrap();
    for bytes in [&whole[..whole.len() - 9], &whole[..15], b"no gzip"] {
        let broken = folder.path().join("broken.gz");
        std::fs::write(&broken, bytes).unwrap();
        let corpus = Corpus::from_files([&broken], tokenize::whitespace);
        let error = corpus.visit(&mut List(Vec::new())).unwrap_err();
        assert!(error.to_string().contains("broken.gz"), "{error}");
        std::fs::remove_file(&broken).unwrap();
    }

    // A folder is its files, in the order of their names.
    let within = folder.path().join("a");
    std::fs::create_dir(&within).unwrap();
    std::fs::write(within.join("b.txt"), "five").unwrap();
    std::fs::write(within.join(".hidden"), "six").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path(), within.join("circle")).unwrap();
    let whole = Corpus::from_files([folder.path()], tokenize::whitespace);
    assert_eq!(
        list(&whole),
        ["five /", &list(&lines), &list(&lines)].join(" ")
    );

    std::fs::write(&plain, b"caf\xe9 noir").unwrap();
    assert_eq!(
        list(&Corpus::from_files([&plain], tokenize::words)),
        "caf noir /"
    );
    // No file tells the length of what others write into it.
    #[cfg(target_os = "linux")]
    {
        let status = Corpus::from_files(["/proc/self/status"], tokenize::whitespace);
        assert!(list(&status).contains("VmPeak"));
    }
    let error = Corpus::from_files(["/no/such.txt"], tokenize::words)
        .visit(&mut List(Vec::new()))
        .unwrap_err();
    assert!(error.to_string().contains("/no/such.txt"), "{error}");
}

#[test]
fn sessions_are_cut_at_pauses() {
    let mut log = Interactions::builder();
    for (user, item, time) in [
        ("ann", "c", 30),
        ("ann", "a", 10),
        ("ann", "b", 12),
        ("bob", "a", 5),
        ("ann", "d", 31),
    ] {
        log.push(user, item, 1.0, Some(time)).unwrap();
    }
    let log = log.build().unwrap();
    let sessions = Corpus::from_interactions(&log, Some(10)).unwrap();
    assert_eq!(list(&sessions), "a b / c d / a /");
    let whole = Corpus::from_interactions(&log, None).unwrap();
    assert_eq!(list(&whole), "a b c d / a /");
    assert!(Corpus::from_interactions(&log, Some(-1)).is_err());
}
