//! Which tokens may come next, so that what a model samples is a tune.
//!
//! A [`Constraint`] follows a sequence token by token and knows how full the bar is. Before each
//! sample it masks what would not fit: a note that overruns its bar, a bar line too early, a repeat
//! sign that leaves the pickup without its complement, an end in the middle of a section. Every
//! sequence it lets through passes the [`Validator`](crate::Validator) strictly: it can only be
//! wrong musically. One step looks at each token of the vocabulary once.

use crate::error::{Error, Result};
use crate::fraction::Fraction;
use crate::pitch::{Accidental, Letter, Pitch};
use crate::tokens::{Symbol, Tokenizer, vocabulary};
use crate::tune::{BarLine, BarStyle};

/// The shape a tune shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Sections, such as the two of most dances.
    pub sections: usize,
    /// Bars in each; with [`longer`](Self::longer), a multiple of it.
    pub bars: usize,
    /// Allow sections of twice, three times … as many bars, up to this many times.
    pub longer: usize,
}

impl Default for Form {
    /// Two sections of eight bars.
    fn default() -> Self {
        Self {
            sections: 2,
            bars: 8,
            longer: 1,
        }
    }
}

/// Follows a sequence and says what may come next.
///
/// ```
/// use refrain_music::{Constraint, Form, Metre, Rhythm, Tokenizer};
/// let t = Tokenizer::default();
/// let header = t.header(Rhythm::Jig, Metre::Time(6, 8), "1/8".parse()?, "D".parse()?)?;
/// let mut constraint = Constraint::new(&header, Some(Form::default()))?;
/// for name in ["d", "3", "A"] {
///     constraint.push(t.id(name).unwrap())?;
/// }
/// let allowed = constraint.allowed();
/// assert!(allowed[t.id("2").unwrap() as usize]); // A2 leaves room for a quaver
/// assert!(!allowed[t.id("4").unwrap() as usize]); // A4 overruns the bar
/// assert!(!allowed[t.id(":|").unwrap() as usize]);
/// # Ok::<(), refrain_music::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Constraint {
    state: State,
    form: Option<Form>,
    position: usize,
}

/// The last note or rest, whose length may still change.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pending {
    Nothing,
    /// Without a length token so far; a pitch, or `None` for a rest.
    Fresh(Option<(Letter, i8)>),
    /// With one.
    Sized(Option<(Letter, i8)>, Fraction),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    None,
    First,
    /// Right after the first: `[2` must come.
    Between,
    Second,
}

#[derive(Clone, Copy, Debug)]
struct State {
    unit: Fraction,
    bar: Fraction,
    /// Time in this bar without the pending note.
    elapsed: Fraction,
    pending: Pending,
    sign: bool,
    /// Notes left in a tuplet and the length its first note set.
    tuplet: Option<(u8, Option<Fraction>)>,
    tied: Option<(Letter, i8)>,
    /// `None` until the first bar line.
    pickup: Option<Fraction>,
    /// In the pickup of a later section.
    in_pickup: bool,
    bars: usize,
    sections: usize,
    repeat_open: bool,
    ending: Ending,
    /// Bars of the section when its first ending began.
    ending_bars: usize,
    /// The last token was a bar line: an ending may come, at a section start a repeat sign.
    at_line: bool,
    at_start: bool,
    done: bool,
}

