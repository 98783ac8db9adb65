//! Recognises spoken digits, one or several in a row.
//!
//! ```sh
//! REFRAIN_DATA=data cargo run --release --example recognise_digits
//! cargo run --release --example recognise_digits -- --quick
//! ```
//!
//! Free Spoken Digit Dataset (Jakobovski et al.): 3,000 recordings of 6 speakers in
//! `$REFRAIN_DATA/free-spoken-digits/recordings`; the test set is its own, indices 0 to 4. Indices 5
//! to 9 choose the weights. To learn from, recordings of one speaker are joined to strings of one to
//! five digits, with a moment's silence between, beside the recordings themselves; nobody says where a
//! digit begins. Without
//! `REFRAIN_DATA` digits are made up of tones.

mod support;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use refrain::sequence::metrics::word_error_rate;
use refrain::sequence::{LogMel, Recogniser, RecogniserConfig, Recording};
use refrain::{Device, Monitor};

/// Recognise spoken digits
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// WAV files to listen to, once it has learnt
    files: Vec<PathBuf>,
    /// Strings of digits to learn from
    #[arg(long, default_value_t = 3_000)]
    strings: usize,
    /// Passes over them
    #[arg(long, default_value_t = 10)]
    epochs: usize,
    /// Where to train: cpu, flex, ndarray, wgpu or cuda; REFRAIN_DEVICE sets it too
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Judge these weights, of an earlier run instead of learning
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Judge on the part to choose by: to choose settings without a look at the test part
    #[arg(long)]
    choose: bool,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/digits")]
    out: PathBuf,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

const DIGITS: [&str; 10] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
];
const RATE: u32 = 8_000;

/// One digit, spoken once.
struct Spoken {
    digit: usize,
    speaker: String,
    index: usize,
    samples: Vec<f32>,
}

/// A sound and the words in it.
type Said = (Vec<f32>, Vec<&'static str>);

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("recognise_digits: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let device = support::device(&options.device)?;
    let all = match support::data(options.quick, "free-spoken-digits") {
        Some(folder) => read(&folder.join("recordings"))?,
        None => {
            println!("REFRAIN_DATA/free-spoken-digits not used: digits are made up of tones\n");
            made_up()
        }
    };
    let strings = if options.quick { 200 } else { options.strings };
    let mut choice = support::Choice(options.seed);
    let single = |of: fn(usize) -> bool| -> Vec<Said> {
        let own = all.iter().filter(|spoken| of(spoken.index));
        own.map(|s| (s.samples.clone(), vec![DIGITS[s.digit]]))
            .collect()
    };
    let to_learn: fn(usize) -> bool = |index| index >= 10;
    let to_choose: fn(usize) -> bool = |index| (5..10).contains(&index);
    let mut train = join(&all, to_learn, strings, &mut choice);
    train.extend(single(to_learn));
    let mut validation = join(&all, to_choose, 200, &mut choice);
    validation.extend(single(to_choose));
    let to_judge = if options.choose {
        to_choose
    } else {
        |index| index < 5
    };
    let alone = single(to_judge);
    let joined = join(&all, to_judge, 500, &mut choice);
    println!(
        "{} recordings; {} strings to learn from, {} recordings and {} strings to judge on",
        all.len(),
        train.len(),
        alone.len(),
        joined.len()
    );

    let mel = LogMel::speech(RATE);
    let model = match &options.model {
        Some(path) => Recogniser::load(path, &device)?,
        None => learn(options, &mel, &train, &validation, &device)?,
    };

    let part = if options.choose {
        "validation"
    } else {
        "test set"
    };
    for (name, said) in [("single recordings", &alone), ("joined strings", &joined)] {
        let truth: Vec<String> = said.iter().map(|(_, words)| words.join(" ")).collect();
        let found = hear(&model, &mel, said)?;
        let rate = word_error_rate(&truth, &found)?;
        let wrong = truth.iter().zip(&found).filter(|(t, f)| t != f).count();
        println!(
            "{part}, {name}: word error rate {:.4} ({} of {}), {wrong} of {} not wholly right",
            rate.rate(),
            rate.edits,
            rate.length,
            said.len()
        );
    }
    for (samples, words) in joined.iter().take(3) {
        let found = hear(&model, &mel, &[(samples.clone(), Vec::new())])?;
        println!("  said {:36} heard {}", words.join(" "), found.concat());
    }
    for path in &options.files {
        let recording = Recording::read(path)?;
        let frames = mel.features(recording.rate, &recording.samples)?;
        let heard = model.recognise(&[&frames])?;
        let (words, likely) = heard.into_iter().next().unwrap_or_default();
        println!("{}: {} ({likely:.2})", path.display(), words.join(" "));
    }
    Ok(())
}

/// Trains a recogniser and writes it.
fn learn(
    options: &Options,
    mel: &LogMel,
    train: &[Said],
    validation: &[Said],
    device: &Device,
) -> Result<Recogniser, Box<dyn Error>> {
    let config = RecogniserConfig {
        frame: mel.bands,
        hidden: if options.quick { 24 } else { 128 },
        layers: if options.quick { 1 } else { 2 },
        // A single digit is too short to tell the microphone from the vowel.
        each_band: false,
        masks: 2,
        dropout: 0.3,
        seed: options.seed,
        ..RecogniserConfig::default()
    };
    let model = Recogniser::new(&config, DIGITS, device)?;
    let examples = |said: &[Said]| -> Result<Vec<_>, Box<dyn Error>> {
        let example =
            |(samples, words): &Said| Ok(model.example(&mel.features(RATE, samples)?, words)?);
        said.iter().map(example).collect()
    };
    let (examples, held_out) = (examples(train)?, examples(validation)?);
    let epochs = if options.quick { 6 } else { options.epochs };
    let rate = if options.quick { 2e-2 } else { 3e-3 };
    let mut trainer = support::trainer(examples.len(), 16, epochs, rate);
    trainer.seed = options.seed;
    let trained = trainer.fit_module_with(&model, &examples, &held_out, &Monitor::bars())?;
    let path = support::written(&options.out, "digits.refrain", |path| {
        Ok(trained.model.save(path)?)
    })?;
    println!("{} written", path.display());
    Ok(trained.model)
}

fn hear(model: &Recogniser, mel: &LogMel, said: &[Said]) -> Result<Vec<String>, Box<dyn Error>> {
    let frames = said.iter().map(|(samples, _)| mel.features(RATE, samples));
    let frames = frames.collect::<Result<Vec<_>, _>>()?;
    let frames: Vec<&[f32]> = frames.iter().map(Vec::as_slice).collect();
    let heard = model.recognise(&frames)?;
    Ok(heard
        .into_iter()
        .map(|(words, _)| words.join(" "))
        .collect())
}

/// Recordings named `digit_speaker_index.wav`.
fn read(folder: &Path) -> Result<Vec<Spoken>, Box<dyn Error>> {
    let files = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut paths = files
        .map(|f| Ok(f?.path()))
        .collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.sort();
    let mut all = Vec::new();
    for path in paths
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == "wav"))
    {
        let name = path
            .file_stem()
            .and_then(|s| s.to_str())
            .unwrap_or_default();
        let parts: Vec<&str> = name.split('_').collect();
        let wrong = || format!("{}: not called digit_speaker_index.wav", path.display());
        let [digit, speaker, index] = parts[..] else {
            return Err(wrong().into());
        };
        let recording = Recording::read(path)?;
        if recording.rate != RATE {
            return Err(
                format!("{}: {} Hz; expected {RATE}", path.display(), recording.rate).into(),
            );
        }
        all.push(Spoken {
            digit: digit.parse().ok().filter(|&d| d < 10).ok_or_else(wrong)?,
            speaker: speaker.to_string(),
            index: index.parse().map_err(|_| wrong())?,
            samples: recording.samples,
        });
    }
    Ok(all)
}

