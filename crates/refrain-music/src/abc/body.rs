//! The body of a tune: lines of music and the fields between them.

use crate::abc::cursor::{Cursor, FINEST, LONGEST};
use crate::abc::header::{field, parse_tempo, parse_unit, push_text, short, strip_comment};
use crate::abc::symbols;
use crate::error::{Error, Problem, Result};
use crate::fraction::Fraction;
use crate::metre::Metre;
use crate::tune::{BarLine, Chord, Decoration, Element, Field, Note, Rest, Tune};

/// Symbols one tune may hold.
const MOST: usize = 100_000;

/// Collects the symbols of a tune, line by line.
pub(crate) struct Body {
    elements: Vec<Element>,
    unit: Fraction,
    metre: Metre,
    /// The last note, rest or chord of this bar, which `>` and `<` change.
    last: Option<usize>,
    /// The last note or chord, which `-` ties.
    tieable: Option<usize>,
    /// What `>` or `<` does to the next note.
    pending: Option<Fraction>,
    has_notes: bool,
}

impl Body {
    pub(crate) fn new(tune: &Tune) -> Self {
        Self {
            elements: Vec::new(),
            unit: tune.unit,
            metre: tune.metre,
            last: None,
            tieable: None,
            pending: None,
            has_notes: false,
        }
    }

    pub(crate) fn has_music(&self) -> bool {
        self.has_notes
    }

    pub(crate) fn finish(self, line: usize) -> Result<Vec<Element>> {
        if self.pending.is_some() {
            return Err(Error::abc(line, Problem::BrokenRhythm));
        }
        if !self.has_notes {
            return Err(Error::abc(line, Problem::NoNotes));
        }
        Ok(self.elements)
    }

    /// Reads one line, a field or music; text fields go to the tune's header.
    pub(crate) fn line(&mut self, raw: &str, number: usize, tune: &mut Tune) -> Result<()> {
        if raw.starts_with('%') {
            return Ok(());
        }
        let line = strip_comment(raw).trim_end();
        if let Some((letter, text)) = body_field(line) {
            return self.field(letter, text, number, tune);
        }
        let line = line.strip_suffix('\\').unwrap_or(line);
        let mut at = Cursor::new(line, number);
        // An ending whose bar line stands at the end of the line before.
        if let (Some('1'..='9'), Some(Element::Bar(_))) = (at.peek(), self.elements.last()) {
            self.elements
                .push(Element::Ending(symbols::ending(&mut at)?));
        }
        while let Some(c) = at.peek() {
            self.symbol(c, &mut at)?;
            if self.elements.len() > MOST {
                return at.error(Problem::TooLong(MOST));
            }
        }
        Ok(())
    }

    fn field(&mut self, letter: char, text: &str, line: usize, tune: &mut Tune) -> Result<()> {
        let field = match letter {
            'K' => Field::Key(text.parse().map_err(|e: Error| e.at_line(line))?),
            'M' => {
                self.metre = text.parse().map_err(|e: Error| e.at_line(line))?;
                Field::Metre(self.metre)
            }
            'L' => {
                self.unit = parse_unit(text, line)?;
                Field::Unit(self.unit)
            }
            'Q' => match parse_tempo(text, self.unit, line)? {
                Some(tempo) => Field::Tempo(tempo),
                None => return Ok(()),
            },
            'P' => Field::Part(text.replace([']', '"'], "").trim().into()),
            'V' => {
                return Err(Error::abc(
                    line,
                    Problem::Unsupported("more than one voice"),
                ));
            }
            // Aligned words and symbol lines belong to the layout, not to the tune.
            'w' | 's' => return Ok(()),
            _ => {
                push_text(tune, letter, text);
                return Ok(());
            }
        };
        self.elements.push(Element::Field(field));
        Ok(())
    }

