//! Recordings and what a model of speech reads of them: log-mel features.

use std::path::Path;

use realfft::RealFftPlanner;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Sound of one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// Samples a second.
    pub rate: u32,
    /// Between -1 and 1.
    pub samples: Vec<f32>,
}

impl Recording {
    /// Reads a WAV file of integers or floats; several channels become their mean.
    ///
    /// # Errors
    /// When the file cannot be read, is no WAV file, or is cut short; for a sample that is not
    /// finite. The error names the file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let wrong =
            |reason: &dyn std::fmt::Display| Error::file(&path.display().to_string(), reason);
        let mut file = hound::WavReader::open(path).map_err(|e| wrong(&e))?;
        let format = file.spec();
        let samples: Result<Vec<f32>, hound::Error> = match format.sample_format {
            hound::SampleFormat::Float => file.samples::<f32>().collect(),
            hound::SampleFormat::Int => {
                let full = (1u64 << (format.bits_per_sample.clamp(1, 32) - 1)) as f32;
                let samples = file.samples::<i32>();
                samples.map(|s| s.map(|s| s as f32 / full)).collect()
            }
        };
        let samples = samples.map_err(|e| wrong(&e))?;
        if let Some(at) = samples.iter().position(|x| !x.is_finite()) {
            return Err(wrong(&format_args!("sample {at} is not finite")));
        }
        let channels = usize::from(format.channels.max(1));
        let mean = |frame: &[f32]| frame.iter().sum::<f32>() / channels as f32;
        Ok(Self {
            rate: format.sample_rate,
            samples: samples.chunks_exact(channels).map(mean).collect(),
        })
    }
}

/// Log-mel features: how loud each of a few bands is in each short frame of a recording.
///
/// A frame is weighted by a periodic Hann window and filled up with zeros to the transform's
/// length; the squared magnitudes of its Fourier transform are summed by triangles whose corners
/// lie at equal distances on the mel scale, `2595 log₁₀(1 + f / 700)` (the HTK book's; no scaling by
/// area); of the sums, at least 1e-10, the natural logarithm is taken. torchaudio's
/// `MelSpectrogram(center=False)` with its other defaults has the same bands.
///
/// ```
/// use refrain_sequence::LogMel;
/// let mel = LogMel::speech(16_000);
/// let tone: Vec<f32> = (0..16_000).map(|i| (i as f32 * 0.1).sin()).collect(); // 255 Hz
/// let frames = mel.features(16_000, &tone)?;
/// let first = &frames[..mel.bands];
/// let loudest = (0..mel.bands).max_by(|&a, &b| first[a].total_cmp(&first[b]));
/// assert_eq!(frames.len(), 98 * mel.bands); // a frame each 10 ms
/// assert!(loudest < Some(8));
/// # Ok::<(), refrain_sequence::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogMel {
    /// Samples a second of the recordings.
    pub rate: u32,
    /// Samples of a frame.
    pub window: usize,
    /// Samples from one frame to the next.
    pub hop: usize,
    /// Samples of the Fourier transform, at least those of a frame.
    pub fft: usize,
    /// Bands, values of a frame.
    pub bands: usize,
    /// The lowest frequency, in Hz.
    pub low: f32,
    /// The highest frequency, in Hz; at most half the rate.
    pub high: f32,
}

const LONGEST_FFT: usize = 1 << 16;

impl LogMel {
    /// What is usual for speech: frames of 25 ms, one each 10 ms, 40 bands from 20 Hz to half the
    /// rate.
    pub fn speech(rate: u32) -> Self {
        let window = (rate as usize / 40).max(1);
        Self {
            rate,
            window,
            hop: (rate as usize / 100).max(1),
            fft: window.next_power_of_two(),
            bands: 40,
            low: 20.0,
            high: rate as f32 / 2.0,
        }
    }

    /// The features of samples taken `rate` times a second, `[frames, bands]` row-major. What is
    /// shorter than a frame is filled up with silence to one.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, or for another rate; [`Error::TooShort`] without samples;
    /// [`Error::Tensor`] for one that is not finite.
    pub fn features(&self, rate: u32, samples: &[f32]) -> Result<Vec<f32>> {
        self.validate()?;
        if rate != self.rate {
            let expected = "the rate the features are made for; resample it";
            return Err(Error::config("the recording's rate", rate, expected));
        }
        if samples.is_empty() {
            return Err(Error::TooShort {
                what: "samples of a recording".to_string(),
                needed: 1,
                found: 0,
            });
        }
        if let Some(at) = samples.iter().position(|x| !x.is_finite()) {
            let reason = format_args!("value {at} is not finite");
            return Err(Error::tensor("samples", reason));
        }
        let turn = std::f64::consts::TAU / self.window as f64;
        let hann: Vec<f32> = (0..self.window)
            .map(|i| (0.5 - 0.5 * (turn * i as f64).cos()) as f32)
            .collect();
        let filters = self.filters();
        let transform = RealFftPlanner::<f32>::new().plan_fft_forward(self.fft);
        let (mut frame, mut spectrum) = (transform.make_input_vec(), transform.make_output_vec());
        let frames = 1 + samples.len().saturating_sub(self.window) / self.hop;
        let mut out = Vec::with_capacity(frames * self.bands);
        for start in (0..frames).map(|i| i * self.hop) {
            frame.fill(0.0);
            let own = samples.iter().skip(start).zip(&hann);
            frame.iter_mut().zip(own).for_each(|(x, (s, w))| *x = s * w);
            let done = transform.process(&mut frame, &mut spectrum);
            done.map_err(Error::device)?;
            let power: Vec<f32> = spectrum.iter().map(|c| c.norm_sqr()).collect();
            out.extend(filters.iter().map(|(first, weights)| {
                let bins = power.iter().skip(*first).zip(weights);
                bins.map(|(p, w)| p * w).sum::<f32>().max(1e-10).ln()
            }));
        }
        Ok(out)
    }

