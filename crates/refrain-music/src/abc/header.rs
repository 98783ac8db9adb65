//! Lines, tunes in a book, and header fields.

use crate::abc::body::Body;
use crate::error::{Error, Problem, Result};
use crate::fraction::Fraction;
use crate::key::Key;
use crate::metre::Metre;
use crate::tune::{Tempo, Tune};

impl Tune {
    /// Reads one tune of ABC 2.1.
    ///
    /// The text may start with `X:` or any other header field; it ends at the end of the text or at
    /// the first empty line after the music began. The dialect of older transcriptions is taken
    /// too: `+DA+` chords, `!` line breaks, letters such as `T` and `u` as decorations.
    ///
    /// # Errors
    /// [`Error::Abc`] with the line (from 1) and a typed [`Problem`].
    pub fn parse(text: &str) -> Result<Self> {
        let lines: Vec<(usize, &str)> = lines(text).collect();
        parse_lines(&lines)
    }

    /// Reads every tune of a book (a file with many `X:` lines); errors carry the book's lines.
    pub fn parse_book(text: &str) -> Vec<Result<Self>> {
        split_book(text)
            .into_iter()
            .map(|lines| parse_lines(&lines))
            .collect()
    }
}

/// Lines with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.split('\n')
        .enumerate()
        .map(|(i, l)| (i + 1, l.trim_end_matches('\r')))
}

fn split_book(text: &str) -> Vec<Vec<(usize, &str)>> {
    let mut tunes: Vec<Vec<(usize, &str)>> = Vec::new();
    for (number, line) in lines(text) {
        if line.starts_with("X:") {
            tunes.push(Vec::new());
        }
        // What stands before the first X: is the book's own header.
        if let Some(tune) = tunes.last_mut() {
            tune.push((number, line));
        }
    }
    tunes
}

/// `T: text` as letter and trimmed text.
pub(crate) fn field(line: &str) -> Option<(char, &str)> {
    let mut chars = line.chars();
    let letter = chars.next().filter(char::is_ascii_alphabetic)?;
    let rest = chars.as_str();
    Some((letter, rest.strip_prefix(':')?.trim()))
}

/// Cuts a `%` comment that is neither escaped nor inside quotes.
pub(crate) fn strip_comment(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (i, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            // An unclosed quote does not hide a comment for ever: `%` ends the line either way.
            '%' if !escaped && (!quoted || !line[i..].contains('"')) => return &line[..i],
            _ => {}
        }
        escaped = c == '\\';
    }
    line
}

fn parse_lines(lines: &[(usize, &str)]) -> Result<Tune> {
    let mut tune = Tune::default();
    let mut unit: Option<Fraction> = None;
    let mut metre: Option<Metre> = None;
    let mut lines = lines.iter().copied();
    let mut begun = false;
    let mut last = 1;
    let key_line = loop {
        let Some((number, raw)) = lines.next() else {
            let problem = if begun {
                Problem::MissingKey
            } else {
                Problem::NoTune
            };
            return Err(Error::abc(last, problem));
        };
        last = number;
        if raw.starts_with('%') {
            continue;
        }
        // Titles and notes may hold a per cent sign; only music and its settings take comments.
        let line = match field(raw) {
            Some(('T' | 'N' | 'Z' | 'C' | 'S' | 'B', _)) => raw.trim_end(),
            _ => strip_comment(raw).trim_end(),
        };
        if line.is_empty() {
            continue;
        }
        let Some((letter, text)) = field(line) else {
            return Err(Error::abc(number, Problem::NotAField(short(line))));
        };
        begun = true;
        match letter {
            'X' => {
                let digits = text.split_whitespace().next().unwrap_or("");
                tune.number = digits
                    .parse()
                    .map_err(|_| Error::abc(number, Problem::BadNumber(short(text))))?;
            }
            'M' => metre = Some(text.parse::<Metre>().map_err(|e| e.at_line(number))?),
            'L' => unit = Some(parse_unit(text, number)?),
            'Q' => {
                let unit = unit.unwrap_or_else(|| metre.unwrap_or_default().default_unit());
                tune.tempo = parse_tempo(text, unit, number)?;
            }
            'K' => {
                tune.key = text.parse::<Key>().map_err(|e| e.at_line(number))?;
                break number;
            }
            'V' => {
                return Err(Error::abc(
                    number,
                    Problem::Unsupported("more than one voice"),
                ));
            }
            _ => push_text(&mut tune, letter, text),
        }
    };
    tune.metre = metre.unwrap_or_default();
    tune.unit = unit.unwrap_or_else(|| tune.metre.default_unit());
    let mut body = Body::new(&tune);
    let mut end = key_line;
    for (number, raw) in lines {
        if raw.trim().is_empty() {
            if body.has_music() {
                break;
            }
            continue;
        }
        if raw.starts_with("X:") {
            break;
        }
        end = number;
        body.line(raw, number, &mut tune)?;
    }
    tune.body = body.finish(end)?;
    Ok(tune)
}

