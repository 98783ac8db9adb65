//! Texts with their labels.

use std::path::Path;

use refrain_core::Error as CoreError;

use crate::{Error, Result};

/// A text in tokens, and its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// One, or several where labels do not exclude each other.
    pub labels: Vec<String>,
    /// The text.
    pub tokens: Vec<String>,
}

impl Example {
    /// A text with one label.
    pub fn new<T: Into<String>>(
        label: impl Into<String>,
        tokens: impl IntoIterator<Item = T>,
    ) -> Self {
        Self {
            labels: vec![label.into()],
            tokens: tokens.into_iter().map(Into::into).collect(),
        }
    }

    /// Reads lines in fastText's form: `__label__sport __label__news the text`, labels first; each
    /// line is an example, empty ones are skipped.
    ///
    /// # Errors
    /// When the file cannot be read; [`Error::Vectors`] naming the first line without a label.
    pub fn read(
        path: impl AsRef<Path>,
        tokenizer: impl Fn(&str, &mut dyn FnMut(&str)),
    ) -> Result<Vec<Self>> {
        const MARK: &str = "__label__";
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| CoreError::io(path, e))?;
        let mut all = Vec::new();
        for (number, line) in (1..).zip(String::from_utf8_lossy(&bytes).lines()) {
            let (mut labels, mut rest) = (Vec::new(), line.trim());
            while let Some(marked) = rest.strip_prefix(MARK) {
                let (label, text) = marked
                    .split_once(char::is_whitespace)
                    .unwrap_or((marked, ""));
                labels.push(label.to_string());
                rest = text.trim_start();
            }
            if labels.is_empty() {
                if rest.is_empty() {
                    continue;
                }
                return Err(Error::Vectors {
                    origin: path.display().to_string(),
                    place: format!("line {number}"),
                    reason: format!("expected {MARK} and a label first"),
                });
            }
            let mut tokens = Vec::new();
            tokenizer(rest, &mut |token| tokens.push(token.to_string()));
            all.push(Self { labels, tokens });
        }
        Ok(all)
    }
}
