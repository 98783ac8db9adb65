//! From tokens to a tune, strictly or with repairs.

use crate::error::{Error, Result};
use crate::fraction::Fraction;
use crate::key::{Key, Tonic};
use crate::pitch::{Accidental, Pitch};
use crate::tokens::{Symbol, vocabulary};
use crate::tune::{
    BarLine, BarStyle, Chord, Decoration, Element, Ending, Field, Grace, Note, Rest, Tune,
};

/// Where the reader is inside a symbol of several tokens.
enum Inside {
    Nothing,
    Chord(Vec<Pitch>),
    Grace(bool, Vec<(Pitch, Fraction)>),
}

/// What the last token allows to be changed.
#[derive(Clone, Copy, PartialEq)]
enum Tail {
    /// A length or a tie may follow.
    Fresh,
    /// A tie may follow.
    Sized,
    /// Neither.
    Closed,
}

struct Reader {
    tune: Tune,
    inside: Inside,
    tail: Tail,
    sign: Option<Accidental>,
    tonic: Option<Tonic>,
    /// Header parts seen: rhythm, metre, unit, key.
    seen: [bool; 4],
}

/// Reads tokens; when `lenient`, drops what makes no sense and counts it.
pub(crate) fn read(ids: &[u32], lenient: bool) -> Result<(Tune, usize)> {
    let symbols = &vocabulary().symbols;
    let mut reader = Reader {
        tune: Tune::default(),
        inside: Inside::Nothing,
        tail: Tail::Closed,
        sign: None,
        tonic: None,
        seen: [false; 4],
    };
    let mut dropped = 0;
    let mut end = ids.len();
    for (position, id) in ids.iter().enumerate() {
        let fault = match symbols.get(*id as usize) {
            None => Some(format!("there is no token {id}")),
            Some(Symbol::End) => {
                end = position;
                break;
            }
            Some(symbol) => reader.take(symbol).err().map(str::to_owned),
        };
        match fault {
            Some(reason) if !lenient => return Err(Error::Token { position, reason }),
            Some(_) => dropped += 1,
            None => {}
        }
    }
    if let Some(reason) = reader.unfinished() {
        if !lenient {
            return Err(Error::Token {
                position: end,
                reason: reason.into(),
            });
        }
        dropped += 1;
    }
    let mut tune = reader.tune;
    if lenient {
        dropped += tidy(&mut tune.body);
    }
    let has_notes = tune
        .body
        .iter()
        .any(|e| matches!(e, Element::Note(_) | Element::Chord(_)));
    if !has_notes {
        return Err(Error::Token {
            position: end,
            reason: "the tokens hold no notes".into(),
        });
    }
    if tune.rhythm.is_none() && !lenient {
        return Err(Error::Token {
            position: 0,
            reason: "the header tokens are missing".into(),
        });
    }
    Ok((tune, dropped))
}

