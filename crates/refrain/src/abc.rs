//! Tunes in ABC as texts of tokens; see [`AbcTokenizer`].

use refrain_music::{Detail, Error, Problem, Tune};
use refrain_sequence::{Result, Tokenizer, Vocabulary};

/// ABC in, ABC out, by the tokens of [`refrain_music::Tokenizer`]: what trains a language model on tunes
/// ([`Corpus::texts`](refrain_sequence::Corpus::texts)) and writes with it
/// ([`Sampler::write`](refrain_sequence::Sampler::write)), as on any text.
///
/// A text is one tune, and its tokens end in `<end>`. A header without notes is the beginning of a tune:
/// its tokens are without `<end>`, to be continued, and bar lines after it are not kept. To continue bars
/// that have notes, hand a [`Sampler`](refrain_sequence::Sampler) their tokens less the last. What the tokens cannot say is left out: titles, tempo,
/// and with [`Detail::Melody`] all but one voice; and the header is rewritten, one field a line.
///
/// Decoding joins the tokens, with a space behind bar lines and changes of key, metre and unit in brackets,
/// so that it can be shown token by token. Where the tokens spell a tune, [`Tune::parse`] reads from the
/// text what [`refrain_music::Tokenizer::decode`] reads from the tokens; what a model wrote may spell none,
/// for which there is [`repair`](refrain_music::Tokenizer::repair).
///
/// ```
/// use refrain::AbcTokenizer;
/// use refrain::music::Detail;
/// use refrain::sequence::{TextStream, Tokenizer};
///
/// let abc = AbcTokenizer::new(Detail::Melody)?;
/// let tokens = abc.encode("X:7\nT:A jig\nR:jig\nM:6/8\nL:1/8\nK:D\nA|d2f a^gf|[M:4/4]d8|]\n")?;
/// let text = "X:1\nR:jig\nM:6/8\nL:1/8\nK:D major\nA| d2fa^gf| [M:4/4]d8|] ";
/// assert_eq!(abc.decode(&tokens)?, text);
///
/// // A beginning, and what is written after it.
/// let header = abc.encode("X:7\nR:jig\nM:6/8\nL:1/8\nK:D\n")?;
/// assert!(tokens.starts_with(&header));
/// let mut stream = TextStream::after(&abc, &header);
/// assert_eq!(stream.push(tokens[header.len()])?, "A");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct AbcTokenizer {
    tokens: refrain_music::Tokenizer,
    vocabulary: Vocabulary,
}

impl AbcTokenizer {
    /// The tokenizer that says so much of a tune. The vocabulary is the same for all.
    ///
    /// # Errors
    /// Never in this version.
    pub fn new(detail: Detail) -> Result<Self> {
        let tokens = refrain_music::Tokenizer { detail };
        Ok(Self {
            vocabulary: Vocabulary::named(tokens.names())?,
            tokens,
        })
    }

    /// The tokenizer of the notation itself.
    pub fn notation(&self) -> refrain_music::Tokenizer {
        self.tokens
    }

    /// Whether a token names a key's tonic; its mode follows.
    fn is_key(&self, token: u32) -> bool {
        self.tokens.name(token).is_some_and(|n| n.starts_with("K:"))
    }
}

fn failed(error: Error) -> refrain_sequence::Error {
    refrain_sequence::Error::Tokenizer {
        origin: "ABC".to_string(),
        reason: error.to_string(),
    }
}

