//! One line of music: staff, clef, signatures, bar lines, and where each note stands.

use std::fmt::Write;

use crate::key::Key;
use crate::metre::Metre;
use crate::pitch::Letter;
use crate::score::canvas::Canvas;
use crate::score::layout::{self, Bar, Event, Item, key_width};
use crate::score::{beams, glyphs, marks, outlines};
use crate::tune::{BarLine, BarStyle, Tune};

/// An event with its place on the line.
pub(crate) struct Placed<'a> {
    pub(crate) event: &'a Event,
    /// Centre of the head.
    pub(crate) x: f64,
    /// Which bar of the line.
    pub(crate) bar: usize,
    /// Alone in its bar.
    pub(crate) alone: bool,
    pub(crate) up: bool,
    /// Far end of the stem; the head's own height for whole notes and rests.
    pub(crate) tip: f64,
    /// Highest thing drawn for it so far.
    pub(crate) above: f64,
}

impl Placed<'_> {
    /// Heights of the heads, highest first, in pixels.
    pub(crate) fn heads(&self, space: f64) -> Vec<f64> {
        let mut ys: Vec<f64> = self
            .event
            .pitches
            .iter()
            .map(|p| height(p.steps(), space))
            .collect();
        ys.sort_by(f64::total_cmp);
        ys
    }
}

/// Height of a staff step in pixels below the top line.
pub(crate) fn height(steps: i32, space: f64) -> f64 {
    (10 - steps) as f64 * space / 2.0
}

/// Draws all lines of a tune.
pub(crate) fn lines(tune: &Tune, width: f64, space: f64) -> Vec<Canvas> {
    let bars = layout::bars(tune);
    let head = 3.4 + key_width(&tune.key);
    let room = width / space;
    // Later lines may have another key; the first one's room will do for planning.
    let starts = layout::lines(&bars, room - head - 2.4, room - head);
    let mut out = Vec::new();
    let mut key = tune.key;
    let mut carried = None;
    for (i, &from) in starts.iter().enumerate() {
        let to = starts.get(i + 1).copied().unwrap_or(bars.len());
        let Some(slice) = bars.get(from..to) else {
            continue;
        };
        let metre = (i == 0).then_some(tune.metre);
        let last = i + 1 == starts.len();
        let mut line = Line {
            canvas: Canvas::new(space),
            width,
            placed: Vec::new(),
            bar_x: Vec::new(),
        };
        line.draw(slice, key, metre, last, carried);
        carried = slice
            .last()
            .and_then(|b| {
                b.items.iter().rev().find_map(|i| {
                    if let Item::Event(e) = i {
                        Some(e)
                    } else {
                        None
                    }
                })
            })
            .and_then(|e| e.tie.then(|| e.pitches.first().copied()).flatten());
        if let Some(bar) = slice.last() {
            key = bar.key;
        }
        out.push(line.canvas);
    }
    out
}

struct Line<'a> {
    canvas: Canvas,
    width: f64,
    placed: Vec<Placed<'a>>,
    /// Where each bar begins and ends.
    bar_x: Vec<(f64, f64)>,
}

impl<'a> Line<'a> {
    fn draw(
        &mut self,
        bars: &'a [Bar],
        key: Key,
        metre: Option<Metre>,
        last: bool,
        carried: Option<crate::pitch::Pitch>,
    ) {
        let s = self.canvas.space;
        // A line holding a single short bar is drawn as wide as it needs.
        let mut x = 1.7 * s;
        self.canvas.glyph(outlines::CLEF, x, 3.0 * s, 1.0);
        let (drop_x, drop_y, drop_r) = outlines::CLEF_DROP;
        self.canvas
            .circle(x + drop_x * s, 3.0 * s + drop_y * s, drop_r * s);
        self.canvas.reach(-1.5 * s);
        self.canvas.reach(5.6 * s);
        x += 1.7 * s;
        self.key(&key, x);
        x += key_width(&key) * s;
        if let Some(metre) = metre
            && metre != Metre::Free
        {
            self.metre(metre, x + 0.8 * s);
            x += 2.2 * s;
        }
        let (mut fixed, mut soft) = (0.0, 0.0);
        for bar in bars {
            let (f, w) = bar.width();
            fixed += f;
            soft += w;
        }
        let mut stretch = ((self.width - x) / s - fixed) / soft.max(1e-6);
        let ragged = last && stretch > 1.7;
        if ragged {
            stretch = 1.35;
        }
        let stretch = stretch.max(0.4);
        for (k, bar) in bars.iter().enumerate() {
            let begin = x;
            x = self.bar(k, bar, x, stretch, k == 0);
            self.bar_x.push((begin, x));
        }
        let end = if ragged { x } else { self.width };
        let mut staff = String::new();
        for line in 0..5 {
            let _ = write!(
                staff,
                "<rect x=\"0\" y=\"{:.2}\" width=\"{end:.2}\" height=\"{:.2}\"/>",
                f64::from(line) * s - 0.06 * s,
                0.12 * s
            );
        }
        self.canvas.out.insert_str(0, &staff);
        beams::draw(&mut self.canvas, &mut self.placed);
        marks::draw(
            &mut self.canvas,
            &mut self.placed,
            bars,
            &self.bar_x,
            carried,
            end,
        );
    }

