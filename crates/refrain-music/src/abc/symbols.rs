//! Single symbols of a line of music.

use crate::abc::cursor::Cursor;
use crate::abc::header::short;
use crate::error::{Problem, Result};
use crate::fraction::Fraction;
use crate::metre::Metre;
use crate::pitch::{Accidental, Letter, Pitch};
use crate::tune::{BarLine, BarStyle, Element, Ending, Grace, Tuplet};

/// An accidental, a letter and its octave marks.
pub(crate) fn pitch(at: &mut Cursor<'_>) -> Result<Pitch> {
    let mut accidental = None;
    // Longest first: `^^` before `^`.
    for a in [
        Accidental::DoubleSharp,
        Accidental::DoubleFlat,
        Accidental::Sharp,
        Accidental::Flat,
        Accidental::Natural,
    ] {
        if at.eat(a.as_abc()) {
            accidental = Some(a);
            break;
        }
    }
    let Some((letter, c)) = at.peek().and_then(|c| Some((Letter::from_char(c)?, c))) else {
        return at.error(Problem::AccidentalWithoutNote);
    };
    at.skip(1);
    let mut octave = i32::from(c.is_ascii_lowercase());
    loop {
        match at.peek() {
            Some('\'') => octave += 1,
            Some(',') => octave -= 1,
            _ => break,
        }
        at.skip(1);
    }
    match i8::try_from(octave) {
        Ok(octave) if (Pitch::LOWEST_OCTAVE..=Pitch::HIGHEST_OCTAVE).contains(&octave) => {
            Ok(Pitch {
                letter,
                octave,
                accidental,
            })
        }
        _ => at.error(Problem::OctaveOutOfRange),
    }
}

/// `"text"`, without the quotes.
pub(crate) fn text(at: &mut Cursor<'_>) -> Result<String> {
    at.skip(1);
    let rest = at.rest();
    let Some(end) = rest.find('"') else {
        return at.error(Problem::UnclosedText);
    };
    at.skip(end + 1);
    Ok(rest[..end].to_owned())
}

/// `{ga}` or `{/g}`.
pub(crate) fn grace(at: &mut Cursor<'_>) -> Result<Grace> {
    at.skip(1);
    let slashed = at.eat("/");
    let mut notes = Vec::new();
    loop {
        match at.peek() {
            None => return at.error(Problem::UnclosedGrace),
            Some('}') => {
                at.skip(1);
                break;
            }
            Some('^' | '_' | '=' | 'A'..='G' | 'a'..='g') => {
                let pitch = pitch(at)?;
                notes.push((pitch, at.length()?));
            }
            // Rhythm, slurs and bowing among grace notes do not matter.
            Some(' ' | '-' | '>' | '<' | '(' | ')' | '~' | '.' | 'H'..='W' | 'h'..='w') => {
                at.skip(1);
            }
            Some(c) => return at.error(Problem::Unexpected(c)),
        }
    }
    Ok(Grace { slashed, notes })
}

/// `(3`, `(3:2:3` or a slur.
pub(crate) fn tuplet_or_slur(metre: Metre, at: &mut Cursor<'_>) -> Result<Element> {
    at.skip(1);
    let first = at.digits();
    if first.is_empty() {
        return Ok(Element::SlurStart);
    }
    let bad = |at: &Cursor<'_>| at.error(Problem::BadTuplet(format!("({}", short(first))));
    let number = |text: &str| text.parse::<u8>().ok().filter(|n| (1..=16).contains(n));
    let Some(p) = number(first).filter(|p| (2..=9).contains(p)) else {
        return bad(at);
    };
    let mut parts = [None; 2];
    for part in &mut parts {
        // `(3:|` is a tuplet sign before a bar line, which the validator reports.
        let after = at.rest().chars().nth(1);
        if !at.rest().starts_with(':')
            || !matches!(after, Some('0'..='9' | ':' | ' ' | '(' | 'A'..='g'))
        {
            break;
        }
        at.skip(1);
        let digits = at.digits();
        if !digits.is_empty() {
            *part = number(digits);
            if part.is_none() {
                return bad(at);
            }
        }
    }
    let q = parts[0].unwrap_or_else(|| Tuplet::default_q(p, metre));
    Ok(Element::Tuplet(Tuplet {
        p,
        q,
        r: parts[1].unwrap_or(p),
    }))
}

