//! The crate's error.

use std::path::PathBuf;

/// What can go wrong with notation, tokens and sound files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The ABC text cannot be understood.
    #[error("line {line}: {problem}")]
    Abc {
        /// Line in the text, from 1.
        line: usize,
        /// What is wrong there.
        problem: Problem,
    },
    /// Tokens that do not spell a tune.
    #[error("token {position}: {reason}")]
    Token {
        /// Place in the sequence, from 0.
        position: usize,
        /// What was expected or found.
        reason: String,
    },
    /// A tune that cannot be said in tokens.
    #[error("bar {bar}: the token vocabulary has no word for {what}")]
    NotInVocabulary {
        /// Bar, from 1; 0 is the header.
        bar: usize,
        /// What is missing.
        what: String,
    },
    /// A transposition that leaves the range of notation.
    #[error("transposing by {semitones} semitones leaves the range of octaves ABC can write here")]
    OutOfRange {
        /// How far it was.
        semitones: i32,
    },
    /// A setting that makes no sense.
    #[error("{name}: {reason}")]
    Setting {
        /// The field.
        name: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn abc(line: usize, problem: Problem) -> Self {
        Self::Abc { line, problem }
    }

    /// The same error at another line, for text taken from the middle of a file.
    pub(crate) fn at_line(self, line: usize) -> Self {
        match self {
            Self::Abc { problem, .. } => Self::Abc { line, problem },
            other => other,
        }
    }
}

/// What is wrong at a line of ABC; part of [`Error::Abc`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// No tune in the text.
    #[error("the text holds no tune (a tune needs at least a K: line)")]
    NoTune,
    /// A header line that is not a field.
    #[error("expected a header field such as `T:` or `K:`, found {0:?}")]
    NotAField(String),
    /// The header ends without `K:`.
    #[error("the header ends without a `K:` (key) field")]
    MissingKey,
    /// A tune without notes.
    #[error("the tune has no notes")]
    NoNotes,
    /// `X:` is not a number.
    #[error("`X:` wants a number, found {0:?}")]
    BadNumber(String),
    /// `K:` cannot be read.
    #[error("key {0:?} is not understood; examples: G, Bb, F#m, Ador, D mix")]
    BadKey(String),
    /// `M:` cannot be read.
    #[error("metre {0:?} is not understood; examples: C, C|, 6/8, none")]
    BadMetre(String),
    /// `L:` cannot be read.
    #[error("unit note length {0:?} is not understood; examples: 1/8, 1/16")]
    BadUnit(String),
    /// `Q:` cannot be read.
    #[error("tempo {0:?} is not understood; examples: 120, 1/4=96")]
    BadTempo(String),
    /// A character without a meaning here.
    #[error("unexpected {0:?}")]
    Unexpected(char),
    /// An accidental without a note.
    #[error("an accidental must be followed by a note")]
    AccidentalWithoutNote,
    /// An octave out of range.
    #[error("a note lies too many octaves away")]
    OctaveOutOfRange,
    /// A note length that is zero or too long.
    #[error("note length {0:?} is out of range")]
    BadLength(String),
    /// `"` without its partner.
    #[error("text in quotes is not closed")]
    UnclosedText,
    /// `[` without `]`.
    #[error("a chord is not closed by `]`")]
    UnclosedChord,
    /// A chord without notes.
    #[error("a chord holds no notes")]
    EmptyChord,
    /// `{` without `}`.
    #[error("grace notes are not closed by `}}`")]
    UnclosedGrace,
    /// `[K:` without `]`.
    #[error("an inline field is not closed by `]`")]
    UnclosedField,
    /// A tuplet that cannot be read or ends before its notes.
    #[error("tuplet {0:?} is not understood or lacks notes")]
    BadTuplet(String),
    /// `>` or `<` without a note on each side.
    #[error("broken rhythm needs a note on each side")]
    BrokenRhythm,
    /// `-` without a note before it.
    #[error("a tie needs a note before it")]
    TieWithoutNote,
    /// An ending whose numbers cannot be read.
    #[error("ending {0:?} is not understood; examples: [1, [1,3")]
    BadEnding(String),
    /// Something ABC allows and this crate does not read.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// A tune longer than any tune.
    #[error("the tune is too long (more than {0} symbols)")]
    TooLong(usize),
}

/// This crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
