//! Titles: the same spelling for all.

use refrain_music::Rhythm;

/// `ANNIE HUGHES' -- JIG` becomes `Annie Hughes' Jig`, `Piper's Chair, The` `The Piper's Chair`.
pub(crate) fn clean(title: &str) -> String {
    let mut text = title
        .replace('’', "'")
        .replace("--", " ")
        .replace(['\t', '"'], " ");
    // `JIG., THE`: the article went to the end of a title that had a full stop.
    text = text.replace(".,", ",");
    text = text.replace("- JIG", " JIG").replace(" - ", " ");
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for article in ["The", "A", "An", "THE", "A", "AN"] {
        if let Some(head) = text.strip_suffix(&format!(", {article}")) {
            text = format!("{article} {head}");
        }
    }
    let text = text.trim_end_matches('.');
    let small_words = !text.chars().any(char::is_lowercase);
    let words = text.split(' ').enumerate().map(|(i, word)| {
        let letters = word.chars().filter(|c| c.is_alphabetic()).count();
        let shouted = letters > 1 && !word.chars().any(char::is_lowercase);
        if shouted || small_words {
            capitalise(word, i > 0 && small_words)
        } else {
            word.into()
        }
    });
    words.collect::<Vec<String>>().join(" ")
}

/// One word in small letters but for its first; little words stay small.
fn capitalise(word: &str, may_stay_small: bool) -> String {
    const SMALL: [&str; 16] = [
        "a", "an", "and", "at", "by", "de", "for", "from", "in", "it", "o'", "of", "on", "the",
        "to", "with",
    ];
    let word = word.to_lowercase();
    if may_stay_small && SMALL.contains(&word.as_str()) {
        return word;
    }
    let mut out = String::new();
    let mut start = true;
    for c in word.chars() {
        if start && c.is_alphabetic() {
            out.extend(c.to_uppercase());
            start = false;
        } else {
            out.push(c);
        }
        start |= c == '-' || c == '(';
    }
    for prefix in ["Mc", "O'", "D'"] {
        if let Some(rest) = out.strip_prefix(prefix)
            && rest.len() > 2
        {
            let mut rest = rest.chars();
            let first: String = rest
                .next()
                .into_iter()
                .flat_map(char::to_uppercase)
                .collect();
            out = format!("{prefix}{first}{}", rest.as_str());
        }
    }
    out
}

/// The kind of dance a title names, the last one named.
pub(crate) fn rhythm(title: &str) -> Option<Rhythm> {
    let lower = title.to_lowercase();
    let words = [
        ("highland fling", Rhythm::Fling),
        ("walk around", Rhythm::Walkaround),
        ("contra dance", Rhythm::ContraDance),
        ("slip jig", Rhythm::SlipJig),
        ("slipjig", Rhythm::SlipJig),
        ("quickstep", Rhythm::Quickstep),
        ("schottische", Rhythm::Schottische),
        ("strathspey", Rhythm::Strathspey),
        ("hornpipe", Rhythm::Hornpipe),
        ("quadrille", Rhythm::Quadrille),
        ("mazurka", Rhythm::Mazurka),
        ("waltz", Rhythm::Waltz),
        ("polka", Rhythm::Polka),
        ("march", Rhythm::March),
        ("fling", Rhythm::Fling),
        ("clog", Rhythm::Clog),
        ("reel", Rhythm::Reel),
        ("jig", Rhythm::Jig),
    ];
    let found = |name: &str| {
        lower.rfind(name).filter(|at| {
            let after = lower[at + name.len()..].chars().next();
            let before = lower[..*at].chars().next_back();
            !after.is_some_and(char::is_alphabetic) && !before.is_some_and(char::is_alphabetic)
        })
    };
    words
        .into_iter()
        .filter_map(|(name, r)| Some((found(name)?, r)))
        .max_by_key(|x| x.0)
        .map(|x| x.1)
}
