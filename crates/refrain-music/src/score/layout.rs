//! From symbols to things with a width, gathered in measures and lines.

use crate::fraction::Fraction;
use crate::key::Key;
use crate::metre::Metre;
use crate::pitch::Pitch;
use crate::tune::{BarLine, BarStyle, Decoration, Element, Field, Tune};

/// A note, chord or rest to be drawn.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// Index in the body.
    pub(crate) element: usize,
    /// Empty for a rest.
    pub(crate) pitches: Vec<Pitch>,
    pub(crate) visible: bool,
    /// Drawn value: whole notes without dots, and dots.
    pub(crate) base: Fraction,
    pub(crate) dots: u8,
    /// Number of flags or beams.
    pub(crate) flags: u8,
    pub(crate) tie: bool,
    pub(crate) graces: Vec<Pitch>,
    pub(crate) slashed: bool,
    pub(crate) decorations: Vec<Decoration>,
    pub(crate) texts: Vec<String>,
    pub(crate) slurs_begin: u8,
    pub(crate) slurs_end: u8,
    /// Events with the same number are beamed together.
    pub(crate) beam: usize,
    /// Number of the tuplet it belongs to and the figure to show.
    pub(crate) tuplet: Option<(usize, u8)>,
}

/// What stands in a measure.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Event(Box<Event>),
    Key(Key),
    Metre(Metre),
}

/// A measure with the lines around it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bar {
    pub(crate) items: Vec<Item>,
    pub(crate) open_repeat: bool,
    pub(crate) close: Option<BarLine>,
    /// Numbers of the ending that begins here.
    pub(crate) ending: Option<String>,
    /// In an ending begun earlier, or here.
    pub(crate) in_ending: bool,
    pub(crate) ending_closes: bool,
    pub(crate) part: Option<String>,
    /// The key after the measure, for the line that follows.
    pub(crate) key: Key,
}

impl Event {
    /// Room before the head for signs and grace notes, in spaces.
    pub(crate) fn before(&self) -> f64 {
        let signs = self
            .pitches
            .iter()
            .filter(|p| p.accidental.is_some())
            .count();
        let graces: f64 = self
            .graces
            .iter()
            .map(|g| if g.accidental.is_some() { 1.6 } else { 1.0 })
            .sum::<f64>();
        signs.min(2) as f64 * 1.05 + graces + if self.graces.is_empty() { 0.0 } else { 0.35 }
    }

    fn width(&self) -> f64 {
        let length = self.base.to_f64() * if self.dots > 0 { 1.5 } else { 1.0 };
        let tuplet = if self.tuplet.is_some() { 0.85 } else { 1.0 };
        let spread = (length * 32.0).max(0.5).log2();
        self.before() + (1.25 + 0.62 * spread) * tuplet + f64::from(self.dots) * 0.35
    }
}

impl Item {
    /// Natural width in spaces.
    pub(crate) fn width(&self) -> f64 {
        match self {
            Self::Event(e) => e.width(),
            Self::Key(k) => key_width(k),
            Self::Metre(_) => 2.2,
        }
    }

    /// True if the width may be stretched.
    pub(crate) fn stretches(&self) -> bool {
        matches!(self, Self::Event(_))
    }
}

pub(crate) fn key_width(key: &Key) -> f64 {
    let signs = crate::pitch::Letter::ALL
        .iter()
        .filter(|l| key.alter(**l) != 0)
        .count();
    if signs == 0 {
        0.0
    } else {
        0.95 * signs as f64 + 0.5
    }
}

impl Bar {
    /// Natural width in spaces: fixed part and stretchable part.
    pub(crate) fn width(&self) -> (f64, f64) {
        let mut fixed = 0.7;
        let mut soft = 0.0;
        for item in &self.items {
            if item.stretches() {
                soft += item.width();
            } else {
                fixed += item.width();
            }
        }
        if self.open_repeat {
            fixed += 1.3;
        }
        fixed += self.close.map_or(0.0, line_width);
        (fixed, soft)
    }
}

/// Width of a bar line in spaces, up to its right edge.
pub(crate) fn line_width(bar: BarLine) -> f64 {
    match bar.style {
        _ if bar.repeat_end > 0 => 1.6,
        BarStyle::Double | BarStyle::Start => 0.89,
        BarStyle::Final => 0.95,
        BarStyle::Invisible => 0.3,
        BarStyle::Single | BarStyle::Dotted => 0.34,
    }
}