impl Tokenizer for AbcTokenizer {
    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// # Errors
    /// [`refrain_sequence::Error::Tokenizer`] where the text is no tune, with the line, or has what no
    /// token says, with the bar.
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match Tune::parse(text) {
            Ok(tune) => self.tokens.encode(&tune),
            Err(Error::Abc {
                problem: Problem::NoNotes,
                ..
            }) => Tune::parse(&format!("{}\nC\n", text.trim_end()))
                .and_then(|tune| self.tokens.header_of(&tune)),
            Err(error) => Err(error),
        }
        .map_err(failed)
    }

    fn decode_into(&self, before: &[u32], token: u32, bytes: &mut Vec<u8>) -> Result<()> {
        let Some(name) = self.tokens.name(token) else {
            return Err(refrain_sequence::Error::Token {
                place: format!("token {}", before.len()),
                token,
                vocabulary: self.vocabulary.len(),
            });
        };
        let keys = || before.iter().filter(|&&token| self.is_key(token)).count();
        let is_mode = before.last().is_some_and(|&last| self.is_key(last));
        let (opens, closes) = match name {
            "<pad>" | "<end>" => return Ok(()),
            "<start>" => {
                bytes.extend(b"X:1\n");
                return Ok(());
            }
            // Of a header, the first key is the last field.
            _ if is_mode && keys() == 1 => (" ", "\n"),
            _ if is_mode => (" ", "]"),
            _ if self.is_key(token) => (if keys() == 0 { "" } else { "[" }, ""),
            _ if name.contains(':') && name.starts_with(['R', 'M', 'L']) => match keys() {
                0 => ("", "\n"),
                _ => ("[", "]"),
            },
            "::" => ("", " "),
            // Bar lines and endings.
            _ if name.contains('|') || (name.starts_with('[') && name.len() > 1) => ("", " "),
            _ => ("", ""),
        };
        for part in [opens, name, closes] {
            bytes.extend(part.bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequence::TextStream;

    /// Tunes with what the bundled ones have little of.
    const MORE: [&str; 2] = [
        "X:1\nR:reel\nM:C|\nL:1/8\nK:G\n~G2(3Bcd {ga}g>e d-d|[GBd]4 T(^f2 z2)|1 G8:|2 [M:6/8][K:Am] A6|]\n",
        "X:1\nM:none\nL:1/16\nK:Eb mix\n|:=c'3/2_D,,:||:{/a}b/2-b::c||[L:1/8]d|]\n",
    ];

    #[cfg(feature = "bundled")]
    fn tunes() -> Vec<String> {
        let bundled = crate::data::bundled::tunes().unwrap();
        let bundled = bundled.iter().map(|record| record.abc());
        bundled.chain(MORE.map(String::from)).collect()
    }

    #[cfg(feature = "bundled")]
    #[test]
    fn the_text_of_tokens_is_the_tune_they_spell() {
        let mut count = 0;
        for detail in [Detail::Melody, Detail::Ornaments] {
            let abc = AbcTokenizer::new(detail).unwrap();
            for text in tunes() {
                let tune = Tune::parse(&text).unwrap();
                let Ok(expected) = abc.notation().encode(&tune) else {
                    assert!(abc.encode(&text).is_err());
                    continue;
                };
                let tokens = abc.encode(&text).unwrap();
                assert_eq!(tokens, expected);
                let decoded = abc.decode(&tokens).unwrap();
                let again = Tune::parse(&decoded).unwrap();
                assert_eq!(again, abc.notation().decode(&tokens).unwrap(), "{decoded}");
                assert_eq!(abc.encode(&decoded).unwrap(), tokens);
                // Its header alone, then the rest as it is written.
                let end = decoded.find("\nK:").unwrap() + 1;
                let end = end + decoded[end..].find('\n').unwrap();
                let header = abc.encode(&decoded[..end]).unwrap();
                assert_eq!(header, tokens[..header.len()]);
                let mut stream = TextStream::after(&abc, &header);
                let rest = tokens[header.len()..].iter();
                let rest: String = rest.map(|&token| stream.push(token).unwrap()).collect();
                assert_eq!(rest, decoded[end + 1..]);
                count += 1;
            }
        }
        assert!(count > 1000, "{count}");
    }

    #[test]
    fn what_is_no_tune_is_an_error() {
        let abc = AbcTokenizer::new(Detail::Melody).unwrap();
        for text in [
            "",
            "no tune",
            "X:1\nK:D\nA|\"",
            "X:1\nM:4/4\nL:1/8\nK:C\nC27/16|]\n",
        ] {
            let error = abc.encode(text).unwrap_err().to_string();
            assert!(error.starts_with("ABC: "), "{error}");
        }
        let size = abc.vocabulary().len() as u32;
        let error = abc.decode(&[1, size]).unwrap_err().to_string();
        assert!(error.starts_with("token 1: token"), "{error}");
        // Any tokens are some text, and as many pieces make the same.
        let tokens: Vec<u32> = (0..4000u32).map(|i| i * i % 8191 % size).collect();
        let mut stream = TextStream::new(&abc);
        let pieces: String = tokens.iter().map(|&t| stream.push(t).unwrap()).collect();
        assert_eq!(pieces, abc.decode(&tokens).unwrap());
        assert!(MORE.iter().all(|text| abc.encode(text).is_ok()));
    }
}
