//! ABC notation, tunes, tokens, MIDI, WAV and scores as pictures.

mod abc;
mod error;
mod features;
mod fraction;
mod key;
mod measure;
mod metre;
mod midi;
mod perform;
mod pitch;
mod playback;
mod resolve;
mod reverb;
mod rhythm;
mod score;
mod similarity;
mod tokens;
mod transpose;
mod tune;
mod validate;
mod wav;

pub use error::{Error, Problem, Result};
pub use features::Features;
pub use fraction::Fraction;
pub use key::{Key, Mode, Tonic};
pub use measure::Measure;
pub use metre::Metre;
pub use midi::Midi;
pub use perform::{Performance, Sounding};
pub use pitch::{Accidental, Letter, Pitch};
pub use playback::{Playback, PlayedNote};
pub use resolve::Resolved;
pub use rhythm::{Rhythm, UnknownRhythm};
pub use score::Score;
pub use similarity::{
    RunIndex, SharedRun, Step, longest_shared_run, longest_shared_run_reference, steps,
};
pub use tokens::{Constraint, Detail, Form, Tokenizer};
pub use tune::{
    BarLine, BarStyle, Chord, Decoration, Element, Ending, Field, Grace, Note, Rest, Tempo, Tune,
    Tuplet,
};
pub use validate::{Issue, Level, Report, Validator};
pub use wav::{Voice, Wav};
