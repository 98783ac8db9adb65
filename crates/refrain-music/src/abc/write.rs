//! Writing ABC.
//!
//! The text is canonical: fields in the order the standard asks for, notes beamed by the metre, a
//! line for every four bars or so, `A>B` where two lengths divide that way. Reading it again gives
//! an equal tune.

use std::fmt::Write;

use crate::abc::symbols::length_to_abc;
use crate::fraction::Fraction;
use crate::metre::Metre;
use crate::tune::{Decoration, Element, Field, Note, Tempo, Tune, Tuplet};

/// Bars on a line.
const BARS: usize = 4;

impl Tune {
    /// The tune as ABC 2.1 text.
    pub fn to_abc(&self) -> String {
        let mut out = String::new();
        let mut field = |letter: char, text: &str| {
            let text = text.replace(['\n', '\r'], " ");
            let _ = writeln!(out, "{letter}:{}", text.trim());
        };
        field('X', &self.number.to_string());
        if self.titles.is_empty() {
            field('T', "");
        }
        for title in &self.titles {
            field('T', title);
        }
        if let Some(rhythm) = self.rhythm {
            field('R', rhythm.name());
        }
        for (letter, text) in &self.fields {
            field(*letter, text);
        }
        field('M', &self.metre.to_string());
        field('L', &unit_to_abc(self.unit));
        if let Some(tempo) = self.tempo {
            field('Q', &tempo_to_abc(tempo));
        }
        field('K', &self.key.to_string());
        out.push_str(&self.body_to_abc());
        out
    }

    /// The lines of music, without the header.
    pub fn body_to_abc(&self) -> String {
        let mut writer = Writer {
            out: String::new(),
            metre: self.metre,
            unit: self.unit,
            in_bar: Fraction::ZERO,
            bars: 0,
            at_line: false,
            tuplet: None,
        };
        let mut i = 0;
        while let Some(element) = self.body.get(i) {
            i += writer.element(element, self.body.get(i + 1));
        }
        let mut out = writer.out.trim_end().to_owned();
        out.push('\n');
        out
    }
}

fn unit_to_abc(unit: Fraction) -> String {
    format!("{}/{}", unit.numerator(), unit.denominator())
}

fn tempo_to_abc(tempo: Tempo) -> String {
    format!(
        "{}/{}={}",
        tempo.beat.numerator(),
        tempo.beat.denominator(),
        tempo.bpm
    )
}

struct Writer {
    out: String,
    metre: Metre,
    unit: Fraction,
    /// Time gone by in this bar, in whole notes.
    in_bar: Fraction,
    bars: usize,
    /// The last thing written is a bar line that an ending follows.
    at_line: bool,
    /// Factor on lengths and how many notes it still holds for.
    tuplet: Option<(Fraction, u8)>,
}

impl Writer {
    /// Writes one element, or two notes joined by `>` or `<`; returns how many it wrote.
    fn element(&mut self, element: &Element, next: Option<&Element>) -> usize {
        match element {
            Element::Note(a) => {
                if let Some(Element::Note(b)) = next
                    && let Some((sign, base)) = broken(a, b)
                {
                    self.beam();
                    self.note(a, base);
                    self.out.push_str(sign);
                    self.pass(a.length);
                    self.note(b, base);
                    self.pass(b.length);
                    return 2;
                }
                self.beam();
                self.note(a, a.length);
                self.pass(a.length);
            }
            Element::Rest(r) => {
                self.beam();
                self.out.push(if r.visible { 'z' } else { 'x' });
                self.out.push_str(&length_to_abc(r.length));
                self.pass(r.length);
            }
            Element::Chord(c) => {
                self.beam();
                self.out.push('[');
                for pitch in &c.pitches {
                    self.out.push_str(&pitch.to_abc());
                }
                self.out.push(']');
                self.out.push_str(&length_to_abc(c.length));
                if c.tie {
                    self.out.push('-');
                }
                self.pass(c.length);
            }
            Element::Bar(bar) => self.bar(&bar.to_abc(), next),
            Element::Ending(ending) => {
                let passes: Vec<String> = ending.passes.iter().map(u8::to_string).collect();
                if !std::mem::take(&mut self.at_line) {
                    self.space();
                    self.out.push('[');
                }
                self.out.push_str(&passes.join(","));
                self.out.push(' ');
            }
            other => self.mark(other),
        }
        1
    }

