//! The list of tokens.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::fraction::Fraction;
use crate::key::{Mode, Tonic};
use crate::metre::Metre;
use crate::pitch::{Accidental, Letter, Pitch};
use crate::rhythm::Rhythm;
use crate::tune::{BarLine, BarStyle, Tuplet};

/// Decorations that have a token.
pub(crate) const DECORATIONS: &str = ".~HLMOPSTuv";

/// What a token means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Symbol {
    Pad,
    Start,
    End,
    Rhythm(Rhythm),
    Metre(Metre),
    Unit(Fraction),
    Tonic(Tonic),
    Mode(Mode),
    Accidental(Accidental),
    Pitch(Letter, i8),
    Rest,
    Length(Fraction),
    Bar(BarLine),
    Ending(Vec<u8>),
    Tie,
    Tuplet(Tuplet),
    GraceStart(bool),
    GraceEnd,
    ChordStart,
    ChordEnd,
    SlurStart,
    SlurEnd,
    Decoration(char),
}

/// Names, meanings and the way back.
pub(crate) struct Vocabulary {
    pub(crate) names: Vec<String>,
    pub(crate) symbols: Vec<Symbol>,
    pub(crate) ids: HashMap<String, u32>,
    by_symbol: HashMap<Symbol, u32>,
}

impl Vocabulary {
    /// The id of a meaning.
    pub(crate) fn find(&self, symbol: Symbol, bar: usize) -> Result<u32> {
        match self.by_symbol.get(&symbol) {
            Some(id) => Ok(*id),
            None => Err(Error::NotInVocabulary {
                bar,
                what: describe(&symbol),
            }),
        }
    }

    fn add(&mut self, name: impl Into<String>, symbol: Symbol) {
        let (name, id) = (name.into(), self.names.len() as u32);
        self.ids.insert(name.clone(), id);
        self.by_symbol.insert(symbol.clone(), id);
        self.names.push(name);
        self.symbols.push(symbol);
    }
}

fn describe(symbol: &Symbol) -> String {
    match symbol {
        Symbol::Length(f) => format!("length {f}"),
        Symbol::Metre(m) => format!("metre {m}"),
        Symbol::Unit(u) => format!("unit length {u}"),
        Symbol::Tonic(t) => format!("tonic {t}"),
        Symbol::Pitch(l, o) => format!("pitch {}", Pitch::natural(*l, *o).to_abc()),
        Symbol::Bar(b) => format!("bar line {}", b.to_abc()),
        Symbol::Ending(passes) => format!("ending {passes:?}"),
        Symbol::Tuplet(t) => format!("tuplet ({}:{}:{}", t.p, t.q, t.r),
        other => format!("{other:?}"),
    }
}

/// The one vocabulary. New tokens go to the end, so that old ids keep their meaning.
pub(crate) fn vocabulary() -> &'static Vocabulary {
    static ONCE: OnceLock<Vocabulary> = OnceLock::new();
    ONCE.get_or_init(build)
}

