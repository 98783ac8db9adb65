//! What stands around the notes: ties, slurs, tuplet figures, ornaments, words, endings.

use crate::pitch::Pitch;
use crate::score::canvas::Canvas;
use crate::score::glyphs;
use crate::score::layout::Bar;
use crate::score::staff::{Placed, height};
use crate::tune::Decoration;

/// Draws the marks of a line.
pub(crate) fn draw(
    canvas: &mut Canvas,
    placed: &mut [Placed<'_>],
    bars: &[Bar],
    bar_x: &[(f64, f64)],
    carried: Option<Pitch>,
    end: f64,
) {
    ties(canvas, placed, carried, end);
    slurs(canvas, placed, end);
    tuplets(canvas, placed);
    for p in placed.iter_mut() {
        decorations(canvas, p);
    }
    for p in placed.iter_mut() {
        words(canvas, p);
    }
    endings(canvas, placed, bars, bar_x);
}

fn ties(canvas: &mut Canvas, placed: &[Placed<'_>], carried: Option<Pitch>, end: f64) {
    let s = canvas.space;
    let bulge = |up: bool| if up { 0.9 * s } else { -0.9 * s };
    let near = |y: f64, up: bool| y + if up { 0.55 * s } else { -0.55 * s };
    if let (Some(_), Some(p)) = (carried, placed.first())
        && let Some(pitch) = p.event.pitches.first()
    {
        let y = near(height(pitch.steps(), s), p.up);
        canvas.arc((p.x - 2.4 * s, y), (p.x - 0.5 * s, y), bulge(p.up));
    }
    for (i, p) in placed.iter().enumerate().filter(|(_, p)| p.event.tie) {
        for pitch in &p.event.pitches {
            let y = near(height(pitch.steps(), s), p.up);
            let from = (p.x + 0.45 * s, y);
            let to = match placed.get(i + 1) {
                None => (end, y),
                Some(next) => {
                    let same = next
                        .event
                        .pitches
                        .iter()
                        .find(|q| q.steps() == pitch.steps());
                    let target = same.or(next.event.pitches.first()).unwrap_or(pitch);
                    (next.x - 0.45 * s, near(height(target.steps(), s), p.up))
                }
            };
            canvas.arc(from, to, bulge(p.up));
        }
    }
}

fn slurs(canvas: &mut Canvas, placed: &[Placed<'_>], end: f64) {
    let s = canvas.space;
    let mut open: Vec<usize> = Vec::new();
    let mut arcs: Vec<(Option<usize>, Option<usize>)> = Vec::new();
    for (i, p) in placed.iter().enumerate() {
        (0..p.event.slurs_begin).for_each(|_| open.push(i));
        for _ in 0..p.event.slurs_end {
            arcs.push((open.pop(), Some(i)));
        }
    }
    arcs.extend(open.into_iter().map(|i| (Some(i), None)));
    for (from, to) in arcs {
        let (first, last) = (
            from.unwrap_or(0),
            to.unwrap_or(placed.len().saturating_sub(1)),
        );
        let Some(inside) = placed.get(first..=last).filter(|p| !p.is_empty()) else {
            continue;
        };
        if first == last && from.is_some() && to.is_some() {
            continue;
        }
        // Under the heads if all stems go up, else over everything.
        let below = inside.iter().all(|p| p.up || p.event.pitches.is_empty());
        let edge = |p: &Placed<'_>| {
            let heads = p.heads(s);
            if below {
                heads.last().copied().unwrap_or(4.0 * s) + 0.75 * s
            } else if p.up {
                p.tip - 0.5 * s
            } else {
                heads.first().copied().unwrap_or(0.0) - 0.75 * s
            }
        };
        let (a, b) = (&inside[0], &inside[inside.len() - 1]);
        let x0 = if from.is_some() { a.x } else { a.x - 2.2 * s };
        let x1 = if to.is_some() { b.x } else { end };
        let (y0, y1) = (edge(a), edge(b));
        let chord = |x: f64| y0 + (y1 - y0) * (x - x0) / (x1 - x0).max(1.0);
        // High enough to clear the notes between.
        let clear = inside.iter().map(|p| {
            if below {
                edge(p) - chord(p.x)
            } else {
                chord(p.x) - edge(p)
            }
        });
        let height = clear.fold(0.0, f64::max) + ((x1 - x0) * 0.1).clamp(0.8 * s, 1.7 * s);
        canvas.arc((x0, y0), (x1, y1), if below { height } else { -height });
    }
}

fn tuplets(canvas: &mut Canvas, placed: &mut [Placed<'_>]) {
    let s = canvas.space;
    let mut i = 0;
    while i < placed.len() {
        let Some((id, figure)) = placed[i].event.tuplet else {
            i += 1;
            continue;
        };
        let count = placed[i..]
            .iter()
            .take_while(|p| p.event.tuplet.is_some_and(|t| t.0 == id))
            .count();
        let group = &mut placed[i..i + count];
        let (x0, x1) = (group[0].x, group[count - 1].x);
        let beamed = group.iter().all(|p| p.event.beam == group[0].event.beam);
        let under = beamed && group.iter().all(|p| !p.up);
        let y = if under {
            group.iter().map(|p| p.tip).fold(f64::MIN, f64::max) + 1.7 * s
        } else {
            group.iter().map(|p| p.above).fold(f64::MAX, f64::min) - 0.2 * s
        };
        let style = "text-anchor=\"middle\" font-style=\"italic\" font-weight=\"bold\"";
        let middle = (x0 + x1) / 2.0 + if group[0].up { 0.3 * s } else { -0.2 * s };
        canvas.text(&figure.to_string(), middle, y, 1.5 * s, style);
        if !beamed {
            let (a, b) = (x0 - 0.6 * s, x1 + 0.6 * s);
            let line = y - 0.5 * s;
            canvas.rect(a, line, middle - 0.8 * s - a, 0.1 * s);
            canvas.rect(middle + 0.8 * s, line, b - middle - 0.8 * s, 0.1 * s);
            canvas.rect(a, line, 0.1 * s, 0.6 * s);
            canvas.rect(b, line, 0.1 * s, 0.6 * s);
        }
        if !under {
            group
                .iter_mut()
                .for_each(|p| p.above = p.above.min(y - 1.4 * s));
        }
        i += count;
    }
}

fn decorations(canvas: &mut Canvas, p: &mut Placed<'_>) {
    let s = canvas.space;
    let mut up = p.above.min(-0.5 * s);
    for decoration in &p.event.decorations {
        let (glyph, tall) = match decoration {
            Decoration::Short('.') => {
                dot(canvas, p);
                continue;
            }
            Decoration::Named(n) if n == "staccato" => {
                dot(canvas, p);
                continue;
            }
            Decoration::Short('~') => (glyphs::TURN, 0.9),
            Decoration::Short('H') => (glyphs::FERMATA, 1.2),
            Decoration::Short('u') => (glyphs::UP_BOW, 1.3),
            Decoration::Short('v') => (glyphs::DOWN_BOW, 1.2),
            Decoration::Short('L') => (glyphs::ACCENT, 0.9),
            Decoration::Short('M' | 'P') => (glyphs::MORDENT, 0.8),
            Decoration::Short('T') => {
                up -= 0.4 * s;
                let style = "text-anchor=\"middle\" font-style=\"italic\" font-weight=\"bold\"";
                canvas.text("tr", p.x, up, 1.7 * s, style);
                up -= 1.4 * s;
                continue;
            }
            Decoration::Named(n) => match n.as_str() {
                "fermata" => (glyphs::FERMATA, 1.2),
                "accent" | ">" | "emphasis" => (glyphs::ACCENT, 0.9),
                "roll" | "turn" => (glyphs::TURN, 0.9),
                "upbow" => (glyphs::UP_BOW, 1.3),
                "downbow" => (glyphs::DOWN_BOW, 1.2),
                "mordent" | "lowermordent" | "uppermordent" | "pralltriller" => {
                    (glyphs::MORDENT, 0.8)
                }
                other => {
                    let style = "text-anchor=\"middle\" font-style=\"italic\" font-weight=\"bold\"";
                    canvas.text(other, p.x, up - 0.3 * s, 1.5 * s, style);
                    up -= 1.6 * s;
                    continue;
                }
            },
            // Letters of a book's own.
            Decoration::Short(_) => continue,
        };
        up -= tall * s * 0.6;
        canvas.glyph(glyph, p.x, up, 1.0);
        up -= tall * s * 0.6;
        canvas.reach(up);
    }
    if up < p.above.min(-0.5 * s) {
        p.above = up;
    }
}

/// A staccato dot on the head's side.
fn dot(canvas: &mut Canvas, p: &Placed<'_>) {
    let s = canvas.space;
    let heads = p.heads(s);
    let y = if p.up {
        heads.last().map(|y| y + 1.0 * s)
    } else {
        heads.first().map(|y| y - 1.0 * s)
    };
    let Some(mut y) = y else { return };
    // Not on a staff line.
    let on_line = (y / s - (y / s).round()).abs() < 0.2 && (0.0..=4.0 * s).contains(&y);
    if on_line {
        y += 0.5 * s * if p.up { 1.0 } else { -1.0 };
    }
    canvas.circle(p.x, y, 0.2 * s);
    canvas.reach(y);
}

/// Chord symbols bold, fingerings small, remarks in italics.
fn words(canvas: &mut Canvas, p: &mut Placed<'_>) {
    let s = canvas.space;
    for text in &p.event.texts {
        let word = text.trim_start_matches(['^', '_', '<', '>', '@']);
        if word.is_empty() || (text.starts_with('_') && word.starts_with(['<', '>'])) {
            continue;
        }
        let fingering = word.len() <= 2 && word.bytes().all(|b| b.is_ascii_digit());
        let chord = is_chord(text);
        let y = p.above.min(-0.6 * s) - 0.3 * s;
        let (size, style) = match (fingering, chord) {
            (true, _) => (
                1.15 * s,
                "text-anchor=\"middle\" font-family=\"sans-serif\"",
            ),
            (_, true) => (1.7 * s, "font-weight=\"bold\" font-family=\"sans-serif\""),
            _ => (1.45 * s, "font-style=\"italic\""),
        };
        let x = if chord { p.x - 0.6 * s } else { p.x };
        canvas.text(word, x, y, size, style);
        p.above = y - size * 0.85;
    }
}

fn is_chord(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| ('A'..='G').contains(&c))
        && text.len() <= 8
        && chars.all(|c| c.is_ascii_digit() || "#bmMajindsugABCDEFG/+°7-".contains(c))
}

fn endings(canvas: &mut Canvas, placed: &[Placed<'_>], bars: &[Bar], bar_x: &[(f64, f64)]) {
    let s = canvas.space;
    let mut i = 0;
    while i < bars.len() {
        if let (Some(part), Some((x, _))) = (&bars[i].part, bar_x.get(i)) {
            canvas.text(part, *x, -2.6 * s, 1.7 * s, "font-weight=\"bold\"");
        }
        if !bars[i].in_ending {
            i += 1;
            continue;
        }
        // The bracket runs on to the bar that closes it, or the end of the line.
        let mut j = i;
        while j + 1 < bars.len()
            && !bars[j].ending_closes
            && bars[j + 1].in_ending
            && bars[j + 1].ending.is_none()
        {
            j += 1;
        }
        let top = placed
            .iter()
            .filter(|p| (i..=j).contains(&p.bar))
            .map(|p| p.above)
            .fold(-1.2 * s, f64::min);
        let y = top - 1.9 * s;
        if let (Some((x0, _)), Some((_, x1))) = (bar_x.get(i), bar_x.get(j)) {
            let (x0, x1) = (x0 + 0.2 * s, x1 - 0.3 * s);
            canvas.rect(x0, y, x1 - x0, 0.12 * s);
            if let Some(text) = &bars[i].ending {
                canvas.rect(x0, y, 0.12 * s, 1.7 * s);
                canvas.text(text, x0 + 0.5 * s, y + 1.6 * s, 1.5 * s, "");
            }
            if bars[j].ending_closes {
                canvas.rect(x1 - 0.12 * s, y, 0.12 * s, 1.7 * s);
            }
            canvas.reach(y - 0.3 * s);
        }
        i = j + 1;
    }
}
