//! ABC notation, tunes, tokens, MIDI, WAV and scores as pictures.

mod abc;
mod error;
mod features;
mod fraction;
mod key;
mod measure;
mod metre;
mod perform;
mod pitch;
mod resolve;
mod rhythm;
mod tokens;
mod tune;
mod validate;

pub use error::{Error, Problem, Result};
pub use features::Features;
pub use fraction::Fraction;
pub use key::{Key, Mode, Tonic};
pub use measure::Measure;
pub use metre::Metre;
pub use perform::{Performance, Sounding};
pub use pitch::{Accidental, Letter, Pitch};
pub use resolve::Resolved;
pub use rhythm::{Rhythm, UnknownRhythm};
pub use tokens::{Constraint, Detail, Form, Tokenizer};
pub use tune::{
    BarLine, BarStyle, Chord, Decoration, Element, Ending, Field, Grace, Note, Rest, Tempo, Tune,
    Tuplet,
};
pub use validate::{Issue, Level, Report, Validator};
