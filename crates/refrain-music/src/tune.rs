//! The tune: a header and a flat list of the symbols of its body.
//!
//! The list follows the notation one to one, so that a writer, a tokenizer and a transposition are
//! simple loops. What notation leaves to the reader (which accidental holds, how long a triplet note
//! is) is worked out by [`Tune::resolve`].

use crate::fraction::Fraction;
use crate::key::Key;
use crate::metre::Metre;
use crate::pitch::Pitch;
use crate::rhythm::Rhythm;

/// A tune as written.
///
/// ```
/// use refrain_music::Tune;
/// let tune = Tune::parse("X:1\nT:The Silver Spear\nR:reel\nM:C|\nL:1/8\nK:D\nA2 FA BAFA |]\n")?;
/// assert_eq!(tune.title(), "The Silver Spear");
/// assert_eq!(Tune::parse(&tune.to_abc())?, tune);
/// # Ok::<(), refrain_music::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tune {
    /// `X:`
    pub number: u32,
    /// `T:`, the first is the name.
    pub titles: Vec<String>,
    /// `R:`, if it is one this crate knows (else it stays in [`fields`](Self::fields)).
    pub rhythm: Option<Rhythm>,
    /// `M:`
    pub metre: Metre,
    /// `L:` in whole notes.
    pub unit: Fraction,
    /// `Q:`
    pub tempo: Option<Tempo>,
    /// `K:`
    pub key: Key,
    /// The other fields, in order: letter and text.
    pub fields: Vec<(char, String)>,
    /// The music.
    pub body: Vec<Element>,
}

/// `Q:`, beats a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tempo {
    /// What counts as a beat, in whole notes.
    pub beat: Fraction,
    /// Beats a minute.
    pub bpm: u32,
}

impl Tempo {
    /// Seconds a whole note lasts.
    pub fn seconds_per_whole(self) -> f64 {
        60.0 / (f64::from(self.bpm.max(1)) * self.beat.to_f64().max(1e-6))
    }
}

/// One symbol of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// A note.
    Note(Note),
    /// A rest.
    Rest(Rest),
    /// Notes struck together.
    Chord(Chord),
    /// Grace notes before the next note.
    Grace(Grace),
    /// The next notes form a tuplet.
    Tuplet(Tuplet),
    /// A bar line.
    Bar(BarLine),
    /// First, second … ending.
    Ending(Ending),
    /// `(`
    SlurStart,
    /// `)`
    SlurEnd,
    /// Belongs to the next note, rest, chord or bar line.
    Decoration(Decoration),
    /// A chord symbol (`"Am"`) or an annotation (`"^slowly"`), without the quotes.
    Text(String),
    /// A change in the middle of the tune.
    Field(Field),
}

/// A note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Note {
    /// The written pitch.
    pub pitch: Pitch,
    /// In unit lengths, before any tuplet.
    pub length: Fraction,
    /// Tied to the next note of the same pitch.
    pub tie: bool,
}

/// A rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rest {
    /// In unit lengths, before any tuplet.
    pub length: Fraction,
    /// False for `x`, which is not drawn.
    pub visible: bool,
}

/// Notes struck together; lasts as long as its first note says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chord {
    /// At least one pitch.
    pub pitches: Vec<Pitch>,
    /// In unit lengths, before any tuplet.
    pub length: Fraction,
    /// Tied to the next chord.
    pub tie: bool,
}

/// Grace notes: they take no time of their own in the bar.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grace {
    /// Drawn with a stroke (`{/g}`).
    pub slashed: bool,
    /// Pitch and written length.
    pub notes: Vec<(Pitch, Fraction)>,
}

/// `p` notes in the time of `q`, for the next `r` notes, rests or chords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuplet {
    /// The number shown.
    pub p: u8,
    /// In the time of how many.
    pub q: u8,
    /// How many notes it covers.
    pub r: u8,
}

impl Tuplet {
    /// The usual `q` of ABC 2.1 (4.13) for a `p`.
    pub fn default_q(p: u8, metre: Metre) -> u8 {
        match p {
            2 => 3,
            3 => 2,
            4 => 3,
            6 => 2,
            8 => 3,
            _ if metre.is_compound() => 3,
            _ => 2,
        }
    }
}

/// How a bar line is drawn, apart from its repeat signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BarStyle {
    /// `|`
    #[default]
    Single,
    /// `||`
    Double,
    /// `|]`
    Final,
    /// `[|`
    Start,
    /// `.|`
    Dotted,
    /// `[|]`
    Invisible,
}

/// A bar line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BarLine {
    /// Its look; [`BarStyle::Single`] where there are repeat signs.
    pub style: BarStyle,
    /// Colons before the line: how often to go back.
    pub repeat_end: u8,
    /// Colons after the line: a repeat starts here.
    pub repeat_start: u8,
}

