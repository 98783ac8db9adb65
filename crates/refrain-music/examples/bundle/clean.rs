//! Mechanical repairs, each a slip of mail programs or of one keystroke. What a transcriber meant
//! is never guessed: a bar that does not add up stays as it is.
//!
//! 1. Quoted-printable left over from mail (`=20`, `=3D`, `=FF`, a line broken after `=`) is undone.
//! 2. `at:` inside a word, from a filter that hid mail addresses, becomes `at` (`Blackwat:er`).
//! 3. `K:Bn` is `K:Bm`.
//! 4. A colon without its bar line gets it: `:abc` at the start of a line is `|:abc`, `abc:` is
//!    `abc:|`.
//! 5. `Hx` before a bar line, an invisible rest set to carry a fermata, loses its rest: it would take
//!    time in the bar.
//! 6. The replacements in [`REPLACED`], one keystroke each.

/// File, wrong, right.
pub(crate) const REPLACED: [(&str, &str, &str); 7] = [
    ("HeadlightJig.abc", "^3^FGA", "(3^FGA"),
    ("CosmopolitanHornpipe.abc", "ce=>g", "ce>=g"),
    ("PaddysTheBoyJig.abc", "| ,B3 GBd", "| B3 GBd"),
    ("YoungAmericaHornpipe.abc", ".B2 ,F4 .G2", ".B2 F4 .G2"),
    ("MaidMarianHornpipe.abc", "bggb + affa", "bggb | affa"),
    ("PaddyNowWontYouBeEasyJig.abc", "|}vdDD", "|vdDD"),
    (
        "MyLadysGoonHasGairsOntStrathspey.abc",
        "[\"Coda\" e3g",
        "\"Coda\" e3g",
    ),
];

/// The tunes of a file, repaired, each from its `X:` line on.
pub(crate) fn tunes(file: &str, bytes: &[u8]) -> Vec<String> {
    let mut text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|b| char::from(*b)).collect(),
    }
    .replace("\r\n", "\n");
    if text.contains("=20\n") || text.contains("=3D") || text.contains(" =\n") {
        text = text
            .replace(" =\n", " ")
            .replace("=20", "")
            .replace("=FF", "")
            .replace("=3D", "=");
    }
    for (name, wrong, right) in REPLACED {
        if name == file {
            text = text.replace(wrong, right);
        }
    }
    let mut out: Vec<String> = Vec::new();
    let mut in_music = false;
    for line in text.lines() {
        if line.starts_with("X:") {
            out.push(String::new());
            in_music = false;
        }
        let Some(tune) = out.last_mut() else { continue };
        let mut line = unhide(line.trim_end()).replace("T:T:", "T:");
        if line == "K:Bn" {
            line = "K:Bm".into();
        }
        if in_music && !is_field(&line) {
            line = colons(&line)
                .replace("Hx|", "H|")
                .replace("Hx:", "H:")
                .replace("Hx |", "H |");
            line = line.replace("Hx y|", "H|");
            if let Some(head) = line.strip_suffix("Hx") {
                line = format!("{head}H");
            }
        }
        in_music |= line.starts_with("K:");
        tune.push_str(&line);
        tune.push('\n');
    }
    out
}

fn is_field(line: &str) -> bool {
    line.starts_with('%')
        || line.starts_with(|c: char| c.is_ascii_alphabetic())
            && line.get(1..2) == Some(":")
            && !matches!(line.get(2..3), Some("|" | ":"))
}

/// Undoes `at:` inside words.
fn unhide(line: &str) -> String {
    let mut out = String::new();
    let text = line.starts_with(['T', 'N', 'C']) && line.get(1..2) == Some(":");
    let mut rest = line;
    while let Some(at) = rest.find("at:") {
        let (head, tail) = rest.split_at(at);
        out.push_str(head);
        out.push_str("at");
        rest = &tail[3..];
        // In titles and remarks every such colon is the filter's; in music only inside words.
        if !text && !rest.starts_with(|c: char| c.is_ascii_lowercase()) {
            out.push(':');
        }
    }
    out + rest
}

/// Gives each lone colon outside quotes its bar line.
fn colons(line: &str) -> String {
    let chars: Vec<char> = line.chars().collect();
    let mut out = String::new();
    let (mut quoted, mut bracket) = (false, false);
    for (i, &c) in chars.iter().enumerate() {
        let before = i
            .checked_sub(1)
            .and_then(|k| chars.get(k))
            .copied()
            .unwrap_or(' ');
        let after = chars.get(i + 1).copied().unwrap_or(' ');
        match c {
            '"' => quoted = !quoted,
            '[' if !quoted => bracket = chars.get(i + 2) == Some(&':'),
            ']' => bracket = false,
            _ => {}
        }
        let lone = c == ':' && !"|:[]".contains(before) && !"|:".contains(after);
        let digits = |c: &&char| c.is_ascii_digit() || **c == ':';
        let opener = chars[..i].iter().rev().find(|c| !digits(c));
        let in_tuplet = before.is_ascii_digit() && opener == Some(&'(');
        if lone && !quoted && !bracket && !in_tuplet {
            out.push_str(if out.trim().is_empty() { "|:" } else { ":|" });
        } else {
            out.push(c);
        }
    }
    out
}