/// `!trill!` or `+trill+`: the name, if it is one.
pub(crate) fn named_decoration(mark: char, at: &mut Cursor<'_>) -> Option<String> {
    let rest = at.rest().strip_prefix(mark)?;
    let end = rest.find(mark)?;
    let name = &rest[..end];
    let fits = (1..=20).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "()<>.-/^".contains(c));
    if !fits {
        return None;
    }
    at.skip(end + 2);
    Some(name.into())
}

/// Any bar line: the longest run of bars and colons.
pub(crate) fn bar_line(at: &mut Cursor<'_>) -> Result<BarLine> {
    if at.eat(".|") {
        return Ok(BarLine::new(BarStyle::Dotted));
    }
    let rest = at.rest();
    let mut end = usize::from(rest.starts_with('['));
    for c in rest[end..].chars() {
        match c {
            '|' | ':' => end += 1,
            ']' if rest[..end].ends_with('|') => {
                end += 1;
                break;
            }
            _ => break,
        }
    }
    let sign = &rest[..end];
    let colons = |n: usize| n.min(8) as u8;
    let before = colons(sign.bytes().take_while(|b| *b == b':').count());
    let after = colons(sign.bytes().rev().take_while(|b| *b == b':').count());
    at.skip(end);
    let middle = sign.trim_matches(':');
    if middle.is_empty() {
        // `::`, with any number of colons; a single one is no bar line.
        return match sign.len() {
            0 | 1 => at.error(Problem::Unexpected(':')),
            _ => Ok(BarLine {
                style: BarStyle::Single,
                repeat_end: 1,
                repeat_start: 1,
            }),
        };
    }
    if before > 0 || after > 0 {
        return Ok(BarLine {
            style: BarStyle::Single,
            repeat_end: before,
            repeat_start: after,
        });
    }
    if middle.contains(':') {
        return Ok(BarLine {
            style: BarStyle::Single,
            repeat_end: 1,
            repeat_start: 1,
        });
    }
    Ok(BarLine::new(match middle {
        "|" => BarStyle::Single,
        "[|]" => BarStyle::Invisible,
        m if m.ends_with(']') => BarStyle::Final,
        m if m.starts_with('[') => BarStyle::Start,
        _ => BarStyle::Double,
    }))
}

/// The numbers of an ending, after `|` or `[`: `1`, `1,3`, `1-3`.
pub(crate) fn ending(at: &mut Cursor<'_>) -> Result<Ending> {
    let mut passes: Vec<u8> = Vec::new();
    let bad = |at: &Cursor<'_>, text: &str| at.error(Problem::BadEnding(short(text)));
    let start = at.rest();
    loop {
        let first = at.digits();
        let Some(low) = first.parse::<u8>().ok().filter(|n| (1..=9).contains(n)) else {
            return bad(at, start);
        };
        let mut high = low;
        if at.rest().starts_with('-') && at.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) {
            at.skip(1);
            let Some(n) = at
                .digits()
                .parse::<u8>()
                .ok()
                .filter(|n| (low..=9).contains(n))
            else {
                return bad(at, start);
            };
            high = n;
        }
        passes.extend(low..=high);
        let mut ahead = at.rest().chars();
        match (ahead.next(), ahead.next()) {
            (Some(','), Some('0'..='9')) => at.skip(1),
            (Some('.'), _) => {
                at.skip(1);
                break;
            }
            _ => break,
        }
    }
    passes.sort_unstable();
    passes.dedup();
    Ok(Ending { passes })
}

/// A length as ABC writes it after a note: nothing for 1, `/` for 1/2.
pub(crate) fn length_to_abc(length: Fraction) -> String {
    match (length.numerator(), length.denominator()) {
        (1, 1) => String::new(),
        (n, 1) => n.to_string(),
        (1, 2) => "/".into(),
        (1, d) => format!("/{d}"),
        (n, d) => format!("{n}/{d}"),
    }
}