/// Splits a written duration in whole notes into a note value and dots.
fn value(duration: Fraction) -> (Fraction, u8) {
    let mut base = Fraction::new(2, 1);
    let half = Fraction::new(1, 2);
    let mut steps = 0;
    while base > duration && steps < 9 {
        base = base * half;
        steps += 1;
    }
    let dots = match duration / base {
        r if r >= Fraction::new(7, 4) => 2,
        r if r >= Fraction::new(3, 2) => 1,
        _ => 0,
    };
    (base, dots)
}

/// Gathers the tune's measures.
pub(crate) fn bars(tune: &Tune) -> Vec<Bar> {
    Gather::new(tune).run(tune)
}

struct Gather {
    out: Vec<Bar>,
    bar: Bar,
    unit: Fraction,
    metre: Metre,
    key: Key,
    time: Fraction,
    /// Shifts beam groups in a pickup, which ends with its bar.
    offset: Fraction,
    beam: usize,
    last_group: Option<(i64, bool)>,
    tuplet: Option<(usize, u8, Fraction, u8)>,
    tuplets: usize,
    pending: Pending,
    in_ending: bool,
}

/// Marks that wait for their note.
#[derive(Default)]
struct Pending {
    graces: Vec<Pitch>,
    slashed: bool,
    decorations: Vec<Decoration>,
    texts: Vec<String>,
    slurs: u8,
}

impl Gather {
    fn new(tune: &Tune) -> Self {
        Self {
            out: Vec::new(),
            bar: Bar::default(),
            unit: tune.unit,
            metre: tune.metre,
            key: tune.key,
            time: Fraction::ZERO,
            offset: Fraction::ZERO,
            beam: 0,
            last_group: None,
            tuplet: None,
            tuplets: 0,
            pending: Pending::default(),
            in_ending: false,
        }
    }

    fn run(mut self, tune: &Tune) -> Vec<Bar> {
        let measures = tune.measures();
        let mut next_measure = measures.iter().peekable();
        for (i, element) in tune.body.iter().enumerate() {
            while next_measure.peek().is_some_and(|m| m.elements.end <= i) {
                next_measure.next();
            }
            if let (Some(m), true) = (next_measure.peek(), self.time.is_zero()) {
                let short = m.expected.filter(|e| m.after_boundary && m.duration < *e);
                self.offset = short.map_or(Fraction::ZERO, |e| e - m.duration);
            }
            match element {
                Element::Note(n) => self.event(i, vec![n.pitch], n.length, n.tie, true),
                Element::Chord(c) => self.event(i, c.pitches.clone(), c.length, c.tie, true),
                Element::Rest(r) => self.event(i, Vec::new(), r.length, false, r.visible),
                Element::Grace(g) => {
                    self.pending.graces.extend(g.notes.iter().map(|(p, _)| *p));
                    self.pending.slashed |= g.slashed;
                }
                Element::Tuplet(t) => {
                    self.tuplets += 1;
                    let factor = Fraction::new(t.q.into(), t.p.max(1).into());
                    self.tuplet = Some((self.tuplets, t.p, factor, t.r.max(1)));
                }
                Element::Bar(bar) => self.line(*bar),
                Element::Ending(e) => {
                    let text: Vec<String> = e.passes.iter().map(u8::to_string).collect();
                    self.bar.ending = Some(format!("{}.", text.join(", ")));
                    self.in_ending = true;
                }
                Element::SlurStart => self.pending.slurs += 1,
                Element::SlurEnd => {
                    if let Some(event) = self.last_event() {
                        event.slurs_end += 1;
                    }
                }
                Element::Decoration(d) => self.pending.decorations.push(d.clone()),
                Element::Text(t) => self.pending.texts.push(t.clone()),
                Element::Field(Field::Key(k)) => {
                    self.key = *k;
                    self.bar.items.push(Item::Key(*k));
                }
                Element::Field(Field::Metre(m)) => {
                    self.metre = *m;
                    self.bar.items.push(Item::Metre(*m));
                }
                Element::Field(Field::Unit(u)) => self.unit = *u,
                Element::Field(Field::Part(p)) => self.bar.part = Some(p.clone()),
                Element::Field(Field::Tempo(_)) => {}
            }
        }
        if self.bar.items.iter().any(Item::stretches) {
            self.close(None);
        }
        self.out
    }

    fn last_event(&mut self) -> Option<&mut Event> {
        self.bar.items.iter_mut().rev().find_map(|i| match i {
            Item::Event(e) => Some(e.as_mut()),
            _ => None,
        })
    }