impl Constraint {
    /// Begins after the header tokens (see [`Tokenizer::header`]).
    ///
    /// # Errors
    /// [`Error::Token`] if these are not header tokens, or the metre is free.
    pub fn new(header: &[u32], form: Option<Form>) -> Result<Self> {
        let bad = |position: usize, reason: &str| Error::Token {
            position,
            reason: reason.into(),
        };
        let symbols = &vocabulary().symbols;
        let (mut unit, mut bar) = (None, None);
        for (position, id) in header.iter().enumerate() {
            match symbols.get(*id as usize) {
                Some(Symbol::Unit(u)) => unit = Some(*u),
                Some(Symbol::Metre(m)) => bar = m.bar(),
                Some(
                    Symbol::Pad
                    | Symbol::Start
                    | Symbol::Rhythm(_)
                    | Symbol::Tonic(_)
                    | Symbol::Mode(_),
                ) => {}
                _ => return Err(bad(position, "not a header token")),
            }
        }
        let (Some(unit), Some(bar)) = (unit, bar) else {
            return Err(bad(
                header.len(),
                "the header needs a unit and a metre with bars",
            ));
        };
        if let Some(form) = form
            && (form.bars < 2 || form.sections == 0 || form.longer == 0)
        {
            let reason = format!("{form:?} has no music: at least 1 section of 2 bars, 1 times");
            return Err(Error::Setting {
                name: "form",
                reason,
            });
        }
        let state = State {
            unit,
            bar,
            elapsed: Fraction::ZERO,
            pending: Pending::Nothing,
            sign: false,
            tuplet: None,
            tied: None,
            pickup: None,
            in_pickup: false,
            bars: 0,
            sections: 0,
            repeat_open: false,
            ending: Ending::None,
            ending_bars: 0,
            at_line: false,
            at_start: true,
            done: false,
        };
        Ok(Self {
            state,
            form,
            position: header.len(),
        })
    }

    /// Takes the next token.
    ///
    /// # Errors
    /// [`Error::Token`] if it is not allowed; the constraint stays as it was.
    pub fn push(&mut self, id: u32) -> Result<()> {
        let next = self.next(id).ok_or_else(|| Error::Token {
            position: self.position,
            reason: format!("{} cannot stand here", Tokenizer::default().text(&[id])),
        })?;
        self.state = next;
        self.position += 1;
        Ok(())
    }

    /// True if this token may come next.
    pub fn allows(&self, id: u32) -> bool {
        self.next(id).is_some()
    }

    /// For each id, whether it may come next; never all false before the end.
    pub fn allowed(&self) -> Vec<bool> {
        (0..vocabulary().symbols.len() as u32)
            .map(|id| self.allows(id))
            .collect()
    }

