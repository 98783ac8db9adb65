//! Tunes as sequences of small numbers, for models that learn to write them.
//!
//! A tune is `<start>`, five header tokens (`R:jig M:6/8 L:1/8 K:D major`), the music, `<end>`. Like
//! the folk-rnn vocabulary (Sturm et al., 2016) a note is a pitch token and, unless it lasts one
//! unit, a length token; unlike it, broken rhythm is spelled out in lengths, so that a bar can be
//! counted without looking back.
//!
//! | tokens | examples |
//! |---|---|
//! | special | `<pad>` (0), `<start>` (1), `<end>` (2) |
//! | header, or a change inside the tune | `R:reel`, `M:C\|`, `L:1/8`, `K:Bb`, `minor` |
//! | a note: sign, pitch, length, tie | `^` `f'` `3/2` `-` |
//! | rest | `z` |
//! | bar lines, endings | `\|` `\|:` `:\|` `::` `\|\|` `\|]`, `[1` `[2` |
//! | tuplets | `(3` |
//! | ornaments ([`Detail::Ornaments`] only) | `{` `}` `[` `]` `(` `)` `~` `T` … |
//!
//! Ids are stable: a new token is only ever added at the end.

mod constraint;
mod decode;
mod vocabulary;

pub use constraint::{Constraint, Form};
pub(crate) use vocabulary::{Symbol, Vocabulary, vocabulary};

use crate::error::{Error, Result};
use crate::fraction::Fraction;
use crate::key::Key;
use crate::metre::Metre;
use crate::pitch::Pitch;
use crate::rhythm::Rhythm;
use crate::tune::{Chord, Decoration, Element, Field, Grace, Note, Rest, Tune};

/// How much of a tune the tokens say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Notes, rests, bar lines: chords become their highest note. What a small model should learn.
    #[default]
    Melody,
    /// Also grace notes, chords, slurs and one-letter decorations.
    Ornaments,
}

/// Turns tunes into tokens and back.
///
/// ```
/// use refrain_music::{Tokenizer, Tune};
/// let tune = Tune::parse("X:1\nR:jig\nM:6/8\nL:1/8\nK:D\nA|d2f a^gf|d5:|\n")?;
/// let tokenizer = Tokenizer::default();
/// let ids = tokenizer.encode(&tune)?;
/// assert_eq!(
///     tokenizer.text(&ids),
///     "<start> R:jig M:6/8 L:1/8 K:D major A | d 2 f a ^ g f | d 5 :| <end>"
/// );
/// assert_eq!(tokenizer.decode(&ids)?, tokenizer.image(&tune));
/// # Ok::<(), refrain_music::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokenizer {
    /// How much of a tune the tokens say.
    pub detail: Detail,
}

impl Tokenizer {
    /// Fills a batch; no music.
    pub const PAD: u32 = 0;
    /// Begins every tune.
    pub const START: u32 = 1;
    /// Ends every tune.
    pub const END: u32 = 2;

    /// Number of tokens; ids are below it.
    pub fn size(&self) -> usize {
        vocabulary().names.len()
    }