/// Strings of one to five digits by one speaker, of recordings with these indices.
fn join(
    all: &[Spoken],
    of: impl Fn(usize) -> bool,
    strings: usize,
    choice: &mut support::Choice,
) -> Vec<Said> {
    let own: Vec<&Spoken> = all.iter().filter(|spoken| of(spoken.index)).collect();
    let string = |_| {
        let first = choice.of(&own);
        let speaker: Vec<&Spoken> = own
            .iter()
            .copied()
            .filter(|spoken| spoken.speaker == first.speaker)
            .collect();
        let more = *choice.of(&[&0usize, &1, &2, &3, &4]);
        let (mut samples, mut words) = (first.samples.clone(), vec![DIGITS[first.digit]]);
        for _ in 0..more {
            let next = choice.of(&speaker);
            let silence = *choice.of(&[&0usize, &200, &400, &800]);
            samples.resize(samples.len() + silence, 0.0);
            samples.extend_from_slice(&next.samples);
            words.push(DIGITS[next.digit]);
        }
        (samples, words)
    };
    (0..strings).map(string).collect()
}

/// A digit is a rising or falling tone from its own pitch; a speaker's voice is a shift.
fn made_up() -> Vec<Spoken> {
    let mut all = Vec::new();
    for digit in 0..10 {
        for (shift, speaker) in [(1.0, "low"), (1.05, "high")] {
            for index in 0..20 {
                let from = shift * (300.0 + 250.0 * digit as f32 + 3.0 * index as f32);
                let bend = if digit % 2 == 0 { 0.3 } else { -0.3 };
                let sample = |i: usize| {
                    let t = i as f32 / RATE as f32;
                    0.5 * (std::f32::consts::TAU * from * (t + bend * t * t)).sin()
                };
                all.push(Spoken {
                    digit,
                    speaker: speaker.to_string(),
                    index,
                    samples: (0..1_200).map(sample).collect(),
                });
            }
        }
    }
    all
}
