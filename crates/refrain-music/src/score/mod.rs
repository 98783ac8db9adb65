//! A tune as a picture of a staff.
//!
//! The SVG stands alone: clef, heads, flags, rests and signs are paths, only words (title, endings,
//! chord symbols) are text. Every note is a group with `data-e`, the index of its element, so that a
//! page can light it up while it sounds ([`PlayedNote::element`](crate::PlayedNote::element)).

mod beams;
mod canvas;
mod glyphs;
mod layout;
mod marks;
mod outlines;
mod staff;

use std::fmt::Write;
use std::path::Path;

use crate::error::{Error, Result};
use crate::tune::Tune;
use canvas::{Canvas, escape};

/// Draws tunes.
///
/// ```
/// use refrain_music::{Score, Tune};
/// let tune = Tune::parse("X:1\nT:Scale\nR:reel\nM:C|\nL:1/8\nK:G\n|:GABc defg:|\n")?;
/// let svg = Score::default().to_svg(&tune)?;
/// assert!(svg.starts_with("<svg") && svg.contains("Scale"));
/// # Ok::<(), refrain_music::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Pixels across.
    pub width: f64,
    /// Pixels between staff lines.
    pub space: f64,
    /// Show title and rhythm.
    pub title: bool,
    /// Colour of notes and lines, as CSS.
    pub ink: String,
    /// Colour behind them; `None` leaves it clear.
    pub paper: Option<String>,
}

impl Default for Score {
    /// 820 pixels wide, dark ink on white, with title.
    fn default() -> Self {
        Self {
            width: 820.0,
            space: 8.0,
            title: true,
            ink: "#1b1b1f".into(),
            paper: Some("#ffffff".into()),
        }
    }
}

impl Score {
    /// The picture as SVG text.
    ///
    /// # Errors
    /// [`Error::Setting`] for a size no staff fits into.
    pub fn to_svg(&self, tune: &Tune) -> Result<String> {
        let setting = |name, reason| Err(Error::Setting { name, reason });
        if !(2.0..=40.0).contains(&self.space) {
            return setting("space", format!("{} is not between 2 and 40", self.space));
        }
        if !(self.space * 30.0..=20_000.0).contains(&self.width) {
            let reason = format!("{} is not between 30 spaces and 20000", self.width);
            return setting("width", reason);
        }
        let s = self.space;
        let margin = 2.0 * s;
        let mut y = margin;
        let mut page = String::new();
        if self.title {
            y = self.head(tune, y, &mut page);
        }
        for line in staff::lines(tune, self.width - 2.0 * margin, s) {
            y += -line.top;
            let _ = write!(
                page,
                "<g transform=\"translate({margin:.1} {y:.1})\">{}</g>",
                line.out
            );
            y += line.bottom + 2.2 * s;
        }
        let height = y + margin - 1.4 * s;
        let title = escape(tune.title());
        let mut out = String::with_capacity(page.len() + 600);
        let _ = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {height:.0}\" \
             width=\"{:.0}\" height=\"{height:.0}\" role=\"img\" aria-label=\"{title}\" \
             font-family=\"Georgia, 'Times New Roman', serif\"><title>{title}</title>",
            self.width, self.width
        );
        if let Some(paper) = &self.paper {
            let _ = write!(
                out,
                "<rect width=\"100%\" height=\"100%\" fill=\"{}\"/>",
                escape(paper)
            );
        }
        let ink = escape(&self.ink);
        let _ = write!(out, "<g fill=\"{ink}\" color=\"{ink}\">{page}</g></svg>");
        Ok(out)
    }

    /// Writes an `.svg` file.
    ///
    /// # Errors
    /// [`Error::Io`], or as [`to_svg`](Self::to_svg).
    pub fn write(&self, tune: &Tune, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        std::fs::write(path, self.to_svg(tune)?).map_err(|source| Error::Io {
            path: path.into(),
            source,
        })
    }

    /// Title, other titles, rhythm and composer; returns where the first staff may begin.
    fn head(&self, tune: &Tune, y: f64, page: &mut String) -> f64 {
        let s = self.space;
        let mut canvas = Canvas::new(s);
        let mut y = y + 2.2 * s;
        let middle = "text-anchor=\"middle\" font-weight=\"bold\"";
        if !tune.title().is_empty() {
            // A long title is set smaller rather than cut.
            let room = self.width * 0.9 / (tune.title().chars().count().max(1) as f64 * 0.52);
            canvas.text(
                tune.title(),
                self.width / 2.0,
                y,
                (2.7 * s).min(room),
                middle,
            );
        }
        let second = tune.titles.get(1).map(String::as_str).unwrap_or("");
        let composer = tune
            .fields
            .iter()
            .find(|(c, _)| *c == 'C')
            .map_or("", |(_, t)| t.as_str());
        let composer = composer.trim_matches(['"', '.', ' ']);
        let rhythm = tune.rhythm.map_or("", |r| r.name());
        if !second.is_empty() || !composer.is_empty() || !rhythm.is_empty() {
            y += 2.3 * s;
            let italic = "font-style=\"italic\"";
            let mut name = rhythm.to_owned();
            if let Some(first) = name.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            canvas.text(&name, 2.0 * s, y, 1.7 * s, italic);
            if !second.is_empty() {
                let style = "text-anchor=\"middle\" font-style=\"italic\"";
                canvas.text(second, self.width / 2.0, y, 1.7 * s, style);
            }
            if !composer.is_empty() {
                let style = "text-anchor=\"end\"";
                canvas.text(composer, self.width - 2.0 * s, y, 1.6 * s, style);
            }
        }
        page.push_str(&canvas.out);
        y + 2.0 * s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TUNE: &str = "X:1\nT:A & B <Test>\nC:Trad.\nR:jig\nM:6/8\nL:1/8\nK:Eb\n\"Eb\"(e/f/)|:{ga}.g2 ^f ~g3-|g z/ (3f/g/a/ [ceg]2 |1 z6 :|2 Hg6|][K:D][M:C|] D8- D4 c>d e/f/g/a/ |]\n";

    #[test]
    fn well_formed_and_complete() {
        let tune = Tune::parse(TUNE).unwrap();
        let svg = Score::default().to_svg(&tune).unwrap();
        assert!(svg.contains("A &amp; B &lt;Test&gt;"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        // Every opened group is closed.
        assert_eq!(svg.matches("<g").count(), svg.matches("</g>").count());
        let sounding = tune.body.iter().filter(|e| e.length().is_some()).count();
        assert_eq!(svg.matches("data-e=").count(), sounding);
    }

    #[test]
    fn narrow_pages_take_more_lines() {
        let tune = Tune::parse(TUNE).unwrap();
        let height = |width| {
            let svg = Score {
                width,
                ..Score::default()
            }
            .to_svg(&tune)
            .unwrap();
            svg.split("height=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .parse::<f64>()
                .unwrap()
        };
        assert!(height(300.0) > height(900.0));
    }

    #[test]
    fn bad_sizes() {
        let tune = Tune::parse(TUNE).unwrap();
        assert!(
            Score {
                width: 10.0,
                ..Score::default()
            }
            .to_svg(&tune)
            .is_err()
        );
        assert!(
            Score {
                space: f64::NAN,
                ..Score::default()
            }
            .to_svg(&tune)
            .is_err()
        );
    }
}