impl BarLine {
    /// A plain line of a style.
    pub fn new(style: BarStyle) -> Self {
        Self {
            style,
            ..Self::default()
        }
    }

    /// `:|`
    pub fn repeat_end() -> Self {
        Self {
            repeat_end: 1,
            ..Self::default()
        }
    }

    /// `|:`
    pub fn repeat_start() -> Self {
        Self {
            repeat_start: 1,
            ..Self::default()
        }
    }

    /// True where a section of the tune ends or begins.
    pub fn is_boundary(&self) -> bool {
        self.repeat_end > 0
            || self.repeat_start > 0
            || matches!(
                self.style,
                BarStyle::Double | BarStyle::Final | BarStyle::Start
            )
    }

    /// As ABC writes it.
    pub fn to_abc(&self) -> String {
        if self.repeat_end == 1 && self.repeat_start == 1 {
            return "::".into();
        }
        if self.repeat_end > 0 || self.repeat_start > 0 {
            let colons = |n: u8| ":".repeat(usize::from(n));
            return format!("{}|{}", colons(self.repeat_end), colons(self.repeat_start));
        }
        match self.style {
            BarStyle::Single => "|",
            BarStyle::Double => "||",
            BarStyle::Final => "|]",
            BarStyle::Start => "[|",
            BarStyle::Dotted => ".|",
            BarStyle::Invisible => "[|]",
        }
        .into()
    }
}

/// `[1`, `[2`, `[1,3`: played on these passes only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ending {
    /// Passes in ascending order, at least one, each 1 to 9.
    pub passes: Vec<u8>,
}

/// An ornament or articulation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Decoration {
    /// One of `.~HLMOPSTuv`, or another letter a book uses.
    Short(char),
    /// `!trill!`
    Named(String),
}

/// A change of header values inside the tune.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// `[K:…]`
    Key(Key),
    /// `[M:…]`
    Metre(Metre),
    /// `[L:…]`
    Unit(Fraction),
    /// `[Q:…]`
    Tempo(Tempo),
    /// `[P:…]`
    Part(String),
}

impl Element {
    /// Written length of a note, rest or chord in unit lengths.
    pub fn length(&self) -> Option<Fraction> {
        match self {
            Self::Note(n) => Some(n.length),
            Self::Rest(r) => Some(r.length),
            Self::Chord(c) => Some(c.length),
            _ => None,
        }
    }
}

impl Default for Tune {
    fn default() -> Self {
        Self {
            number: 1,
            titles: Vec::new(),
            rhythm: None,
            metre: Metre::Common,
            unit: Fraction::new(1, 8),
            tempo: None,
            key: Key::default(),
            fields: Vec::new(),
            body: Vec::new(),
        }
    }
}

impl Tune {
    /// The first title, or an empty text.
    pub fn title(&self) -> &str {
        self.titles.first().map_or("", String::as_str)
    }

    /// The tune's own tempo, else the usual one of its rhythm, else one that suits the metre.
    pub fn playing_tempo(&self) -> Tempo {
        if let Some(tempo) = self.tempo {
            return tempo;
        }
        let tempo = self.rhythm.unwrap_or(Rhythm::Other).tempo();
        let Some((beats, unit)) = self.metre.fraction() else {
            return tempo;
        };
        // Dances in 2/4 written in semiquavers are the same dance in half the note values.
        if (beats, unit) == (2, 4) && tempo.beat == Fraction::new(1, 2) {
            return Tempo {
                beat: Fraction::new(1, 4),
                bpm: tempo.bpm,
            };
        }
        if self.metre.is_compound() != (tempo.beat == Fraction::new(3, 8)) {
            let bpm = if self.metre.is_compound() { 104 } else { 108 };
            let beat = if self.metre.is_compound() {
                self.metre.beat()
            } else {
                Fraction::new(1, 4)
            };
            return Tempo { beat, bpm };
        }
        tempo
    }

    /// The melody alone: no grace notes, slurs, decorations, text, tempo, part names or secondary
    /// fields; chords become their highest note.
    ///
    /// This is what [`Tokenizer`](crate::Tokenizer) says in its default detail.
    pub fn melody(&self) -> Self {
        let body = self.body.iter().filter_map(|e| match e {
            Element::Chord(c) => {
                let pitch = *c.pitches.iter().max_by_key(|p| p.steps())?;
                Some(Element::Note(Note {
                    pitch,
                    length: c.length,
                    tie: c.tie,
                }))
            }
            Element::Grace(_)
            | Element::SlurStart
            | Element::SlurEnd
            | Element::Decoration(_)
            | Element::Text(_)
            | Element::Field(Field::Part(_) | Field::Tempo(_)) => None,
            other => Some(other.clone()),
        });
        Self {
            fields: Vec::new(),
            tempo: None,
            body: body.collect(),
            ..self.clone()
        }
    }
}