fn build() -> Vocabulary {
    let mut v = Vocabulary {
        names: Vec::new(),
        symbols: Vec::new(),
        ids: HashMap::new(),
        by_symbol: HashMap::new(),
    };
    v.add("<pad>", Symbol::Pad);
    v.add("<start>", Symbol::Start);
    v.add("<end>", Symbol::End);
    for r in Rhythm::ALL {
        v.add(format!("R:{r}"), Symbol::Rhythm(r));
    }
    let times = [
        (2, 2),
        (3, 2),
        (2, 4),
        (3, 4),
        (4, 4),
        (5, 4),
        (6, 4),
        (3, 8),
        (5, 8),
        (6, 8),
        (7, 8),
        (9, 8),
        (12, 8),
    ];
    let named = [Metre::Free, Metre::Common, Metre::Cut].into_iter();
    for m in named.chain(times.map(|(n, d)| Metre::Time(n, d))) {
        v.add(format!("M:{m}"), Symbol::Metre(m));
    }
    for den in [2, 4, 8, 16, 32] {
        v.add(format!("L:1/{den}"), Symbol::Unit(Fraction::new(1, den)));
    }
    for tonic in (-8..=12).filter_map(Tonic::from_fifths) {
        v.add(format!("K:{tonic}"), Symbol::Tonic(tonic));
    }
    for mode in Mode::ALL {
        v.add(mode.name(), Symbol::Mode(mode));
    }
    for a in Accidental::ALL {
        v.add(a.as_abc(), Symbol::Accidental(a));
    }
    for octave in -2..=3 {
        for letter in Letter::ALL {
            v.add(
                Pitch::natural(letter, octave).to_abc(),
                Symbol::Pitch(letter, octave),
            );
        }
    }
    v.add("z", Symbol::Rest);
    let lengths = [
        (1, 8),
        (1, 4),
        (1, 3),
        (3, 8),
        (1, 2),
        (2, 3),
        (3, 4),
        (7, 8),
        (5, 4),
        (4, 3),
        (3, 2),
        (7, 4),
        (15, 8),
        (2, 1),
        (9, 4),
        (5, 2),
        (3, 1),
        (7, 2),
        (4, 1),
        (9, 2),
        (5, 1),
        (11, 2),
        (6, 1),
        (7, 1),
        (8, 1),
        (9, 1),
        (10, 1),
        (11, 1),
        (12, 1),
        (14, 1),
        (16, 1),
        (18, 1),
    ];
    for (n, d) in lengths {
        let length = Fraction::new(n, d);
        v.add(length.to_string(), Symbol::Length(length));
    }
    let plain = [
        BarStyle::Single,
        BarStyle::Double,
        BarStyle::Final,
        BarStyle::Start,
        BarStyle::Dotted,
        BarStyle::Invisible,
    ];
    let both = BarLine {
        repeat_start: 1,
        ..BarLine::repeat_end()
    };
    let repeats = [BarLine::repeat_start(), BarLine::repeat_end(), both];
    for bar in plain.map(BarLine::new).into_iter().chain(repeats) {
        v.add(bar.to_abc(), Symbol::Bar(bar));
    }
    let endings: [&[u8]; 10] = [
        &[1],
        &[2],
        &[3],
        &[4],
        &[1, 2],
        &[1, 3],
        &[2, 3],
        &[2, 4],
        &[3, 4],
        &[1, 2, 3],
    ];
    for passes in endings {
        let text: Vec<String> = passes.iter().map(u8::to_string).collect();
        v.add(
            format!("[{}", text.join(",")),
            Symbol::Ending(passes.to_vec()),
        );
    }
    v.add("-", Symbol::Tie);
    // Both usual numbers of beats: which is meant without saying so depends on the metre.
    let simple = [
        (2, 3),
        (3, 2),
        (4, 3),
        (5, 2),
        (5, 3),
        (6, 2),
        (7, 2),
        (7, 3),
        (8, 3),
        (9, 2),
        (9, 3),
    ];
    for (p, q) in simple {
        v.add(format!("({p}:{q}"), Symbol::Tuplet(Tuplet { p, q, r: p }));
    }
    for (p, q, r) in [
        (3, 2, 2),
        (3, 2, 4),
        (3, 2, 6),
        (6, 4, 6),
        (5, 4, 5),
        (9, 8, 9),
    ] {
        v.add(format!("({p}:{q}:{r}"), Symbol::Tuplet(Tuplet { p, q, r }));
    }
    v.add("{", Symbol::GraceStart(false));
    v.add("{/", Symbol::GraceStart(true));
    v.add("}", Symbol::GraceEnd);
    v.add("[", Symbol::ChordStart);
    v.add("]", Symbol::ChordEnd);
    v.add("(", Symbol::SlurStart);
    v.add(")", Symbol::SlurEnd);
    for c in DECORATIONS.chars() {
        v.add(c.to_string(), Symbol::Decoration(c));
    }
    v
}
