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
//! assert_eq!(cut("床前明月光，", tokenize::characters), ["床", "前", "明", "月", "光"]);
//! ```

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