/// Keeps a field that is only text: a title, a rhythm, or one of the others.
pub(crate) fn push_text(tune: &mut Tune, letter: char, text: &str) {
    match (letter, text.parse()) {
        _ if text.is_empty() => {}
        ('T', _) => tune.titles.push(text.into()),
        ('R', Ok(rhythm)) if tune.rhythm.is_none() => tune.rhythm = Some(rhythm),
        _ => tune.fields.push((letter, text.into())),
    }
}

pub(crate) fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// `1/8`, also `1/8.` or `1`; a power of two no finer than 1/64.
pub(crate) fn parse_unit(text: &str, line: usize) -> Result<Fraction> {
    let read = || {
        let (num, den) = text.split_once('/').unwrap_or((text, "1"));
        let num: i64 = num.trim().parse().ok()?;
        let den: i64 = den.trim().parse().ok()?;
        (num == 1 && (1..=64).contains(&den) && den & (den - 1) == 0)
            .then(|| Fraction::new(num, den))
    };
    read().ok_or_else(|| Error::abc(line, Problem::BadUnit(short(text))))
}

/// `120`, `1/4=96`, `"Allegro" 3/8=100`; a tempo in words alone is no tempo.
pub(crate) fn parse_tempo(text: &str, unit: Fraction, line: usize) -> Result<Option<Tempo>> {
    let bad = || Error::abc(line, Problem::BadTempo(short(text)));
    let mut plain = String::new();
    for (i, part) in text.split('"').enumerate() {
        if i % 2 == 0 {
            plain.push_str(part);
        }
    }
    let plain = plain.trim();
    if plain.is_empty() {
        return Ok(None);
    }
    let (beat, bpm) = match plain.split_once('=') {
        Some((beat, bpm)) => {
            let beat = beat.trim();
            let beat = match beat.strip_prefix('C') {
                // `C=100` of ABC 1.6: a unit length.
                Some("") => unit,
                Some(n) => Fraction::new(n.parse::<u8>().map_err(|_| bad())?.into(), 1) * unit,
                None => {
                    let mut sum = Fraction::ZERO;
                    for part in beat.split_whitespace() {
                        let (n, d) = part.split_once('/').ok_or_else(bad)?;
                        let n: u8 = n.parse().map_err(|_| bad())?;
                        let d: u8 = d.parse().map_err(|_| bad())?;
                        if !d.is_power_of_two() || d > 64 {
                            return Err(bad());
                        }
                        sum += Fraction::new(n.into(), d.into());
                    }
                    sum
                }
            };
            (beat, bpm.trim())
        }
        // A bare number counts quarters, as the programs of these books took it.
        None => (Fraction::new(1, 4), plain),
    };
    let bpm: u32 = bpm.parse().map_err(|_| bad())?;
    if beat.is_zero() || beat > Fraction::new(3, 1) || !(1..=999).contains(&bpm) {
        return Err(bad());
    }
    Ok(Some(Tempo { beat, bpm }))
}