impl Reader {
    /// Takes one token, or says why it cannot stand here.
    fn take(&mut self, symbol: &Symbol) -> Result<(), &'static str> {
        if self.tonic.is_some() && !matches!(symbol, Symbol::Mode(_)) {
            // A dangling tonic counts as the fault, the token after it is read afresh.
            self.tonic = None;
            return Err("a mode must follow the tonic");
        }
        if self.sign.is_some() && !matches!(symbol, Symbol::Pitch(..)) {
            self.sign = None;
            return Err("a pitch must follow a sign");
        }
        if matches!(symbol, Symbol::Pad | Symbol::Start) {
            return Ok(());
        }
        let outside = matches!(self.inside, Inside::Nothing);
        if !self.seen.iter().all(|s| *s)
            && self.tune.body.is_empty()
            && outside
            && let Some(done) = self.header(symbol)
        {
            return done;
        }
        match symbol {
            Symbol::Pitch(letter, octave) => {
                let pitch = Pitch {
                    letter: *letter,
                    octave: *octave,
                    accidental: self.sign.take(),
                };
                match &mut self.inside {
                    Inside::Chord(pitches) => pitches.push(pitch),
                    Inside::Grace(_, notes) => {
                        notes.push((pitch, Fraction::ONE));
                        self.tail = Tail::Fresh;
                    }
                    Inside::Nothing => {
                        let length = Fraction::ONE;
                        self.push(
                            Element::Note(Note {
                                pitch,
                                length,
                                tie: false,
                            }),
                            Tail::Fresh,
                        );
                    }
                }
                return Ok(());
            }
            Symbol::Accidental(a) => {
                self.sign = Some(*a);
                return Ok(());
            }
            Symbol::Length(length) => return self.length(*length),
            Symbol::ChordEnd => {
                let Inside::Chord(pitches) = std::mem::replace(&mut self.inside, Inside::Nothing)
                else {
                    return Err("no chord is open");
                };
                if pitches.is_empty() {
                    return Err("a chord without notes");
                }
                let length = Fraction::ONE;
                self.push(
                    Element::Chord(Chord {
                        pitches,
                        length,
                        tie: false,
                    }),
                    Tail::Fresh,
                );
                return Ok(());
            }
            Symbol::GraceEnd => {
                let Inside::Grace(slashed, notes) =
                    std::mem::replace(&mut self.inside, Inside::Nothing)
                else {
                    return Err("no grace notes are open");
                };
                if notes.is_empty() {
                    return Err("grace notes without notes");
                }
                self.push(Element::Grace(Grace { slashed, notes }), Tail::Closed);
                return Ok(());
            }
            _ => {}
        }
        if !outside {
            return Err("only notes may stand in a chord or among grace notes");
        }
        let element = match symbol {
            Symbol::Rest => {
                let rest = Rest {
                    length: Fraction::ONE,
                    visible: true,
                };
                self.push(Element::Rest(rest), Tail::Fresh);
                return Ok(());
            }
            Symbol::Tie => {
                let tail = std::mem::replace(&mut self.tail, Tail::Closed);
                match self.tune.body.last_mut() {
                    Some(Element::Note(n)) if tail != Tail::Closed => n.tie = true,
                    Some(Element::Chord(c)) if tail != Tail::Closed => c.tie = true,
                    _ => return Err("a tie must follow a note"),
                }
                return Ok(());
            }
            Symbol::ChordStart => {
                self.inside = Inside::Chord(Vec::new());
                self.tail = Tail::Closed;
                return Ok(());
            }
            Symbol::GraceStart(slashed) => {
                self.inside = Inside::Grace(*slashed, Vec::new());
                self.tail = Tail::Closed;
                return Ok(());
            }
            Symbol::Tonic(tonic) => {
                self.tonic = Some(*tonic);
                return Ok(());
            }
            Symbol::Mode(mode) => match self.tonic.take() {
                Some(tonic) => Element::Field(Field::Key(Key::new(tonic, *mode))),
                None => return Err("a mode must follow a tonic"),
            },
            Symbol::Bar(bar) => Element::Bar(*bar),
            Symbol::Ending(passes) => Element::Ending(Ending {
                passes: passes.clone(),
            }),
            Symbol::Tuplet(tuplet) => Element::Tuplet(*tuplet),
            Symbol::SlurStart => Element::SlurStart,
            Symbol::SlurEnd => Element::SlurEnd,
            Symbol::Decoration(c) => Element::Decoration(Decoration::Short(*c)),
            Symbol::Metre(m) => Element::Field(Field::Metre(*m)),
            Symbol::Unit(u) => Element::Field(Field::Unit(*u)),
            _ => return Err("a header token inside the music"),
        };
        self.push(element, Tail::Closed);
        Ok(())
    }

    /// Takes a token of the header; `None` if the music has begun.
    fn header(&mut self, symbol: &Symbol) -> Option<Result<(), &'static str>> {
        let part = match symbol {
            Symbol::Rhythm(r) => {
                self.tune.rhythm = Some(*r);
                0
            }
            Symbol::Metre(m) => {
                self.tune.metre = *m;
                1
            }
            Symbol::Unit(u) => {
                self.tune.unit = *u;
                2
            }
            Symbol::Tonic(t) => {
                self.tonic = Some(*t);
                return Some(Ok(()));
            }
            Symbol::Mode(mode) => {
                let Some(tonic) = self.tonic.take() else {
                    return Some(Err("a mode must follow a tonic"));
                };
                self.tune.key = Key::new(tonic, *mode);
                3
            }
            _ => {
                let complete = self.seen.iter().all(|s| *s);
                self.seen = [true; 4];
                return if complete || self.tune.rhythm.is_none() {
                    // No header at all is noticed at the end.
                    None
                } else {
                    Some(Err("the header needs rhythm, metre, unit, tonic and mode"))
                };
            }
        };
        if self.seen[part] {
            return Some(Err("a header token comes twice"));
        }
        self.seen[part] = true;
        Some(Ok(()))
    }

    fn push(&mut self, element: Element, tail: Tail) {
        self.tune.body.push(element);
        self.tail = tail;
    }

    fn length(&mut self, length: Fraction) -> Result<(), &'static str> {
        if self.tail != Tail::Fresh {
            return Err("a length must follow a note");
        }
        self.tail = Tail::Sized;
        match (&mut self.inside, self.tune.body.last_mut()) {
            (Inside::Grace(_, notes), _) => {
                self.tail = Tail::Closed;
                match notes.last_mut() {
                    Some(note) => note.1 = length,
                    None => return Err("a length must follow a note"),
                }
            }
            (Inside::Chord(_), _) => return Err("a length stands after the chord"),
            (_, Some(Element::Note(n))) => n.length = length,
            (_, Some(Element::Rest(r))) => r.length = length,
            (_, Some(Element::Chord(c))) => c.length = length,
            _ => return Err("a length must follow a note"),
        }
        Ok(())
    }

    fn unfinished(&self) -> Option<&'static str> {
        match self.inside {
            _ if self.sign.is_some() => Some("a sign without its note"),
            _ if self.tonic.is_some() => Some("a tonic without its mode"),
            Inside::Chord(_) => Some("a chord is not closed"),
            Inside::Grace(..) => Some("grace notes are not closed"),
            Inside::Nothing => None,
        }
    }
}

