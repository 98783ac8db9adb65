//! Tunes: ABC notation in, and out come performances, tokens for models, sound, pictures, numbers.
//!
//! The centre is [`Tune`], a header and a flat list of symbols ([`Element`]) that mirrors ABC 2.1.
//! Everything else is a way in or out of it:
//!
//! ```text
//!  ABC text ──► Tune::parse ──►  Tune  ──► validate ──► Report
//!  tokens ────► Tokenizer ────►   │    ──► transpose, melody ──► Tune
//!                                 │    ──► to_abc ──► text
//!        ┌────────────┬───────────┼─────────────┬───────────────┐
//!        ▼            ▼           ▼             ▼               ▼
//!    perform       features    Tokenizer      Score         RunIndex
//!   (timed notes)  (numbers)   (ids, mask)    (SVG)    (copied from where?)
//!        │
//!   Playback ──► Midi, Wav
//! ```
//!
//! # Read, check, write
//!
//! ```
//! use refrain_music::Tune;
//!
//! let tune = Tune::parse(
//!     "X:1\nT:The Kesh\nR:jig\nM:6/8\nL:1/8\nK:G\n|:G2G GAB|A2A ABd|edd gdd|edB dBA:|\n",
//! )?;
//! assert!(tune.validate().is_valid());
//! assert_eq!(Tune::parse(&tune.to_abc())?, tune);
//!
//! // Errors name the line and what was expected.
//! let error = Tune::parse("X:1\nM:6/8\nK:G\nGAB H2 ^|\n").unwrap_err();
//! assert_eq!(error.to_string(), "line 4: unexpected '2'");
//! # Ok::<(), refrain_music::Error>(())
//! ```
//!
//! # Hear and see
//!
//! ```
//! use refrain_music::{Midi, Playback, Score, Tune, Voice, Wav};
//!
//! let tune = Tune::parse("X:1\nT:Scale\nR:reel\nM:C|\nL:1/8\nK:Dmix\nDEFG ABcd|]\n")?;
//! let midi: Vec<u8> = Midi::default().to_bytes(&tune)?;
//! let wav = Wav { voice: Voice::Harp, sample_rate: 22_050, ..Wav::default() }.to_bytes(&tune)?;
//! let svg: String = Score::default().to_svg(&tune)?;
//! for note in Playback::default().notes(&tune)? {
//!     // note.element is the `data-e` of the note in the picture.
//!     assert!(svg.contains(&format!("data-e=\"{}\"", note.element.unwrap())));
//! }
//! # assert!(midi.len() > 50 && wav.len() > 1000);
//! # Ok::<(), refrain_music::Error>(())
//! ```
//!
//! # Teach a model
//!
//! ```
//! use refrain_music::{Constraint, Form, Tokenizer, Tune, longest_shared_run};
//!
//! let tune = Tune::parse("X:1\nR:reel\nM:C|\nL:1/8\nK:G\nGABc dedB|cABG A4|]\n")?;
//! let tokenizer = Tokenizer::default();
//! let ids = tokenizer.encode(&tune)?;                       // <start> R:reel M:C| … <end>
//! assert_eq!(tokenizer.decode(&ids)?, tokenizer.image(&tune));
//!
//! // While a model writes, the constraint masks what would not add up.
//! let header = tokenizer.header_of(&tune)?;
//! let constraint = Constraint::new(&header, Some(Form { sections: 2, bars: 8, longer: 1 }))?;
//! let mut logits = vec![0.0; tokenizer.size()];
//! constraint.mask(&mut logits);
//!
//! // And afterwards: how much is copied from what it learnt?
//! assert_eq!(longest_shared_run(&tune, [&tune]).notes, 13);
//! # Ok::<(), refrain_music::Error>(())
//! ```
//!
//! # What is where
//!
//! | for | use |
//! |---|---|
//! | one tune, a book of tunes | [`Tune::parse`], [`Tune::parse_book`] |
//! | which key sounds, how long | [`Tune::resolve`], [`Tune::measures`] |
//! | does it add up, is it in range and key | [`Tune::validate`], [`Validator`] |
//! | repeats and endings played out | [`Tune::perform`] |
//! | another key | [`Tune::transpose`], [`Tune::transpose_to`] |
//! | numbers for a recommender | [`Tune::features`], [`Features::vector`] |
//! | tokens, strict or repaired | [`Tokenizer::decode`], [`Tokenizer::repair`] |
//! | sampling only what is valid | [`Constraint`] |
//! | copies | [`longest_shared_run`], [`RunIndex`] |
//! | files | [`Midi`], [`Wav`], [`Score`] |
//!
//! # What it does not do
//!
//! One voice only: `V:` with several voices and `&` are an error that says so. Lyrics under the
//! notes and layout instructions (`%%`) are skipped. Beams and line breaks follow the metre, not the
//! source's spaces.

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