    fn event(
        &mut self,
        element: usize,
        pitches: Vec<Pitch>,
        length: Fraction,
        tie: bool,
        visible: bool,
    ) {
        let written = length * self.unit;
        let (base, dots) = value(written);
        let flags = match base.denominator() {
            d if base.numerator() == 1 && d >= 8 => d.trailing_zeros() as u8 - 2,
            _ => 0,
        };
        let mut factor = Fraction::ONE;
        let mut tuplet = None;
        if let Some((id, p, f, left)) = &mut self.tuplet {
            factor = *f;
            tuplet = Some((*id, *p));
            *left -= 1;
            if *left == 0 {
                self.tuplet = None;
            }
        }
        let group = ((self.time + self.offset) / self.metre.beam_group()).floor();
        let beamed = flags > 0 && !pitches.is_empty();
        if !(beamed && self.last_group == Some((group, true))) {
            self.beam += 1;
        }
        self.last_group = Some((group, beamed));
        self.time += written * factor;
        let marks = std::mem::take(&mut self.pending);
        self.bar.items.push(Item::Event(Box::new(Event {
            element,
            pitches,
            visible,
            base,
            dots,
            flags: flags.min(4),
            tie,
            graces: marks.graces,
            slashed: marks.slashed,
            decorations: marks.decorations,
            texts: marks.texts,
            slurs_begin: marks.slurs,
            slurs_end: 0,
            beam: self.beam,
            tuplet,
        })));
    }

    fn line(&mut self, bar: BarLine) {
        if self.bar.items.iter().any(Item::stretches) {
            // Marks before a bar line (a fermata, `D.C.`) belong to the measure it ends.
            let marks = std::mem::take(&mut self.pending);
            if let Some(event) = self.last_event() {
                event.decorations.extend(marks.decorations);
                event.texts.extend(marks.texts);
            }
            self.close(Some(bar));
        } else if let Some(last) = self.out.last_mut() {
            // Two lines in a row are one that says both.
            let held = last.close.unwrap_or_default();
            let style = if held.style == BarStyle::Single || bar.style == BarStyle::Final {
                bar.style
            } else {
                held.style
            };
            let repeat_end = held.repeat_end.max(bar.repeat_end);
            last.close = Some(BarLine {
                style,
                repeat_end,
                repeat_start: 0,
            });
            last.ending_closes |= last.in_ending && bar.is_boundary();
            if bar.is_boundary() {
                self.in_ending = false;
            }
        }
        self.bar.open_repeat |= bar.repeat_start > 0;
    }

    fn close(&mut self, line: Option<BarLine>) {
        let mut bar = std::mem::take(&mut self.bar);
        let ends = line.is_none_or(|l| l.is_boundary());
        bar.in_ending = self.in_ending;
        bar.ending_closes = self.in_ending && ends;
        if ends {
            self.in_ending = false;
        }
        bar.close = line.map(|l| BarLine {
            repeat_start: 0,
            ..l
        });
        bar.key = self.key;
        self.bar.open_repeat = line.is_some_and(|l| l.repeat_start > 0);
        self.out.push(bar);
        self.time = Fraction::ZERO;
        self.last_group = None;
        self.tuplet = None;
        self.beam += 1;
    }
}

/// Divides measures into lines of about equal fullness; returns the first bar of each line.
pub(crate) fn lines(bars: &[Bar], first: f64, other: f64) -> Vec<usize> {
    let n = bars.len();
    let widths: Vec<(f64, f64)> = bars.iter().map(Bar::width).collect();
    // best[j]: least cost of setting the first j bars, and where their last line begins.
    let mut best = vec![(f64::INFINITY, 0usize); n + 1];
    best[0] = (0.0, 0);
    for j in 1..=n {
        for i in (0..j).rev() {
            let room = if i == 0 { first } else { other };
            let (mut fixed, mut soft) = (0.0, 0.0);
            for (f, s) in &widths[i..j] {
                fixed += f;
                soft += s;
            }
            let stretch = (room - fixed) / soft.max(1e-6);
            let full = fixed + soft > room * 1.08;
            if full && j - i > 1 {
                break;
            }
            let last = j == n;
            let mut cost = if last && stretch > 1.6 {
                0.4
            } else {
                (stretch.max(0.1).ln()).powi(2)
            };
            // Lines like to end where sections end, and to hold an even number of bars.
            if !bars[j - 1]
                .close
                .is_some_and(|b| b.is_boundary() || b.repeat_end > 0)
            {
                cost += 0.12;
            }
            let counted = bars[i..j].iter().filter(|b| b.width().1 > 5.0).count();
            cost += if counted.is_multiple_of(4) {
                0.0
            } else if counted.is_multiple_of(2) {
                0.05
            } else {
                0.15
            };
            if best[i].0 + cost < best[j].0 {
                best[j] = (best[i].0 + cost, i);
            }
        }
    }
    let mut starts = Vec::new();
    let mut j = n;
    while j > 0 {
        j = best[j].1;
        starts.push(j);
    }
    starts.reverse();
    starts
}
