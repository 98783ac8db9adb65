//! WAV files, played by a small additive synthesiser.
//!
//! Each note is a sum of a few harmonics with an envelope of its own: the flute swells and has a
//! little vibrato, the harp's high harmonics die first, the fiddle is bright and bowed. A
//! Schroeder reverb (four combs, two all-passes; Schroeder, 1962) puts it into a room.

use std::f32::consts::TAU;
use std::io::Cursor;
use std::path::Path;

use hound::{SampleFormat, WavSpec, WavWriter};

use crate::error::{Error, Result};
use crate::playback::{Playback, PlayedNote};
use crate::reverb::Reverb;
use crate::tune::Tune;

/// What plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Voice {
    /// Soft, breathy, with a slow vibrato.
    #[default]
    Flute,
    /// Plucked; rings on a little.
    Harp,
    /// Bowed and bright.
    Fiddle,
}

/// Writes tunes as sound.
///
/// ```
/// use refrain_music::{Tune, Wav};
/// let tune = Tune::parse("X:1\nR:reel\nM:C|\nL:1/8\nK:G\nGABc dedB|]\n")?;
/// let bytes = Wav { sample_rate: 22_050, ..Wav::default() }.to_bytes(&tune)?;
/// assert_eq!(&bytes[..4], b"RIFF");
/// # Ok::<(), refrain_music::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Wav {
    /// How to play.
    pub playback: Playback,
    /// What plays.
    pub voice: Voice,
    /// Samples a second, 8,000 to 96,000.
    pub sample_rate: u32,
    /// Two channels instead of one.
    pub stereo: bool,
    /// Share of the room in the sound, 0 to 1.
    pub reverb: f32,
}

impl Default for Wav {
    /// A flute in a small room, 44,100 Hz, stereo.
    fn default() -> Self {
        Self {
            playback: Playback::default(),
            voice: Voice::Flute,
            sample_rate: 44_100,
            stereo: true,
            reverb: 0.22,
        }
    }
}

/// Longest sound, in seconds.
const LONGEST: f64 = 1800.0;

impl Wav {
    /// The sound as samples between -1 and 1, channels interleaved.
    ///
    /// # Errors
    /// [`Error::Setting`] for values out of range or a tune of more than half an hour.
    pub fn samples(&self, tune: &Tune) -> Result<Vec<f32>> {
        let setting = |name, reason| Err(Error::Setting { name, reason });
        if !(8_000..=96_000).contains(&self.sample_rate) {
            let reason = format!("{} is not between 8000 and 96000", self.sample_rate);
            return setting("sample_rate", reason);
        }
        if !(0.0..=1.0).contains(&self.reverb) {
            return setting("reverb", format!("{} is not between 0 and 1", self.reverb));
        }
        let notes = self.playback.notes(tune)?;
        let end = notes
            .iter()
            .map(|n| n.start + n.duration)
            .fold(0.0, f64::max);
        if end > LONGEST {
            return setting("tempo", format!("the tune would last {end:.0} seconds"));
        }
        let rate = self.sample_rate as f32;
        let mut dry = vec![0.0f32; ((end + 1.6) * f64::from(self.sample_rate)) as usize];
        for note in &notes {
            self.add(note, rate, &mut dry);
        }
        let wet_left = Reverb::new(rate, 0).run(&dry);
        let wet_right = if self.stereo {
            Reverb::new(rate, 23).run(&dry)
        } else {
            Vec::new()
        };
        let mix = |dry: f32, wet: f32| dry * (1.0 - self.reverb * 0.5) + wet * self.reverb;
        let mut out = Vec::with_capacity(dry.len() * if self.stereo { 2 } else { 1 });
        for (i, (d, w)) in dry.iter().zip(&wet_left).enumerate() {
            out.push(mix(*d, *w));
            if let Some(right) = wet_right.get(i) {
                out.push(mix(*d, *right));
            }
        }
        let peak = out.iter().fold(0.0f32, |m, s| m.max(s.abs())).max(1e-6);
        let gain = 0.8 / peak;
        out.iter_mut().for_each(|s| *s *= gain);
        Ok(out)
    }

    /// The file's bytes, 16 bits a sample.
    ///
    /// # Errors
    /// As [`samples`](Self::samples).
    pub fn to_bytes(&self, tune: &Tune) -> Result<Vec<u8>> {
        let spec = WavSpec {
            channels: if self.stereo { 2 } else { 1 },
            sample_rate: self.sample_rate,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let failed = |e: hound::Error| Error::Io {
            path: "memory".into(),
            source: std::io::Error::other(e.to_string()),
        };
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, spec).map_err(failed)?;
        for sample in self.samples(tune)? {
            writer
                .write_sample((sample * 32_767.0) as i16)
                .map_err(failed)?;
        }
        writer.finalize().map_err(failed)?;
        Ok(bytes.into_inner())
    }

    /// Writes a `.wav` file.
    ///
    /// # Errors
    /// [`Error::Io`], or as [`samples`](Self::samples).
    pub fn write(&self, tune: &Tune, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        std::fs::write(path, self.to_bytes(tune)?).map_err(|source| Error::Io {
            path: path.into(),
            source,
        })
    }

