//! Turns the first tune of an ABC file into a score, a MIDI file and a sound file.
//!
//! ```text
//! cargo run --release -p refrain-music --example tune_files -- TUNE.abc OUT
//! ```
//!
//! writes `OUT.svg`, `OUT.mid` and `OUT.wav`.

use refrain_music::{Midi, Score, Tune, Wav};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(input), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("usage: tune_files TUNE.abc OUT".into());
    };
    let text = std::fs::read_to_string(&input).map_err(|e| format!("{input}: {e}"))?;
    let tune = Tune::parse(&text).map_err(|e| format!("{input}, {e}"))?;
    for issue in tune.validate().issues {
        println!("{:?}: {issue}", issue.level());
    }
    Score::default().write(&tune, format!("{out}.svg"))?;
    Midi::default().write(&tune, format!("{out}.mid"))?;
    Wav::default().write(&tune, format!("{out}.wav"))?;
    println!(
        "{} in {}: {out}.svg, {out}.mid, {out}.wav",
        tune.title(),
        tune.key.name()
    );
    Ok(())
}