    /// The tokens by id.
    pub fn names(&self) -> &'static [String] {
        &vocabulary().names
    }

    /// The name of a token.
    pub fn name(&self, id: u32) -> Option<&'static str> {
        vocabulary().names.get(id as usize).map(String::as_str)
    }

    /// The id of a token, such as `R:reel`.
    pub fn id(&self, name: &str) -> Option<u32> {
        vocabulary().ids.get(name).copied()
    }

    /// Ids as names with spaces between; unknown ids become `<id>`.
    pub fn text(&self, ids: &[u32]) -> String {
        let names = ids
            .iter()
            .map(|id| self.name(*id).map_or(format!("<{id}>"), str::to_owned));
        names.collect::<Vec<_>>().join(" ")
    }

    /// What the tokens can say of a tune: [`decode`](Self::decode) of its tokens gives this.
    pub fn image(&self, tune: &Tune) -> Tune {
        let ornaments = self.detail == Detail::Ornaments;
        let body = tune.body.iter().filter_map(|element| match element {
            Element::Chord(c) if !ornaments => {
                let pitch = *c.pitches.iter().max_by_key(|p| p.steps())?;
                Some(Element::Note(Note {
                    pitch,
                    length: c.length,
                    tie: c.tie,
                }))
            }
            Element::Rest(r) => Some(Element::Rest(Rest {
                visible: true,
                ..*r
            })),
            Element::Grace(g) if ornaments && !g.notes.is_empty() => Some(element.clone()),
            Element::SlurStart | Element::SlurEnd if ornaments => Some(element.clone()),
            Element::Decoration(Decoration::Short(c)) if ornaments => vocabulary::DECORATIONS
                .contains(*c)
                .then(|| element.clone()),
            Element::Grace(_)
            | Element::SlurStart
            | Element::SlurEnd
            | Element::Decoration(_)
            | Element::Text(_)
            | Element::Field(Field::Part(_) | Field::Tempo(_)) => None,
            other => Some(other.clone()),
        });
        Tune {
            number: 1,
            titles: Vec::new(),
            rhythm: Some(tune.rhythm.unwrap_or(Rhythm::Other)),
            metre: tune.metre,
            unit: tune.unit,
            tempo: None,
            key: tune.key,
            fields: Vec::new(),
            body: body.collect(),
        }
    }

    /// The tokens that begin a tune: what a model is conditioned on.
    ///
    /// # Errors
    /// [`Error::NotInVocabulary`] for an unusual metre, unit or key.
    pub fn header(
        &self,
        rhythm: Rhythm,
        metre: Metre,
        unit: Fraction,
        key: Key,
    ) -> Result<Vec<u32>> {
        let v = vocabulary();
        let mut out = vec![Self::START, v.find(Symbol::Rhythm(rhythm), 0)?];
        out.push(v.find(Symbol::Metre(metre), 0)?);
        out.push(v.find(Symbol::Unit(unit), 0)?);
        push_key(v, &key, 0, &mut out)?;
        Ok(out)
    }

    /// The header tokens of a tune.
    ///
    /// # Errors
    /// As [`header`](Self::header).
    pub fn header_of(&self, tune: &Tune) -> Result<Vec<u32>> {
        self.header(
            tune.rhythm.unwrap_or(Rhythm::Other),
            tune.metre,
            tune.unit,
            tune.key,
        )
    }

    /// A tune as tokens, from `<start>` to `<end>`.
    ///
    /// # Errors
    /// [`Error::NotInVocabulary`] for the few things the vocabulary has no word for, such as a
    /// note of 11/3 units.
    pub fn encode(&self, tune: &Tune) -> Result<Vec<u32>> {
        let v = vocabulary();
        let tune = self.image(tune);
        let mut out = self.header_of(&tune)?;
        let mut bar = 1;
        for element in &tune.body {
            encode(v, element, bar, &mut out)?;
            bar += usize::from(matches!(element, Element::Bar(_)));
        }
        out.push(Self::END);
        Ok(out)
    }

    /// The tune that tokens spell. `<pad>` is skipped; `<start>` and `<end>` may be missing.
    ///
    /// # Errors
    /// [`Error::Token`] where the sequence is no notation, such as a length after a bar line.
    pub fn decode(&self, ids: &[u32]) -> Result<Tune> {
        decode::read(ids, false).map(|(tune, _)| tune)
    }

    /// The tune that tokens most nearly spell, and how many tokens had to go.
    ///
    /// Takes whatever a model wrote: tokens without sense where they stand are dropped, and so is
    /// an unfinished last bar; the tune ends in a double bar line.
    ///
    /// # Errors
    /// [`Error::Token`] if no note is left.
    pub fn repair(&self, ids: &[u32]) -> Result<(Tune, usize)> {
        decode::read(ids, true)
    }
}

fn push_key(v: &Vocabulary, key: &Key, bar: usize, out: &mut Vec<u32>) -> Result<()> {
    if key.changes.iter().any(Option::is_some) {
        return Err(Error::NotInVocabulary {
            bar,
            what: format!("the key {key}"),
        });
    }
    out.push(v.find(Symbol::Tonic(key.tonic), bar)?);
    out.push(v.find(Symbol::Mode(key.mode), bar)?);
    Ok(())
}

fn push_length(v: &Vocabulary, length: Fraction, bar: usize, out: &mut Vec<u32>) -> Result<()> {
    if length != Fraction::ONE {
        out.push(v.find(Symbol::Length(length), bar)?);
    }
    Ok(())
}