/// Drops tuplets that lack notes, bar lines that repeat, and an unfinished end; closes the tune.
fn tidy(body: &mut Vec<Element>) -> usize {
    let before = body.len();
    let mut keep = vec![true; before];
    let mut open: Option<(usize, u8)> = None;
    for (i, element) in body.iter().enumerate() {
        match element {
            Element::Tuplet(t) => {
                if let Some((at, _)) = open.replace((i, t.r)) {
                    keep[at] = false;
                }
            }
            Element::Bar(_) => {
                if let Some((at, _)) = open.take() {
                    keep[at] = false;
                }
                // Two bar lines in a row: the second stays if it says more.
                if let Some(Element::Bar(previous)) = i.checked_sub(1).and_then(|k| body.get(k)) {
                    let plain = |b: &BarLine| *b == BarLine::default();
                    if plain(previous) {
                        keep[i - 1] = false;
                    } else if matches!(element, Element::Bar(b) if plain(b)) {
                        keep[i] = false;
                    }
                }
            }
            e if e.length().is_some() => {
                if let Some((_, left)) = &mut open {
                    *left -= 1;
                    if *left == 0 {
                        open = None;
                    }
                }
            }
            _ => {}
        }
    }
    if let Some((at, _)) = open {
        keep[at] = false;
    }
    let mut flags = keep.into_iter();
    body.retain(|_| flags.next().unwrap_or(true));
    let last_bar = body.iter().rposition(|e| matches!(e, Element::Bar(_)));
    if let Some(last) = last_bar {
        body.truncate(last + 1);
    }
    let dropped = before - body.len();
    match body.last_mut() {
        Some(Element::Bar(b)) if b.is_boundary() && b.repeat_start == 0 => {}
        Some(Element::Bar(b)) if b.repeat_end > 0 => b.repeat_start = 0,
        Some(Element::Bar(b)) => *b = BarLine::new(BarStyle::Final),
        _ => body.push(Element::Bar(BarLine::new(BarStyle::Final))),
    }
    dropped
}