    fn symbol(&mut self, c: char, at: &mut Cursor<'_>) -> Result<()> {
        match c {
            // Beaming and reserved characters: no music.
            ' ' | '\t' | '`' | '*' | ';' | '$' | '?' | '@' | '#' | '\\' => at.skip(1),
            'y' => {
                at.skip(1);
                at.digits();
            }
            '^' | '_' | '=' | 'A'..='G' | 'a'..='g' => {
                let pitch = symbols::pitch(at)?;
                let length = at.length()?;
                let note = Element::Note(Note {
                    pitch,
                    length,
                    tie: false,
                });
                self.timed(note, at)?;
            }
            'z' | 'x' => {
                at.skip(1);
                let length = at.length()?;
                self.timed(
                    Element::Rest(Rest {
                        length,
                        visible: c == 'z',
                    }),
                    at,
                )?;
            }
            'Z' | 'X' => self.bars_of_rest(c == 'Z', at)?,
            '|' | ':' => self.bar(at)?,
            '[' => self.bracket(at)?,
            '.' if at.rest().starts_with(".|") => self.bar(at)?,
            '.' if at.rest().starts_with(".-") => at.skip(1),
            '(' => self.elements.push(symbols::tuplet_or_slur(self.metre, at)?),
            ')' => {
                at.skip(1);
                self.elements.push(Element::SlurEnd);
            }
            '{' => self.elements.push(Element::Grace(symbols::grace(at)?)),
            '"' => self.elements.push(Element::Text(symbols::text(at)?)),
            '-' => self.tie(at)?,
            '>' | '<' => self.broken(c, at)?,
            '!' => match symbols::named_decoration('!', at) {
                Some(name) => self
                    .elements
                    .push(Element::Decoration(Decoration::Named(name))),
                // A line break of older dialects.
                None => at.skip(1),
            },
            '+' => self.plus(at)?,
            '.' | '~' | 'H'..='Y' | 'h'..='w' => {
                at.skip(1);
                self.elements
                    .push(Element::Decoration(Decoration::Short(c)));
            }
            '&' => return at.error(Problem::Unsupported("a second voice in a bar (`&`)")),
            other => return at.error(Problem::Unexpected(other)),
        }
        Ok(())
    }

    /// Adds a note, rest or chord, changed by a `>` or `<` before it.
    fn timed(&mut self, mut element: Element, at: &Cursor<'_>) -> Result<()> {
        if let Some(factor) = self.pending.take() {
            stretch(&mut element, factor, at)?;
        }
        let index = self.elements.len();
        self.last = Some(index);
        if !matches!(element, Element::Rest(_)) {
            self.tieable = Some(index);
            self.has_notes = true;
        }
        self.elements.push(element);
        Ok(())
    }

    fn bars_of_rest(&mut self, visible: bool, at: &mut Cursor<'_>) -> Result<()> {
        at.skip(1);
        let digits = at.digits();
        let bars: usize = if digits.is_empty() {
            1
        } else {
            digits.parse().unwrap_or(0)
        };
        let length = self.metre.bar().map(|b| b / self.unit);
        match length {
            Some(length) if (1..=64).contains(&bars) && length <= Fraction::new(LONGEST, 1) => {
                for i in 0..bars {
                    if i > 0 {
                        self.elements.push(Element::Bar(BarLine::default()));
                    }
                    self.timed(Element::Rest(Rest { length, visible }), at)?;
                }
                Ok(())
            }
            _ => at.error(Problem::BadLength(digits.into())),
        }
    }

    fn bar(&mut self, at: &mut Cursor<'_>) -> Result<()> {
        if self.pending.is_some() {
            return at.error(Problem::BrokenRhythm);
        }
        let bar = symbols::bar_line(at)?;
        self.elements.push(Element::Bar(bar));
        self.last = None;
        if let Some('1'..='9') = at.peek() {
            self.elements.push(Element::Ending(symbols::ending(at)?));
        }
        Ok(())
    }

    fn bracket(&mut self, at: &mut Cursor<'_>) -> Result<()> {
        let mut ahead = at.rest().chars().skip(1);
        match (ahead.next(), ahead.next()) {
            (Some('|'), _) => self.bar(at),
            (Some(letter), Some(':')) if letter.is_ascii_alphabetic() => {
                let rest = at.rest();
                let Some(end) = rest.find(']') else {
                    return at.error(Problem::UnclosedField);
                };
                at.skip(end + 1);
                match letter {
                    'K' | 'L' | 'M' | 'Q' | 'P' | 'V' => {
                        let mut unused = Tune::default();
                        self.field(letter, rest[3..end].trim(), at.line, &mut unused)
                    }
                    // Remarks, instructions and the like.
                    _ => Ok(()),
                }
            }
            (Some('1'..='9'), _) => {
                at.skip(1);
                self.elements.push(Element::Ending(symbols::ending(at)?));
                Ok(())
            }
            _ => {
                at.skip(1);
                self.chord(']', at)
            }
        }
    }

