//! A growing piece of SVG that knows how far up and down it reaches.

use std::fmt::Write;

/// Collects shapes in pixels; glyphs are given in staff spaces.
pub(crate) struct Canvas {
    pub(crate) out: String,
    /// Pixels in a staff space.
    pub(crate) space: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
}

impl Canvas {
    pub(crate) fn new(space: f64) -> Self {
        Self {
            out: String::new(),
            space,
            top: 0.0,
            bottom: 4.0 * space,
        }
    }

    /// Remembers that something is drawn here.
    pub(crate) fn reach(&mut self, y: f64) {
        self.top = self.top.min(y);
        self.bottom = self.bottom.max(y);
    }

    /// A filled glyph at a place, scaled.
    pub(crate) fn glyph(&mut self, path: &str, x: f64, y: f64, scale: f64) {
        self.filled(path, "nonzero", x, y, scale);
    }

    /// A glyph with holes.
    pub(crate) fn hollow_glyph(&mut self, path: &str, x: f64, y: f64, scale: f64) {
        self.filled(path, "evenodd", x, y, scale);
    }

    fn filled(&mut self, path: &str, rule: &str, x: f64, y: f64, scale: f64) {
        let k = self.space * scale;
        let _ = write!(
            self.out,
            "<path d=\"{path}\" fill-rule=\"{rule}\" transform=\"translate({x:.2} {y:.2})scale({k:.2})\"/>"
        );
    }

    /// A stroked glyph: filled and a little fatter.
    pub(crate) fn bold_glyph(&mut self, path: &str, x: f64, y: f64, scale: f64, fat: f64) {
        let k = self.space * scale;
        let _ = write!(
            self.out,
            "<path d=\"{path}\" stroke=\"currentColor\" stroke-width=\"{fat}\" stroke-linejoin=\"round\" \
             transform=\"translate({x:.2} {y:.2})scale({k:.2})\"/>"
        );
    }

    pub(crate) fn rect(&mut self, x: f64, y: f64, width: f64, height: f64) {
        let _ = write!(
            self.out,
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\"/>"
        );
    }

    pub(crate) fn circle(&mut self, x: f64, y: f64, r: f64) {
        let _ = write!(
            self.out,
            "<circle cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"{r:.2}\"/>"
        );
    }

    /// A filled quadrilateral: a beam.
    pub(crate) fn slab(&mut self, from: (f64, f64), to: (f64, f64), thick: f64) {
        let ((x0, y0), (x1, y1)) = (from, to);
        let _ = write!(
            self.out,
            "<path d=\"M{x0:.2} {y0:.2}L{x1:.2} {y1:.2}v{thick:.2}L{x0:.2} {:.2}z\"/>",
            y0 + thick
        );
    }

    /// A tie or slur between two points, bulging by `height` (negative: up).
    pub(crate) fn arc(&mut self, from: (f64, f64), to: (f64, f64), height: f64) {
        let ((x0, y0), (x1, y1)) = (from, to);
        let dx = (x1 - x0) * 0.28;
        let thick = self.space * 0.22 * height.signum();
        let (a, b) = (y0 + height * 1.33, y1 + height * 1.33);
        let _ = write!(
            self.out,
            "<path d=\"M{x0:.2} {y0:.2}C{:.2} {a:.2} {:.2} {b:.2} {x1:.2} {y1:.2}\
             C{:.2} {:.2} {:.2} {:.2} {x0:.2} {y0:.2}z\"/>",
            x0 + dx,
            x1 - dx,
            x1 - dx,
            b + thick,
            x0 + dx,
            a + thick
        );
        self.reach((y0 + y1) / 2.0 + height);
    }

    /// Text; `style` is put into the element as it is.
    pub(crate) fn text(&mut self, text: &str, x: f64, y: f64, size: f64, style: &str) {
        let _ = write!(
            self.out,
            "<text x=\"{x:.2}\" y=\"{y:.2}\" font-size=\"{size:.1}\" {style}>{}</text>",
            escape(text)
        );
        self.reach(y - size);
        self.reach(y);
    }
}

/// Text as XML.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