    /// Of each band the first bin it weighs, and the weights from there.
    fn filters(&self) -> Vec<(usize, Vec<f32>)> {
        let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
        let hertz = |mel: f64| 700.0 * (10f64.powf(mel / 2595.0) - 1.0);
        let (low, high) = (mel(f64::from(self.low)), mel(f64::from(self.high)));
        let step = (high - low) / (self.bands + 1) as f64;
        let corner = |i: usize| hertz(low + step * i as f64);
        let bin = |i: usize| i as f64 * f64::from(self.rate) / self.fft as f64;
        (0..self.bands)
            .map(|band| {
                let (left, peak, right) = (corner(band), corner(band + 1), corner(band + 2));
                let weight = |i: usize| {
                    let (rise, fall) = (bin(i) - left, right - bin(i));
                    (rise / (peak - left)).min(fall / (right - peak)).max(0.0) as f32
                };
                let bins = self.fft / 2 + 1;
                let first = (0..bins).find(|&i| bin(i) > left).unwrap_or(bins);
                let inside = (first..bins).take_while(|&i| bin(i) < right);
                (first, inside.map(weight).collect())
            })
            .collect()
    }

    fn validate(&self) -> Result<()> {
        for (field, value, most) in [
            ("LogMel.window", self.window, self.fft),
            ("LogMel.hop", self.hop, usize::MAX),
            ("LogMel.fft", self.fft, LONGEST_FFT),
            ("LogMel.bands", self.bands, self.fft),
        ] {
            if value == 0 || value > most {
                let expected = "at least 1; windows and bands at most the transform's length, \
                                which is at most 65536";
                return Err(Error::config(field, value, expected));
            }
        }
        let fits = 0.0 <= self.low && self.low < self.high && self.high <= self.rate as f32 / 2.0;
        match fits {
            true => Ok(()),
            false => Err(Error::config(
                "LogMel.low and high",
                format_args!("{} and {} Hz", self.low, self.high),
                "rising, between 0 and half the rate",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        samples: Vec<f32>,
        frames: Vec<Vec<f32>>,
    }

    /// Made by `tests/golden/audio/make.py`.
    #[test]
    fn features_equal_numpys() {
        let golden: Golden =
            serde_json::from_str(include_str!("../tests/golden/audio/log_mel.json")).unwrap();
        let mel = LogMel {
            bands: 12,
            low: 60.0,
            high: 3800.0,
            ..LogMel::speech(8000)
        };
        assert_eq!((mel.window, mel.hop, mel.fft), (200, 80, 256));
        let found = mel.features(8000, &golden.samples).unwrap();
        let expected: Vec<f32> = golden.frames.concat();
        assert_eq!(found.len(), expected.len());
        for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
            assert!((a - b).abs() < 2e-4, "value {i}: {a} {b}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let mel = LogMel::speech(8000);
        assert!(mel.features(16_000, &[0.0; 400]).is_err());
        assert!(mel.features(8000, &[]).is_err());
        assert!(mel.features(8000, &[f32::NAN; 400]).is_err());
        assert_eq!(mel.features(8000, &[0.5; 3]).unwrap().len(), 40);
        for broken in [
            LogMel {
                hop: 0,
                ..mel.clone()
            },
            LogMel {
                window: 999,
                ..mel.clone()
            },
            LogMel {
                fft: 1 << 40,
                ..mel.clone()
            },
            LogMel {
                high: 4001.0,
                ..mel.clone()
            },
            LogMel {
                low: f32::NAN,
                ..mel.clone()
            },
        ] {
            assert!(broken.features(8000, &[0.0; 400]).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn wave_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        let format = hound::WavSpec {
            channels: 2,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut file = hound::WavWriter::create(&path, format).unwrap();
        for sample in [16_384i16, 0, -32_768, -32_768] {
            file.write_sample(sample).unwrap();
        }
        file.finalize().unwrap();
        let read = Recording::read(&path).unwrap();
        assert_eq!((read.rate, read.samples), (8000, vec![0.25, -1.0]));
        let bytes = std::fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let read = Recording::read(&path);
            assert!(length >= 44 || read.is_err(), "{length} bytes");
        }
        let error = Recording::read(folder.path().join("none.wav")).unwrap_err();
        assert!(error.to_string().contains("none.wav"));
    }
}
