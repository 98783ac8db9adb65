//! Ways to cut a line of text into tokens. Any closure of the same shape does as well, and is the
//! place for a segmenter of your own: it is given a line and calls `emit` with each token.
//!
//! ```
//! use refrain_embeddings::tokenize;
//! let cut = |line: &str, how: fn(&str, &mut dyn FnMut(&str))| {
//!     let mut tokens = Vec::new();
//!     how(line, &mut |token| tokens.push(token.to_string()));
//!     tokens
//! };
//! assert_eq!(cut("Call me Ishmael.", tokenize::whitespace), ["Call", "me", "Ishmael."]);
//! assert_eq!(cut("“Don't,” said É. Poe", tokenize::words), ["don't", "said", "é", "poe"]);
//! assert_eq!(cut("Prices rose 3.5% at AT&T's shop", tokenize::unicode_words), ["prices", "rose", "3.5", "at", "at", "t's", "shop"]);
//! assert_eq!(cut("床前明月光，", tokenize::characters), ["床", "前", "明", "月", "光"]);
//! ```
//!
//! | text | tokenizer |
//! |---|---|
//! | cut already | [`whitespace`] |
//! | English and its like | [`words`] |
//! | any script with spaces, numbers kept whole | [`unicode_words`] |
//! | Chinese, Japanese | [`characters`], [`character_ngrams`]; by a dictionary `jieba` (feature `jieba`) |

use unicode_segmentation::UnicodeSegmentation;

/// Tokens between white space, as they stand.
pub fn whitespace(line: &str, emit: &mut dyn FnMut(&str)) {
    for token in line.split_whitespace() {
        emit(token);
    }
}

/// Words in lower case: runs of letters and digits, with apostrophes inside them kept.
pub fn words(line: &str, emit: &mut dyn FnMut(&str)) {
    let mut word = String::new();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_alphanumeric() {
            if c.is_ascii() {
                word.push(c.to_ascii_lowercase());
            } else {
                word.extend(c.to_lowercase());
            }
            continue;
        }
        let joins = matches!(c, '\'' | '’') && chars.peek().is_some_and(|c| c.is_alphanumeric());
        if joins && !word.is_empty() {
            word.push('\'');
        } else if !word.is_empty() {
            emit(&word);
            word.clear();
        }
    }
    if !word.is_empty() {
        emit(&word);
    }
}

/// Words in lower case, as the boundaries of Unicode Standard Annex #29 cut them: numbers such as `3.5`
/// and abbreviations such as `e.g` stay whole, emoji and punctuation are left out, and each Chinese
/// character is a word.
pub fn unicode_words(line: &str, emit: &mut dyn FnMut(&str)) {
    let mut word = String::new();
    for token in line.unicode_words() {
        word.clear();
        word.extend(token.chars().flat_map(char::to_lowercase));
        emit(&word);
    }
}

/// Each run of `n` letters or digits that nothing interrupts, in lower case: pairs of characters
/// (`n = 2`) stand for many words of Chinese.
///
/// ```
/// use refrain_embeddings::tokenize;
/// let mut tokens = Vec::new();
/// tokenize::character_ngrams(2)("床前，明月光", &mut |token| tokens.push(token.to_string()));
/// assert_eq!(tokens, ["床前", "明月", "月光"]);
/// ```
pub fn character_ngrams(n: usize) -> impl Fn(&str, &mut dyn FnMut(&str)) + Clone + Sync + Send {
    move |line: &str, emit: &mut dyn FnMut(&str)| {
        let line = line.to_lowercase();
        for run in line.split(|c: char| !c.is_alphanumeric()) {
            let starts: Vec<usize> = run.char_indices().map(|(at, _)| at).collect();
            for (at, &start) in starts
                .iter()
                .enumerate()
                .take((starts.len() + 1).saturating_sub(n))
            {
                let end = starts.get(at + n).copied().unwrap_or(run.len());
                match run.get(start..end) {
                    Some(token) if !token.is_empty() => emit(token),
                    _ => {}
                }
            }
        }
    }
}

/// Words of Chinese, as the dictionary and the hidden Markov model of jieba cut them; of what is not
/// Chinese, runs of letters and digits in lower case. The dictionary takes a moment to load: make one
/// tokenizer and use it for all lines.
///
/// ```
/// use refrain_embeddings::tokenize;
/// let jieba = tokenize::jieba();
/// let mut tokens = Vec::new();
/// jieba("我们来到北京清华大学。", &mut |token| tokens.push(token.to_string()));
/// assert_eq!(tokens, ["我们", "来到", "北京", "清华大学"]);
/// ```
#[cfg(feature = "jieba")]
pub fn jieba() -> impl Fn(&str, &mut dyn FnMut(&str)) + Clone + Sync + Send {
    let jieba = std::sync::Arc::new(jieba_rs::Jieba::new());
    move |line: &str, emit: &mut dyn FnMut(&str)| {
        for token in jieba.cut(line, true) {
            if token.word.chars().any(char::is_alphanumeric) {
                emit(&token.word.to_lowercase());
            }
        }
    }
}

/// One token for each letter or digit, in lower case: for Chinese, and for other scripts that put
/// no spaces between words.
pub fn characters(line: &str, emit: &mut dyn FnMut(&str)) {
    let mut token = String::new();
    for c in line.chars().filter(|c| c.is_alphanumeric()) {
        token.clear();
        token.extend(c.to_lowercase());
        emit(&token);
    }
}