fn push_pitch(v: &Vocabulary, pitch: Pitch, bar: usize, out: &mut Vec<u32>) -> Result<()> {
    if let Some(sign) = pitch.accidental {
        out.push(v.find(Symbol::Accidental(sign), bar)?);
    }
    out.push(v.find(Symbol::Pitch(pitch.letter, pitch.octave), bar)?);
    Ok(())
}

fn encode(v: &Vocabulary, element: &Element, bar: usize, out: &mut Vec<u32>) -> Result<()> {
    match element {
        Element::Note(Note { pitch, length, tie }) => {
            push_pitch(v, *pitch, bar, out)?;
            push_length(v, *length, bar, out)?;
            if *tie {
                out.push(v.find(Symbol::Tie, bar)?);
            }
        }
        Element::Rest(rest) => {
            out.push(v.find(Symbol::Rest, bar)?);
            push_length(v, rest.length, bar, out)?;
        }
        Element::Chord(Chord {
            pitches,
            length,
            tie,
        }) => {
            out.push(v.find(Symbol::ChordStart, bar)?);
            for pitch in pitches {
                push_pitch(v, *pitch, bar, out)?;
            }
            out.push(v.find(Symbol::ChordEnd, bar)?);
            push_length(v, *length, bar, out)?;
            if *tie {
                out.push(v.find(Symbol::Tie, bar)?);
            }
        }
        Element::Grace(Grace { slashed, notes }) => {
            out.push(v.find(Symbol::GraceStart(*slashed), bar)?);
            for (pitch, length) in notes {
                push_pitch(v, *pitch, bar, out)?;
                push_length(v, *length, bar, out)?;
            }
            out.push(v.find(Symbol::GraceEnd, bar)?);
        }
        Element::Tuplet(t) => out.push(v.find(Symbol::Tuplet(*t), bar)?),
        Element::Bar(b) => out.push(v.find(Symbol::Bar(*b), bar)?),
        Element::Ending(e) => out.push(v.find(Symbol::Ending(e.passes.clone()), bar)?),
        Element::SlurStart => out.push(v.find(Symbol::SlurStart, bar)?),
        Element::SlurEnd => out.push(v.find(Symbol::SlurEnd, bar)?),
        Element::Decoration(Decoration::Short(c)) => out.push(v.find(Symbol::Decoration(*c), bar)?),
        Element::Field(Field::Key(key)) => push_key(v, key, bar, out)?,
        Element::Field(Field::Metre(m)) => out.push(v.find(Symbol::Metre(*m), bar)?),
        Element::Field(Field::Unit(u)) => out.push(v.find(Symbol::Unit(*u), bar)?),
        // `image` leaves nothing else.
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_never_change() {
        let t = Tokenizer::default();
        for (name, id) in [
            ("<pad>", 0),
            ("<start>", 1),
            ("<end>", 2),
            ("R:air", 3),
            ("M:none", 23),
        ] {
            assert_eq!(t.id(name), Some(id), "{name}");
        }
        assert_eq!(t.names().len(), vocabulary().symbols.len());
        let distinct: std::collections::HashSet<_> = t.names().iter().collect();
        assert_eq!(distinct.len(), t.size());
    }

    #[test]
    fn round_trip_with_ornaments() {
        let text = "X:1\nR:reel\nM:C|\nL:1/8\nK:G\n~G2(3Bcd {ga}g>e d-d|[GBd]4 T(^f2 z2)|1 G8:|2 [M:6/8][K:Am] A6|]\n";
        let tune = Tune::parse(text).unwrap();
        for detail in [Detail::Melody, Detail::Ornaments] {
            let t = Tokenizer { detail };
            let ids = t.encode(&tune).unwrap();
            assert_eq!(t.decode(&ids).unwrap(), t.image(&tune));
            assert_eq!(t.repair(&ids).unwrap(), (t.image(&tune), 0));
        }
    }

    #[test]
    fn what_has_no_word_is_an_error() {
        let tune = Tune::parse("X:1\nM:4/4\nL:1/8\nK:C\nC8|C27/16|]\n").unwrap();
        let error = Tokenizer::default().encode(&tune).unwrap_err();
        assert_eq!(
            error.to_string(),
            "bar 2: the token vocabulary has no word for length 27/16"
        );
    }
}