    /// `+name+` is a decoration, `+CEG+` a chord of older dialects.
    fn plus(&mut self, at: &mut Cursor<'_>) -> Result<()> {
        let inner = at.rest()[1..].split('+').next().unwrap_or("");
        let is_chord = inner
            .chars()
            .all(|c| "ABCDEFGabcdefg^_=,'/0123456789- ".contains(c));
        if !is_chord && let Some(name) = symbols::named_decoration('+', at) {
            self.elements
                .push(Element::Decoration(Decoration::Named(name)));
            return Ok(());
        }
        at.skip(1);
        self.chord('+', at)
    }

    fn chord(&mut self, close: char, at: &mut Cursor<'_>) -> Result<()> {
        let mut chord = Chord {
            pitches: Vec::new(),
            length: Fraction::ONE,
            tie: false,
        };
        loop {
            match at.peek() {
                None => return at.error(Problem::UnclosedChord),
                Some(c) if c == close => {
                    at.skip(1);
                    break;
                }
                Some('^' | '_' | '=' | 'A'..='G' | 'a'..='g') => {
                    let pitch = symbols::pitch(at)?;
                    let length = at.length()?;
                    if chord.pitches.is_empty() {
                        chord.length = length;
                    }
                    chord.pitches.push(pitch);
                }
                Some('-') => {
                    at.skip(1);
                    chord.tie = true;
                }
                Some(' ') => at.skip(1),
                // A rest in a chord is the silence of another voice.
                Some('z' | 'x') => {
                    at.skip(1);
                    at.length()?;
                }
                Some('"') => self.elements.push(Element::Text(symbols::text(at)?)),
                Some(c @ ('.' | '~' | 'H'..='W' | 'h'..='w')) => {
                    at.skip(1);
                    self.elements
                        .push(Element::Decoration(Decoration::Short(c)));
                }
                Some(c) => return at.error(Problem::Unexpected(c)),
            }
        }
        if chord.pitches.is_empty() {
            return at.error(Problem::EmptyChord);
        }
        let factor = at.length()?;
        let mut chord = Element::Chord(chord);
        stretch(&mut chord, factor, at)?;
        self.timed(chord, at)
    }

    fn tie(&mut self, at: &mut Cursor<'_>) -> Result<()> {
        at.skip(1);
        match self.tieable.and_then(|i| self.elements.get_mut(i)) {
            Some(Element::Note(n)) => n.tie = true,
            Some(Element::Chord(c)) => c.tie = true,
            _ => return at.error(Problem::TieWithoutNote),
        }
        Ok(())
    }

    fn broken(&mut self, sign: char, at: &mut Cursor<'_>) -> Result<()> {
        let mut count = 0u32;
        while at.peek() == Some(sign) {
            at.skip(1);
            count += 1;
        }
        let left = self.last.and_then(|i| self.elements.get_mut(i));
        let (Some(left), false, 1..=3) = (left, self.pending.is_some(), count) else {
            return at.error(Problem::BrokenRhythm);
        };
        let short = Fraction::new(1, 1 << count);
        let long = Fraction::new(2, 1) - short;
        let (first, second) = if sign == '>' {
            (long, short)
        } else {
            (short, long)
        };
        stretch(left, first, at)?;
        self.pending = Some(second);
        Ok(())
    }
}

/// Multiplies a length, within the bounds a length may have.
fn stretch(element: &mut Element, factor: Fraction, at: &Cursor<'_>) -> Result<()> {
    let length = match element {
        Element::Note(n) => &mut n.length,
        Element::Rest(r) => &mut r.length,
        Element::Chord(c) => &mut c.length,
        _ => return Ok(()),
    };
    *length = *length * factor;
    if length.denominator() > FINEST || *length > Fraction::new(LONGEST, 1) {
        return at.error(Problem::BadLength(short(&length.to_string())));
    }
    Ok(())
}

/// A field line of the body; `d:|` is music.
fn body_field(line: &str) -> Option<(char, &str)> {
    let (letter, text) = field(line)?;
    let is_note = matches!(letter, 'A'..='G' | 'a'..='g' | 'x'..='z');
    let is_music = is_note && text.starts_with(['|', ':', ']'])
        || letter.is_ascii_lowercase() && !"mrsw".contains(letter);
    (!is_music).then_some((letter, text))
}
