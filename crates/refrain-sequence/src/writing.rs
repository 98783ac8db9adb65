//! Text in, text out: a sampler, a model and a tokenizer.

use crate::{Finish, Generation, LanguageModel, Result, Sampler, TextStream, Tokenizer};

/// Text as it is written, see [`Sampler::write`]: an iterator over pieces that are whole characters.
pub struct Writing<'a> {
    tokens: Generation<'a>,
    decoder: TextStream<'a>,
    stops: Vec<String>,
    /// Text that may turn out to be the beginning of a stop string.
    held: String,
    finish: Option<Finish>,
}

impl std::fmt::Debug for Writing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writing")
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

/// A text that was written.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Written {
    /// The text after the prompt, without the stop string or token that ended it.
    pub text: String,
    /// The tokens drawn, with those of a stop string.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
}

impl Sampler {
    /// Continues a text; ends before the first of `stops`, which no piece holds a part of, and before a
    /// stop token.
    ///
    /// ```no_run
    /// # use refrain_sequence::{LanguageModel, Sampler, Tokenizer};
    /// # fn f(model: &dyn LanguageModel, tokenizer: &dyn Tokenizer) -> refrain_sequence::Result<()> {
    /// for piece in Sampler::default().write(model, tokenizer, "Once upon a time", &["THE END"])? {
    ///     print!("{}", piece?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Sampler::generate`], and those of the tokenizer.
    pub fn write<'a>(
        &self,
        model: &'a dyn LanguageModel,
        tokenizer: &'a dyn Tokenizer,
        prompt: &str,
        stops: &[&str],
    ) -> Result<Writing<'a>> {
        let prompt = tokenizer.encode(prompt)?;
        let stops = stops.iter().filter(|stop| !stop.is_empty());
        Ok(Writing {
            tokens: self.stream(model, &prompt)?,
            decoder: TextStream::after(tokenizer, &prompt),
            stops: stops.map(|stop| stop.to_string()).collect(),
            held: String::new(),
            finish: None,
        })
    }
}

impl Writing<'_> {
    /// Writes the rest.
    ///
    /// # Errors
    /// As [`Sampler::write`].
    pub fn finish(mut self) -> Result<Written> {
        let mut text = String::new();
        for piece in self.by_ref() {
            text.push_str(&piece?);
        }
        Ok(Written {
            text,
            tokens: self.tokens.text().to_vec(),
            finish: self.finish.unwrap_or(Finish::Length),
        })
    }

    /// The text that can be given out now: up to a stop string, or to what may become one.
    fn release(&mut self) -> String {
        let first = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop))
            .min();
        if let Some(end) = first {
            self.finish = Some(Finish::Stop);
            self.held.truncate(end);
            return std::mem::take(&mut self.held);
        }
        let bytes = self.held.as_bytes();
        let may_begin = |&at: &usize| {
            let rest = &bytes[at..];
            self.stops
                .iter()
                .any(|stop| stop.as_bytes().starts_with(rest))
        };
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = bytes.len().saturating_sub(longest);
        let mut places = (from..bytes.len()).filter(|&at| self.held.is_char_boundary(at));
        let end = places.find(may_begin).unwrap_or(bytes.len());
        let rest = self.held.split_off(end);
        std::mem::replace(&mut self.held, rest)
    }
}

impl Iterator for Writing<'_> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.finish.is_none() {
            let piece = match self.tokens.next() {
                Some(Ok(token)) if self.tokens.ended_by(token.token) => Ok(String::new()),
                Some(Ok(token)) => self.decoder.push(token.token),
                Some(Err(error)) => Err(error),
                None => {
                    self.held.push_str(&self.decoder.finish());
                    let text = self.release();
                    let text = text + &std::mem::take(&mut self.held);
                    let finish = self.tokens.ended();
                    self.finish = self.finish.or(finish).or(Some(Finish::Length));
                    return (!text.is_empty()).then_some(Ok(text));
                }
            };
            match piece {
                Ok(piece) => self.held.push_str(&piece),
                Err(error) => {
                    self.finish = Some(Finish::Length);
                    return Some(Err(error));
                }
            }
            let text = self.release();
            if !text.is_empty() {
                return Some(Ok(text));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::sampler::tests::Table;
    use crate::{Bytes, Error, Finish, Sampler, Tokenizer};

    /// A model that says a text again and again; each of its characters stands in it once.
    fn saying(text: &str) -> Table {
        let bytes = text.as_bytes();
        let mut rows = vec![vec![0.0; 256]; 256];
        for (i, &byte) in bytes.iter().enumerate() {
            rows[usize::from(byte)][usize::from(bytes[(i + 1) % bytes.len()])] = 50.0;
        }
        Table(rows)
    }

    #[test]
    fn stop_strings_end_the_text_and_no_piece_holds_a_part_of_them() {
        let model = saying("abcdefghé.");
        let bytes = Bytes::new();
        let sampler = Sampler {
            max_tokens: 40,
            ..Sampler::default()
        };
        let written = |stops: &[&str]| sampler.write(&model, &bytes, "a", stops).unwrap();
        let text = written(&["gh", "defX", "é."]).finish().unwrap();
        assert_eq!((text.text.as_str(), text.finish), ("bcdef", Finish::Stop));
        assert_eq!(bytes.decode(&text.tokens).unwrap(), "bcdefgh");
        for piece in written(&["efg"]) {
            assert!(!piece.unwrap().contains('e'));
        }
        let whole = written(&["é.b", ""]).finish().unwrap();
        assert_eq!(whole.finish, Finish::Length);
        assert!(whole.text.starts_with("bcdefghé.abc"));
        // What was held back comes at the end.
        let some = Sampler {
            max_tokens: 3,
            ..sampler.clone()
        };
        let text = some
            .write(&model, &bytes, "a", &["cdefg"])
            .unwrap()
            .finish()
            .unwrap();
        assert_eq!((text.text.as_str(), text.finish), ("bcd", Finish::Length));
        // A stop token is no part of the text.
        let stop = Sampler {
            stop: vec![u32::from(b'e')],
            ..sampler
        };
        let text = stop
            .write(&model, &bytes, "a", &[])
            .unwrap()
            .finish()
            .unwrap();
        assert_eq!((text.text.as_str(), text.finish), ("bcd", Finish::Stop));
        let error = stop.write(&model, &bytes, "", &[]).unwrap_err();
        assert!(matches!(error, Error::TooShort { .. }));
    }
}
