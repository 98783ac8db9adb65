//! Parts of the maintenance example `bundle_tunes`.

pub(crate) mod clean;
pub(crate) mod repair;
pub(crate) mod titles;

use refrain_music::{Metre, Result, Rhythm, Tune};

/// The two books.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Book {
    /// O'Neill's Music of Ireland, 1903.
    ONeill,
    /// Ryan's Mammoth Collection, 1883.
    Ryan,
}

impl Book {
    /// Folder in the corpus.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::ONeill => "oneills1850",
            Self::Ryan => "ryansMammoth",
        }
    }

    /// Title of the book.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ONeill => "O'Neill's Music of Ireland",
            Self::Ryan => "Ryan's Mammoth Collection",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::ONeill => "oneill",
            Self::Ryan => "ryan",
        }
    }
}

/// One transcription.
pub(crate) struct Entry {
    /// `oneill-0123`, `ryan-0045`.
    pub(crate) id: String,
    /// O'Neill: number in the book; Ryan: place of the file in the folder.
    pub(crate) number: usize,
    /// Title as transcribed.
    pub(crate) title: String,
    /// The book.
    pub(crate) book: Book,
    /// File it comes from.
    pub(crate) file: String,
    /// Cleaned text.
    pub(crate) text: String,
    /// What was put right, see [`repair`].
    pub(crate) repairs: Vec<&'static str>,
    /// What the parser says.
    pub(crate) tune: Result<Tune>,
}

impl Entry {
    /// Reads number and title from the text.
    pub(crate) fn new(book: Book, file: &str, place: usize, text: String) -> Self {
        let field = |letter: &str| {
            text.lines()
                .find_map(|l| l.strip_prefix(letter))
                .unwrap_or("")
                .trim()
                .to_owned()
        };
        let number = match book {
            Book::ONeill => field("X:").parse().unwrap_or(0),
            Book::Ryan => place,
        };
        let id = format!("{}-{number:04}", book.prefix());
        let mut tune = Tune::parse(&text);
        let repairs = tune.as_mut().map(repair::repair).unwrap_or_default();
        Self {
            id,
            number,
            title: field("T:"),
            book,
            file: file.into(),
            text,
            repairs,
            tune,
        }
    }

    /// 2 if it parses and is valid, 1 if it parses.
    pub(crate) fn rank(&self) -> u8 {
        match &self.tune {
            Ok(tune) if tune.validate().is_valid() => 2,
            Ok(_) => 1,
            Err(_) => 0,
        }
    }

    /// The lines of music: fields that change key, metre, unit or part stay, remarks do not.
    pub(crate) fn body(&self) -> String {
        if let (Ok(tune), false) = (&self.tune, self.repairs.is_empty()) {
            return tune.body_to_abc().trim_end().into();
        }
        let after_key = self
            .text
            .lines()
            .skip_while(|l| !l.starts_with("K:"))
            .skip(1);
        let lines = after_key.filter(|l| {
            let remark = l.starts_with(|c: char| "ABCDFGHNORSTUWXZw".contains(c))
                && l.get(1..2) == Some(":")
                && !matches!(l.get(2..3), Some("|" | ":"));
            !remark && !l.starts_with('%') && !l.trim().is_empty()
        });
        lines.map(str::trim).collect::<Vec<_>>().join("\n")
    }
}

/// The kind of tune: its `R:`, else its title, else the section of the book, else its metre.
pub(crate) fn rhythm(entry: &Entry, tune: &Tune) -> Rhythm {
    let compound_three = tune.metre == Metre::Time(9, 8);
    let said = tune.rhythm.or_else(|| titles::rhythm(&entry.title));
    let section = match (entry.book, entry.number) {
        (Book::Ryan, _) => None,
        // The sections of the 1903 edition.
        (_, ..=700) => Some(Rhythm::Air),
        (_, 701..=1115) => Some(Rhythm::Jig),
        (_, 1116..=1175) => Some(Rhythm::SlipJig),
        (_, 1176..=1555) => Some(Rhythm::Reel),
        (_, 1556..=1780) => Some(Rhythm::Hornpipe),
        (_, 1781..=1800) => Some(Rhythm::SetDance),
        (_, _) => Some(Rhythm::March),
    };
    // In O'Neill's book the section is the editor's own word; a song in it may be named a march.
    let found = match entry.book {
        Book::ONeill if entry.number <= 700 || (1781..=1800).contains(&entry.number) => section,
        _ => said.or(section),
    };
    match found {
        Some(Rhythm::Jig) if compound_three => Rhythm::SlipJig,
        Some(rhythm) => rhythm,
        None => match tune.metre {
            Metre::Time(9, 8) => Rhythm::SlipJig,
            Metre::Time(6, 8) => Rhythm::Jig,
            Metre::Time(3, 4 | 8) => Rhythm::Waltz,
            _ => Rhythm::Other,
        },
    }
}
