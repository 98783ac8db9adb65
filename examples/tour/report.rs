//! The page: one HTML file with everything inside it, readable on a phone.
//!
//! Nothing in it depends on the clock or the machine, so that the same seed gives the same page.

use std::fmt::{Display, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

const STYLE: &str = include_str!("report.css");

/// Text that is safe inside HTML.
pub fn escape(text: impl Display) -> String {
    let mut out = String::new();
    for c in text.to_string().chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// A page that grows from top to bottom.
pub struct Page {
    body: String,
}

impl Page {
    pub fn new(title: &str, lead: &str) -> Self {
        let body = format!(
            "<h1>{}</h1>\n<p class=lead>{}</p>\n",
            escape(title),
            escape(lead)
        );
        Self { body }
    }

    pub fn section(&mut self, title: &str) {
        let _ = writeln!(self.body, "<h2>{}</h2>", escape(title));
    }

    pub fn text(&mut self, text: impl Display) {
        let _ = writeln!(self.body, "<p>{}</p>", escape(text));
    }

    pub fn note(&mut self, text: impl Display) {
        let _ = writeln!(self.body, "<p class=note>{}</p>", escape(text));
    }

    pub fn preformatted(&mut self, text: &str) {
        let _ = writeln!(self.body, "<pre>{}</pre>", escape(text));
    }

    /// A table; columns whose cells are all numbers are set flush right.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let numeric: Vec<bool> = (0..head.len())
            .map(|c| {
                rows.iter()
                    .filter_map(|r| r.get(c))
                    .all(|cell| cell.trim_end_matches(" %").parse::<f64>().is_ok())
            })
            .collect();
        let class = |c: usize| match numeric.get(c) {
            Some(true) => " class=n",
            _ => "",
        };
        self.body.push_str("<div class=scroll><table><tr>");
        for (c, h) in head.iter().enumerate() {
            let _ = write!(self.body, "<th{}>{}</th>", class(c), escape(h));
        }
        self.body.push_str("</tr>\n");
        for row in rows {
            self.body.push_str("<tr>");
            for (c, cell) in row.iter().enumerate() {
                let _ = write!(self.body, "<td{}>{}</td>", class(c), escape(cell));
            }
            self.body.push_str("</tr>\n");
        }
        self.body.push_str("</table></div>\n");
    }

    /// Horizontal bars, one a row; the longest leaves room for its label.
    pub fn bars(&mut self, rows: &[(String, f64, String)]) {
        let most = rows.iter().map(|r| r.1).fold(f64::MIN_POSITIVE, f64::max);
        self.body.push_str("<div class=bars>");
        for (name, value, label) in rows {
            let width = (75.0 * value / most).clamp(0.0, 75.0);
            let _ = writeln!(
                self.body,
                "<span>{}</span><span><i style=\"width:{width:.1}%\"></i><b>{}</b></span>",
                escape(name),
                escape(label)
            );
        }
        self.body.push_str("</div>\n");
    }

    /// An SVG picture, put in as it is.
    pub fn svg(&mut self, svg: &str, caption: &str) {
        // Only the element itself may stand inside HTML.
        let svg = svg.find("<svg").map_or(svg, |at| &svg[at..]);
        let _ = writeln!(
            self.body,
            "<figure>{svg}<figcaption>{}</figcaption></figure>",
            escape(caption)
        );
    }

    pub fn png(&mut self, png: &[u8], caption: &str) {
        let _ = writeln!(
            self.body,
            "<figure><img alt=\"{0}\" src=\"data:image/png;base64,{1}\"><figcaption>{0}</figcaption></figure>",
            escape(caption),
            BASE64.encode(png)
        );
    }

    pub fn audio(&mut self, wav: &[u8]) {
        let _ = writeln!(
            self.body,
            "<audio controls src=\"data:audio/wav;base64,{}\"></audio>",
            BASE64.encode(wav)
        );
    }

    pub fn finish(self, title: &str) -> String {
        format!(
            "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n\
             <meta name=viewport content=\"width=device-width, initial-scale=1\">\n\
             <title>{}</title>\n<style>{STYLE}</style>\n<main>\n{}</main>\n</html>\n",
            escape(title),
            self.body
        )
    }
}