    fn mark(&mut self, element: &Element) {
        // A mark belongs to the note after it, so a beam breaks before the mark.
        if !matches!(element, Element::SlurEnd) {
            self.beam();
        }
        match element {
            Element::Grace(g) => {
                self.out.push_str(if g.slashed { "{/" } else { "{" });
                for (pitch, length) in &g.notes {
                    self.out.push_str(&pitch.to_abc());
                    self.out.push_str(&length_to_abc(*length));
                }
                self.out.push('}');
            }
            Element::Tuplet(t) => {
                self.tuplet = Some((Fraction::new(t.q.into(), t.p.into()), t.r));
                let Tuplet { p, q, r } = *t;
                if q == Tuplet::default_q(p, self.metre) && r == p {
                    let _ = write!(self.out, "({p}");
                } else {
                    let _ = write!(self.out, "({p}:{q}:{r} ");
                }
            }
            Element::SlurStart => self.out.push('('),
            Element::SlurEnd => self.out.push(')'),
            Element::Decoration(Decoration::Short(c)) => self.out.push(*c),
            Element::Decoration(Decoration::Named(name)) => {
                let _ = write!(self.out, "!{name}!");
            }
            Element::Text(text) => {
                let _ = write!(
                    self.out,
                    "\"{}\"",
                    text.replace('"', "'").replace('\n', " ")
                );
            }
            Element::Field(field) => self.field(field),
            _ => {}
        }
    }

    fn field(&mut self, field: &Field) {
        self.space();
        let _ = match field {
            Field::Key(key) => write!(self.out, "[K:{key}]"),
            Field::Metre(metre) => {
                self.metre = *metre;
                write!(self.out, "[M:{metre}]")
            }
            Field::Unit(unit) => {
                self.unit = *unit;
                write!(self.out, "[L:{}]", unit_to_abc(*unit))
            }
            Field::Tempo(tempo) => write!(self.out, "[Q:{}]", tempo_to_abc(*tempo)),
            Field::Part(part) => write!(self.out, "[P:{}]", part.replace([']', '"', '\n'], " ")),
        };
        self.out.push(' ');
    }

    fn note(&mut self, note: &Note, length: Fraction) {
        self.out.push_str(&note.pitch.to_abc());
        self.out.push_str(&length_to_abc(length));
        if note.tie {
            self.out.push('-');
        }
    }

    fn bar(&mut self, sign: &str, next: Option<&Element>) {
        self.space();
        self.out.push_str(sign);
        let full = self
            .metre
            .bar()
            .is_none_or(|bar| self.in_bar + self.in_bar >= bar);
        self.bars += usize::from(full && !self.in_bar.is_zero());
        self.in_bar = Fraction::ZERO;
        self.tuplet = None;
        if matches!(next, Some(Element::Ending(_))) {
            self.at_line = true;
            return;
        }
        let ends = sign.starts_with(':') || matches!(sign, "||" | "|]");
        if (ends && self.bars > 0) || self.bars >= BARS {
            self.out.push('\n');
            self.bars = 0;
        } else {
            self.out.push(' ');
        }
    }

    fn pass(&mut self, length: Fraction) {
        let mut time = length * self.unit;
        if let Some((factor, left)) = &mut self.tuplet {
            time = time * *factor;
            *left -= 1;
            if *left == 0 {
                self.tuplet = None;
            }
        }
        self.in_bar += time;
    }

    /// A space where a beam group begins.
    fn beam(&mut self) {
        let groups = self.in_bar / self.metre.beam_group();
        if !self.in_bar.is_zero() && groups.denominator() == 1 && !self.out.ends_with(MARKS) {
            self.space();
        }
    }

    fn space(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with([' ', '\n']) {
            self.out.push(' ');
        }
    }
}

/// Ends of marks after which no space may look odd.
const MARKS: [char; 4] = ['(', '}', '"', '.'];

/// `A>B` for lengths that are 3 to 1 of each other and not whole.
fn broken(a: &Note, b: &Note) -> Option<(&'static str, Fraction)> {
    let base = (a.length + b.length) / Fraction::new(2, 1);
    let odd = a.length.denominator() > 1 || b.length.denominator() > 1;
    if !odd || !base.denominator().count_ones().eq(&1) {
        return None;
    }
    let ratio = a.length / base;
    (ratio == Fraction::new(3, 2))
        .then_some((">", base))
        .or((ratio == Fraction::new(1, 2)).then_some(("<", base)))
}
