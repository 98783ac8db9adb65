//! Heads, stems, flags, beams, signs, dots, rests and grace notes.

use std::fmt::Write;

use crate::fraction::Fraction;
use crate::pitch::{Accidental, Pitch};
use crate::score::canvas::Canvas;
use crate::score::glyphs;
use crate::score::staff::{Placed, height};

/// Draws every event of a line; fills in stems and how high each reaches.
pub(crate) fn draw(canvas: &mut Canvas, placed: &mut [Placed<'_>]) {
    let mut from = 0;
    while from < placed.len() {
        let beam = placed[from].event.beam;
        let beamable = |p: &Placed<'_>| p.event.flags > 0 && !p.event.pitches.is_empty();
        let mut to = from + 1;
        while to < placed.len()
            && placed[to].event.beam == beam
            && beamable(&placed[to])
            && beamable(&placed[from])
        {
            to += 1;
        }
        let group = &mut placed[from..to];
        stems(canvas, group);
        for p in group.iter_mut() {
            event(canvas, p, to - from == 1);
        }
        if to - from > 1 {
            beams(canvas, group);
        }
        from = to;
    }
}

/// Chooses the direction of a group's stems and where they end.
fn stems(canvas: &mut Canvas, group: &mut [Placed<'_>]) {
    let s = canvas.space;
    let middle = 2.0 * s;
    // The note farthest from the middle line decides.
    let (mut low, mut high) = (0.0f64, 0.0f64);
    for y in group.iter().flat_map(|p| p.heads(s)) {
        low = low.max(y - middle);
        high = high.max(middle - y);
    }
    let up = low > high;
    let single = group.len() == 1;
    for p in group.iter_mut() {
        p.up = up;
        let heads = p.heads(s);
        let (Some(top), Some(bottom)) = (heads.first(), heads.last()) else {
            continue;
        };
        let length = 3.4 * s + 0.75 * s * f64::from(p.event.flags.saturating_sub(2));
        p.tip = if up {
            (top - length).min(middle)
        } else {
            (bottom + length).max(middle)
        };
    }
    if single {
        return;
    }
    let flags = group.iter().map(|p| p.event.flags).max().unwrap_or(1);
    let least = 2.6 * s + 0.7 * s * f64::from(flags.saturating_sub(1));
    let near = |p: &Placed<'_>| {
        let heads = p.heads(s);
        let y = if up { heads.first() } else { heads.last() };
        y.copied().unwrap_or(middle)
    };
    let (Some(first), Some(last)) = (group.first(), group.last()) else {
        return;
    };
    let run = (last.x - first.x).max(1.0);
    let rise = ((near(last) - near(first)) * 0.45).clamp(-1.1 * s, 1.1 * s);
    let slope = rise / run;
    let x0 = first.x;
    // The beam lies as near as the note with the shortest stem lets it, and not beyond the middle.
    let offset = group.iter().map(|p| {
        let line = slope * (p.x - x0);
        if up {
            (near(p) - least).min(middle) - line
        } else {
            (near(p) + least).max(middle) - line
        }
    });
    let start = if up {
        offset.fold(f64::MAX, f64::min)
    } else {
        offset.fold(f64::MIN, f64::max)
    };
    for p in group.iter_mut() {
        p.tip = start + slope * (p.x - x0);
    }
}

/// Where a stem stands.
fn stem_x(p: &Placed<'_>, s: f64) -> f64 {
    if p.up { p.x + 0.55 * s } else { p.x - 0.55 * s }
}

fn event(canvas: &mut Canvas, p: &mut Placed<'_>, flagged: bool) {
    let s = canvas.space;
    let _ = write!(canvas.out, "<g data-e=\"{}\">", p.event.element);
    if p.event.pitches.is_empty() {
        rest(canvas, p);
        canvas.out.push_str("</g>");
        p.above = 0.0;
        return;
    }
    let heads = p.heads(s);
    let top = heads.first().copied().unwrap_or(0.0);
    let bottom = heads.last().copied().unwrap_or(0.0);
    note_heads(canvas, p);
    let has_stem = p.event.base < Fraction::ONE;
    if has_stem {
        let x = stem_x(p, s) - 0.06 * s;
        let (y0, y1) = if p.up { (p.tip, bottom) } else { (top, p.tip) };
        canvas.rect(x, y0, 0.12 * s, y1 - y0);
        if flagged {
            let glyph = if p.up {
                glyphs::FLAG_UP
            } else {
                glyphs::FLAG_DOWN
            };
            for k in 0..p.event.flags {
                let step = 0.75 * s * f64::from(k) * if p.up { 1.0 } else { -1.0 };
                let scale = if p.event.flags > 1 { 0.85 } else { 1.0 };
                canvas.glyph(glyph, stem_x(p, s), p.tip + step, scale);
            }
        }
    } else {
        p.tip = if p.up { top } else { bottom };
    }
    for y in &heads {
        for dot in 0..p.event.dots {
            // On a line the dot goes to the space above.
            let on_line = ((y / (s / 2.0)).round() as i64).rem_euclid(2) == 0;
            let dy = if on_line { -0.5 * s } else { 0.0 };
            let flag = if flagged && p.up && p.event.flags > 0 {
                0.35
            } else {
                0.0
            };
            canvas.circle(
                p.x + (1.15 + flag + 0.5 * f64::from(dot)) * s,
                y + dy,
                0.2 * s,
            );
        }
    }
    graces(canvas, p);
    canvas.out.push_str("</g>");
    p.above = top.min(if p.up { p.tip } else { top }) - 0.5 * s;
    canvas.reach(p.above);
    canvas.reach(bottom.max(if p.up { bottom } else { p.tip }) + 0.6 * s);
}

/// Heads with their signs and ledger lines.
fn note_heads(canvas: &mut Canvas, p: &Placed<'_>) {
    let s = canvas.space;
    let glyph = match p.event.base {
        b if b >= Fraction::ONE => glyphs::WHOLE_HEAD,
        b if b >= Fraction::new(1, 2) => glyphs::HALF_HEAD,
        _ => glyphs::BLACK_HEAD,
    };
    let mut pitches = p.event.pitches.clone();
    pitches.sort_by_key(|q| q.steps());
    let mut previous: Option<(i32, bool)> = None;
    let mut signs = 0;
    for pitch in &pitches {
        let steps = pitch.steps();
        // The upper note of a second stands on the stem's other side.
        let aside = previous.is_some_and(|(q, a)| steps - q == 1 && !a);
        previous = Some((steps, aside));
        let shift = if aside {
            1.15 * s * if p.up { 1.0 } else { -1.0 }
        } else {
            0.0
        };
        ledgers(canvas, p.x + shift, steps, 1.0);
        canvas.hollow_glyph(glyph, p.x + shift, height(steps, s), 1.0);
        if let Some(sign) = pitch.accidental {
            accidental(
                canvas,
                sign,
                p.x - (1.2 + 1.0 * f64::from(signs % 2)) * s,
                steps,
                1.0,
            );
            signs += 1;
        }
    }
}

fn accidental(canvas: &mut Canvas, sign: Accidental, x: f64, steps: i32, scale: f64) {
    let s = canvas.space;
    let y = height(steps, s);
    match sign {
        Accidental::Sharp => canvas.glyph(glyphs::SHARP, x, y, scale),
        Accidental::Natural => canvas.hollow_glyph(glyphs::NATURAL, x, y, scale),
        Accidental::Flat => canvas.hollow_glyph(glyphs::FLAT, x, y, scale),
        Accidental::DoubleSharp => canvas.glyph(glyphs::DOUBLE_SHARP, x, y, scale),
        Accidental::DoubleFlat => {
            canvas.hollow_glyph(glyphs::FLAT, x - 0.7 * s * scale, y, scale);
            canvas.hollow_glyph(glyphs::FLAT, x, y, scale);
        }
    }
}

fn ledgers(canvas: &mut Canvas, x: f64, steps: i32, scale: f64) {
    let s = canvas.space;
    let mut line = |at: i32| {
        let half = (0.62 * scale + 0.38) * s;
        canvas.rect(x - half, height(at, s) - 0.06 * s, 2.0 * half, 0.12 * s);
    };
    (steps..=0).filter(|k| k % 2 == 0).for_each(&mut line);
    (12..=steps).filter(|k| k % 2 == 0).for_each(line);
}

fn rest(canvas: &mut Canvas, p: &Placed<'_>) {
    let s = canvas.space;
    if !p.event.visible {
        return;
    }
    let y = 2.0 * s;
    let base = p.event.base;
    if p.alone || base >= Fraction::ONE {
        canvas.glyph(glyphs::WHOLE_REST, p.x, y, 1.0);
    } else if base >= Fraction::new(1, 2) {
        canvas.glyph(glyphs::HALF_REST, p.x, y, 1.0);
    } else if base >= Fraction::new(1, 4) {
        canvas.glyph(glyphs::QUARTER_REST, p.x, y, 1.0);
    } else {
        for k in 0..p.event.flags {
            let k = f64::from(k);
            canvas.glyph(glyphs::EIGHTH_REST, p.x - 0.15 * s * k, y + s * k, 1.0);
        }
    }
    for dot in 0..(if p.alone { 0 } else { p.event.dots }) {
        canvas.circle(p.x + (0.95 + 0.5 * f64::from(dot)) * s, 1.5 * s, 0.2 * s);
    }
}

/// Small notes before a note, beamed if there are several.
fn graces(canvas: &mut Canvas, p: &Placed<'_>) {
    let s = canvas.space;
    let graces: &[Pitch] = &p.event.graces;
    if graces.is_empty() {
        return;
    }
    let scale = 0.62;
    let mut x = p.x - (p.event.before() - 0.05) * s;
    let mut places = Vec::new();
    for pitch in graces {
        if let Some(sign) = pitch.accidental {
            accidental(canvas, sign, x, pitch.steps(), scale);
            x += 0.65 * s;
        }
        ledgers(canvas, x, pitch.steps(), scale);
        canvas.glyph(glyphs::BLACK_HEAD, x, height(pitch.steps(), s), scale);
        places.push((x + 0.33 * s, height(pitch.steps(), s)));
        x += 1.0 * s;
    }
    let top = places.iter().map(|(_, y)| *y).fold(f64::MAX, f64::min) - 2.3 * s;
    for (x, y) in &places {
        canvas.rect(x - 0.05 * s, top, 0.1 * s, y - top);
    }
    canvas.reach(top - 0.2 * s);
    match (places.first(), places.last()) {
        (Some((a, _)), Some((b, _))) if places.len() > 1 => {
            for k in [0.0, 0.45] {
                canvas.slab(
                    (a - 0.05 * s, top + k * s),
                    (b + 0.05 * s, top + k * s),
                    0.28 * s,
                );
            }
        }
        (Some((a, _)), _) => {
            canvas.glyph(glyphs::FLAG_UP, *a, top, scale);
            if p.event.slashed {
                canvas.slab(
                    (a - 0.5 * s, top + 1.25 * s),
                    (a + 0.6 * s, top + 0.35 * s),
                    0.1 * s,
                );
            }
        }
        _ => {}
    }
}

fn beams(canvas: &mut Canvas, group: &[Placed<'_>]) {
    let s = canvas.space;
    let (Some(first), Some(last)) = (group.first(), group.last()) else {
        return;
    };
    let slope = (last.tip - first.tip) / (last.x - first.x).max(1.0);
    let thick = 0.5 * s;
    let levels = group.iter().map(|p| p.event.flags).max().unwrap_or(1);
    for level in 1..=levels {
        let shift = 0.75 * s * f64::from(level - 1);
        let mut i = 0;
        while i < group.len() {
            if group[i].event.flags < level {
                i += 1;
                continue;
            }
            let mut j = i;
            while j + 1 < group.len() && group[j + 1].event.flags >= level {
                j += 1;
            }
            let (a, b) = (&group[i], &group[j]);
            let (mut x0, mut x1) = (stem_x(a, s), stem_x(b, s));
            if i == j {
                // A stub towards the neighbour it divides the beat with.
                if i == 0 { x1 += 1.1 * s } else { x0 -= 1.1 * s }
            }
            let at = |x: f64, p: &Placed<'_>| {
                let y = p.tip + slope * (x - stem_x(p, s));
                if p.up { y + shift } else { y - shift - thick }
            };
            let (y0, y1) = (at(x0, a), at(x1, b));
            canvas.slab((x0 - 0.06 * s, y0), (x1 + 0.06 * s, y1), thick);
            i = j + 1;
        }
    }
}