    /// Adds one note to the sound.
    fn add(&self, note: &PlayedNote, rate: f32, out: &mut [f32]) {
        let sound = Sound::of(self.voice);
        let pitch = 440.0 * 2f32.powf((f32::from(note.pitch) - 69.0) / 12.0);
        let held = note.duration as f32;
        let length = ((held + sound.release) * rate) as usize;
        let start = (note.start * f64::from(rate)) as usize;
        // High notes sound louder than low ones of the same amplitude.
        let level = note.velocity * (440.0 / pitch).powf(0.25) * 0.3;
        let mut phases = [0.0f32; 8];
        // The attack shrinks with very short notes, so that they speak at all.
        let attack = sound.attack.min(held * 0.4).max(0.004);
        for (i, slot) in out.iter_mut().skip(start).take(length).enumerate() {
            let t = i as f32 / rate;
            let vibrato = if sound.vibrato > 0.0 {
                let depth = sound.vibrato * ((t - 0.18) / 0.25).clamp(0.0, 1.0);
                1.0 + depth * (TAU * 5.2 * t).sin()
            } else {
                1.0
            };
            let mut value = 0.0;
            for (k, (amplitude, phase)) in sound.harmonics.iter().zip(&mut phases).enumerate() {
                let frequency = pitch * (k + 1) as f32 * vibrato;
                if frequency > rate * 0.45 {
                    break;
                }
                *phase += frequency / rate;
                *phase -= phase.floor();
                let decay = (-t * sound.decay * (1.0 + 0.6 * k as f32)).exp();
                value += amplitude * decay * (TAU * *phase).sin();
            }
            let rise = (t / attack).min(1.0);
            let fall = if t > held {
                (1.0 - (t - held) / sound.release).max(0.0)
            } else {
                1.0
            };
            // Smooth ends: no clicks.
            let envelope = rise * rise * (3.0 - 2.0 * rise) * fall * fall;
            *slot += value * envelope * level;
        }
    }
}

/// A voice in numbers.
struct Sound {
    harmonics: &'static [f32],
    /// Seconds.
    attack: f32,
    /// Seconds.
    release: f32,
    /// Per second, for the first harmonic.
    decay: f32,
    /// Share of the frequency.
    vibrato: f32,
}

impl Sound {
    fn of(voice: Voice) -> Self {
        match voice {
            Voice::Flute => Self {
                harmonics: &[1.0, 0.42, 0.16, 0.06, 0.03],
                attack: 0.035,
                release: 0.09,
                decay: 0.25,
                vibrato: 0.0035,
            },
            Voice::Harp => Self {
                harmonics: &[1.0, 0.55, 0.32, 0.2, 0.12, 0.07],
                attack: 0.005,
                release: 0.35,
                decay: 2.6,
                vibrato: 0.0,
            },
            Voice::Fiddle => Self {
                harmonics: &[1.0, 0.7, 0.5, 0.38, 0.24, 0.16, 0.1, 0.06],
                attack: 0.045,
                release: 0.07,
                decay: 0.1,
                vibrato: 0.004,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tune() -> Tune {
        Tune::parse("X:1\nR:air\nM:C\nL:1/4\nQ:1/4=120\nK:A\nA4|]\n").unwrap()
    }

    #[test]
    fn plays_the_right_pitch() {
        let wav = Wav {
            stereo: false,
            reverb: 0.0,
            sample_rate: 22_050,
            ..Wav::default()
        };
        for voice in [Voice::Flute, Voice::Harp, Voice::Fiddle] {
            let samples = Wav {
                voice,
                ..wav.clone()
            }
            .samples(&tune())
            .unwrap();
            // Energy at 440 Hz against a semitone above, over the first second.
            let energy = |f: f32| {
                let (mut re, mut im) = (0.0f64, 0.0f64);
                for (i, s) in samples.iter().take(22_050).enumerate() {
                    let a = f64::from(TAU * f) * i as f64 / 22_050.0;
                    re += f64::from(*s) * a.cos();
                    im += f64::from(*s) * a.sin();
                }
                (re * re + im * im).sqrt()
            };
            assert!(energy(440.0) > 10.0 * energy(466.16), "{voice:?}");
        }
    }

    #[test]
    fn no_clipping_no_noise_and_silence_at_the_end() {
        let samples = Wav::default().samples(&tune()).unwrap();
        assert!(samples.iter().all(|s| s.is_finite() && s.abs() <= 0.81));
        let step = samples.chunks(2).map(|c| c[0]).collect::<Vec<_>>();
        let jump = step
            .windows(2)
            .map(|w| (w[1] - w[0]).abs())
            .fold(0.0, f32::max);
        assert!(jump < 0.2, "{jump}");
        assert!(
            samples[samples.len() - 200..]
                .iter()
                .all(|s| s.abs() < 0.01)
        );
    }

    #[test]
    fn file_has_the_length_of_the_tune() {
        let wav = Wav {
            stereo: false,
            sample_rate: 8_000,
            ..Wav::default()
        };
        let bytes = wav.to_bytes(&tune()).unwrap();
        let reader = hound::WavReader::new(Cursor::new(bytes)).unwrap();
        let seconds = f64::from(reader.duration()) / 8_000.0;
        assert!((3.3..3.7).contains(&seconds), "{seconds}");
    }

    #[test]
    fn bad_settings() {
        let t = tune();
        assert!(
            Wav {
                sample_rate: 100,
                ..Wav::default()
            }
            .samples(&t)
            .is_err()
        );
        assert!(
            Wav {
                reverb: f32::NAN,
                ..Wav::default()
            }
            .samples(&t)
            .is_err()
        );
    }
}