    /// Sets the logits of tokens that may not come to minus infinity.
    pub fn mask(&self, logits: &mut [f32]) {
        for (id, logit) in logits.iter_mut().enumerate() {
            if !self.allows(id as u32) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    /// True after `<end>`.
    pub fn is_done(&self) -> bool {
        self.state.done
    }

    fn next(&self, id: u32) -> Option<State> {
        let symbol = vocabulary().symbols.get(id as usize)?;
        self.state.step(symbol, self.form)
    }
}

/// Lengths that keep what is left of a bar a multiple of a quarter unit.
fn on_grid(length: Fraction) -> bool {
    4 % length.denominator() == 0
}

impl State {
    fn step(mut self, symbol: &Symbol, form: Option<Form>) -> Option<Self> {
        let full = form.is_some_and(|f| self.sections >= f.sections);
        if self.done || (full && *symbol != Symbol::End) {
            return None;
        }
        if self.sign && !matches!(symbol, Symbol::Pitch(..)) {
            return None;
        }
        if self.ending == Ending::Between && !matches!(symbol, Symbol::Ending(_)) {
            return None;
        }
        match symbol {
            Symbol::Length(length) => return self.length(*length, form),
            Symbol::Tie => return self.tie(form),
            _ => {}
        }
        self.commit(form)?;
        match symbol {
            Symbol::Accidental(a) => {
                let simple = !matches!(a, Accidental::DoubleFlat | Accidental::DoubleSharp);
                let room = self.elapsed < self.limit(form) && self.tied.is_none();
                self.sign = true;
                (simple && room).then_some(self)
            }
            Symbol::Pitch(letter, octave) => {
                let fits = (55..=88).contains(&Pitch::natural(*letter, *octave).midi(0));
                let tie = self.tied.take().is_none_or(|t| t == (*letter, *octave));
                self.sign = false;
                (fits && tie).then_some(())?;
                self.start(Some((*letter, *octave)), form)
            }
            Symbol::Rest if self.tied.is_none() => self.start(None, form),
            Symbol::Tuplet(t) if (t.p, t.q, t.r) == (3, 2, 3) => {
                let room = self.limit(form) - self.elapsed >= self.unit;
                let free = self.tuplet.is_none() && self.tied.is_none();
                self.tuplet = Some((3, None));
                self.leave_line();
                (room && free).then_some(self)
            }
            Symbol::Bar(bar) if self.tuplet.is_none() => self.line(*bar, form),
            Symbol::Ending(passes) => self.begin_ending(passes, form),
            Symbol::End => {
                let whole = form.map_or(self.sections > 0, |f| self.sections == f.sections);
                self.done = true;
                (whole && self.at_start && !self.repeat_open).then_some(self)
            }
            _ => None,
        }
    }

    /// Time this bar may hold.
    fn limit(&self, form: Option<Form>) -> Fraction {
        let pickup = self.pickup.unwrap_or(Fraction::ZERO);
        match form {
            _ if self.in_pickup => pickup,
            Some(f) if self.is_last_bar(f) => self.bar - pickup,
            _ => self.bar,
        }
    }

    /// With the longest form, this bar must end the section; the ends before it are a choice.
    fn is_last_bar(&self, form: Form) -> bool {
        self.pickup.is_some() && self.bars + 1 == form.bars * form.longer
    }

    fn may_end_section(&self, form: Option<Form>) -> bool {
        let whole = |f: Form| (self.bars + 1).is_multiple_of(f.bars);
        let after_pickup = self.pickup.is_some() && !self.in_pickup;
        let full = self.bar - self.pickup.unwrap_or(Fraction::ZERO);
        // A tune of one bar has no pickup to find yet.
        (after_pickup || self.elapsed == self.bar && !self.in_pickup)
            && self.elapsed == full
            && form.is_none_or(whole)
    }

    /// The pending note gets the length it has.
    fn commit(&mut self, form: Option<Form>) -> Option<()> {
        let length = match self.pending {
            Pending::Nothing => return Some(()),
            Pending::Fresh(_) => Fraction::ONE,
            Pending::Sized(_, length) => length,
        };
        self.pending = Pending::Nothing;
        let two = Fraction::new(2, 1);
        if let Some((left, first)) = &mut self.tuplet {
            let set = *first.get_or_insert(length);
            *left -= 1;
            let last = *left == 0;
            // A triplet's notes are alike, and it takes the time of two of them.
            let room = self.elapsed + set * two * self.unit <= self.limit(form);
            if set != length || !room {
                return None;
            }
            if last {
                self.elapsed += set * two * self.unit;
                self.tuplet = None;
            }
            return Some(());
        }
        self.elapsed += length * self.unit;
        (self.elapsed <= self.limit(form)).then_some(())
    }

    fn start(mut self, pitch: Option<(Letter, i8)>, form: Option<Form>) -> Option<Self> {
        let room = self.limit(form) - self.elapsed;
        if room < self.unit * Fraction::new(1, 4) {
            return None;
        }
        self.pending = Pending::Fresh(pitch);
        self.leave_line();
        Some(self)
    }

    fn leave_line(&mut self) {
        self.at_line = false;
        self.at_start = false;
    }

    fn length(mut self, length: Fraction, form: Option<Form>) -> Option<Self> {
        let Pending::Fresh(pitch) = self.pending else {
            return None;
        };
        let halves = matches!((length.numerator(), length.denominator()), (1, 2) | (2, 1));
        if !on_grid(length) || (self.tuplet.is_some() && !halves) {
            return None;
        }
        self.pending = Pending::Sized(pitch, length);
        // Try it: the note must fit.
        let mut after = self;
        after.commit(form)?;
        Some(self)
    }

    fn tie(mut self, form: Option<Form>) -> Option<Self> {
        let (Pending::Fresh(Some(pitch)) | Pending::Sized(Some(pitch), _)) = self.pending else {
            return None;
        };
        if self.tuplet.is_some() {
            return None;
        }
        self.commit(form)?;
        let full = self.elapsed == self.limit(form);
        // Over a plain bar line only, into a bar of the same section.
        let may_cross = self.pickup.is_some()
            && !self.in_pickup
            && self.elapsed == self.bar
            && form.is_none_or(|f| self.bars + 1 < f.bars);
        self.tied = Some(pitch);
        (!full || may_cross).then_some(self)
    }

    fn line(mut self, bar: BarLine, form: Option<Form>) -> Option<Self> {
        let start = bar == BarLine::repeat_start();
        // A repeat sign at the beginning of a section.
        if self.at_start && start && !self.repeat_open {
            let more = form.is_none_or(|f| self.sections < f.sections);
            self.repeat_open = true;
            return more.then_some(self);
        }
        if self.elapsed.is_zero() || self.at_line {
            return None;
        }
        if bar == BarLine::default() {
            return self.plain_line(form);
        }
        if self.tied.is_some() || !self.may_end_section(form) {
            return None;
        }
        let last = form.is_some_and(|f| self.sections + 1 == f.sections);
        let in_second = self.ending == Ending::Second;
        let repeats = bar == BarLine::repeat_end();
        let both = bar.repeat_end == 1 && bar.repeat_start == 1;
        let fits = match bar.style {
            _ if self.ending == Ending::First => repeats,
            _ if repeats => !in_second,
            _ if both => !in_second && !last,
            _ if start => (!self.repeat_open || in_second) && !last,
            BarStyle::Double => (!self.repeat_open || in_second) && !last,
            BarStyle::Final => !self.repeat_open || in_second,
            _ => false,
        };
        if !fits {
            return None;
        }
        self.pickup.get_or_insert(Fraction::ZERO);
        self.elapsed = Fraction::ZERO;
        if self.ending == Ending::First {
            self.ending = Ending::Between;
            self.bars = self.ending_bars;
            self.at_line = true;
            return Some(self);
        }
        self.ending = Ending::None;
        self.bars = 0;
        self.sections += 1;
        self.repeat_open = both || start;
        self.at_start = true;
        self.at_line = false;
        self.in_pickup = self.pickup.is_some_and(|p| !p.is_zero());
        Some(self)
    }

    fn plain_line(mut self, form: Option<Form>) -> Option<Self> {
        if self.pickup.is_none() && self.elapsed < self.bar {
            // The pickup of the tune: at most half a bar.
            let short = self.elapsed + self.elapsed <= self.bar;
            self.pickup = Some(self.elapsed);
            self.elapsed = Fraction::ZERO;
            self.at_line = true;
            return (short && self.tied.is_none()).then_some(self);
        }
        if self.in_pickup {
            let full = Some(self.elapsed) == self.pickup;
            self.in_pickup = false;
            self.elapsed = Fraction::ZERO;
            self.at_line = true;
            return (full && self.tied.is_none()).then_some(self);
        }
        let must_end = form.is_some_and(|f| self.bars + 1 >= f.bars * f.longer);
        if self.elapsed != self.bar || must_end {
            return None;
        }
        // Inside an ending nothing but its own end comes.
        self.pickup.get_or_insert(Fraction::ZERO);
        self.bars += 1;
        self.elapsed = Fraction::ZERO;
        self.at_line = true;
        Some(self)
    }

    fn begin_ending(mut self, passes: &[u8], form: Option<Form>) -> Option<Self> {
        if !self.at_line || self.tied.is_some() {
            return None;
        }
        let next = match (passes, self.ending) {
            ([1], Ending::None) => Ending::First,
            ([2], Ending::Between) => Ending::Second,
            _ => return None,
        };
        // The last bar or two of a section, not its beginning.
        let late = form.map_or(self.bars >= 2, |f| {
            let place = self.bars % f.bars;
            place + 2 >= f.bars && place > 0
        });
        if next == Ending::First && !late {
            return None;
        }
        if next == Ending::First {
            self.ending_bars = self.bars;
        }
        self.ending = next;
        self.at_line = false;
        // The bar line was there; the bar itself is still empty.
        self.elapsed = Fraction::ZERO;
        Some(self)
    }
}

#[cfg(test)]
#[path = "constraint_tests.rs"]
mod tests;