    /// Draws a bar from `x` on and returns where it ends.
    fn bar(&mut self, k: usize, bar: &'a Bar, mut x: f64, stretch: f64, first: bool) -> f64 {
        let s = self.canvas.space;
        if bar.open_repeat {
            // After another bar the thick line stands where that bar's line ended.
            let at = if first { x + 0.3 * s } else { x - 0.45 * s };
            self.canvas.rect(at, 0.0, 0.45 * s, 4.0 * s);
            self.canvas.rect(at + 0.75 * s, 0.0, 0.14 * s, 4.0 * s);
            for y in [1.5, 2.5] {
                self.canvas.circle(at + 1.35 * s, y * s, 0.22 * s);
            }
            x += 1.3 * s;
        }
        x += 0.7 * s;
        let events = bar.items.iter().filter(|i| i.stretches()).count();
        for item in &bar.items {
            match item {
                Item::Event(event) => {
                    let before = event.before();
                    let width = item.width() * s * stretch;
                    let head = x + before * s + 0.65 * s;
                    self.placed.push(Placed {
                        event,
                        x: head,
                        bar: k,
                        alone: events == 1,
                        up: true,
                        tip: 2.0 * s,
                        above: 0.0,
                    });
                    x += width.max((before + 1.2) * s);
                }
                Item::Key(key) => {
                    self.key(key, x);
                    x += key_width(key) * s;
                }
                Item::Metre(metre) => {
                    self.metre(*metre, x + 0.8 * s);
                    x += 2.2 * s;
                }
            }
        }
        if let Some(close) = bar.close {
            x = self.bar_line(close, x);
        }
        x
    }

    /// Draws the line that ends a bar and returns where it ends.
    fn bar_line(&mut self, bar: BarLine, x: f64) -> f64 {
        let s = self.canvas.space;
        let thin = 0.14 * s;
        let tall = 4.0 * s;
        if bar.repeat_end > 0 {
            for y in [1.5, 2.5] {
                self.canvas.circle(x + 0.2 * s, y * s, 0.22 * s);
            }
            self.canvas.rect(x + 0.72 * s, 0.0, thin, tall);
            self.canvas.rect(x + 1.15 * s, 0.0, 0.45 * s, tall);
            return x + layout::line_width(bar) * s;
        }
        match bar.style {
            BarStyle::Double => {
                self.canvas.rect(x + 0.3 * s, 0.0, thin, tall);
                self.canvas.rect(x + 0.75 * s, 0.0, thin, tall);
            }
            BarStyle::Final => {
                self.canvas.rect(x + 0.1 * s, 0.0, thin, tall);
                self.canvas.rect(x + 0.5 * s, 0.0, 0.45 * s, tall);
            }
            BarStyle::Start => {
                self.canvas.rect(x, 0.0, 0.45 * s, tall);
                self.canvas.rect(x + 0.75 * s, 0.0, thin, tall);
            }
            BarStyle::Dotted => {
                for k in 0..8 {
                    self.canvas
                        .rect(x + 0.2 * s, (f64::from(k) + 0.1) * 0.5 * s, thin, 0.28 * s);
                }
            }
            BarStyle::Invisible => {}
            BarStyle::Single => self.canvas.rect(x + 0.2 * s, 0.0, thin, tall),
        }
        x + layout::line_width(bar) * s
    }

    fn key(&mut self, key: &Key, mut x: f64) {
        const SHARPS: [(Letter, i32); 7] = [
            (Letter::F, 10),
            (Letter::C, 7),
            (Letter::G, 11),
            (Letter::D, 8),
            (Letter::A, 5),
            (Letter::E, 9),
            (Letter::B, 6),
        ];
        const FLATS: [(Letter, i32); 7] = [
            (Letter::B, 6),
            (Letter::E, 9),
            (Letter::A, 5),
            (Letter::D, 8),
            (Letter::G, 4),
            (Letter::C, 7),
            (Letter::F, 3),
        ];
        let s = self.canvas.space;
        let mut sign = |glyph: &str, steps: i32| {
            if glyph == glyphs::FLAT {
                self.canvas
                    .hollow_glyph(glyph, x + 0.5 * s, height(steps, s), 1.0);
            } else {
                self.canvas.glyph(glyph, x + 0.5 * s, height(steps, s), 1.0);
            }
            x += 0.95 * s;
        };
        for (letter, steps) in SHARPS {
            match key.alter(letter) {
                a if a > 0 => sign(glyphs::SHARP, steps),
                _ => {}
            }
        }
        for (letter, steps) in FLATS {
            match key.alter(letter) {
                a if a < 0 => sign(glyphs::FLAT, steps),
                _ => {}
            }
        }
    }

    fn metre(&mut self, metre: Metre, x: f64) {
        let s = self.canvas.space;
        let middle = 2.0 * s;
        match metre {
            Metre::Free => {}
            Metre::Common | Metre::Cut => {
                self.canvas
                    .bold_glyph(outlines::COMMON, x, middle, 1.05, 0.06);
                if metre == Metre::Cut {
                    self.canvas
                        .rect(x - 0.02 * s, middle - 1.45 * s, 0.14 * s, 2.9 * s);
                }
            }
            Metre::Time(beats, unit) => {
                for (number, y) in [(beats, 1.0), (unit, 3.0)] {
                    let digits: Vec<usize> = number
                        .to_string()
                        .bytes()
                        .map(|b| usize::from(b - b'0'))
                        .collect();
                    let first = x - 0.6 * s * (digits.len() as f64 - 1.0);
                    for (i, digit) in digits.iter().enumerate() {
                        let at = first + 1.2 * s * i as f64;
                        let Some(glyph) = outlines::DIGITS.get(*digit) else {
                            continue;
                        };
                        self.canvas.bold_glyph(glyph, at, y * s, 1.0, 0.1);
                    }
                }
            }
        }
    }
}
