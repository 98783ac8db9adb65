//! Bars of music as images: a GAN of images writes music when the images are piano rolls.
//!
//! A roll is an image with a channel for each track, a row for each step of time and a column for each
//! key; a pixel is 1 while its key sounds (MuseGAN, Dong et al. 2018,
//! <https://arxiv.org/abs/1709.06298>). What a generator paints lies between 0 and 1, and sounds from ½
//! upward.
//!
//! With the keys as channels ([`PianoRoll::keys_as_channels`]) a roll is a sequence, an image one pixel high:
//! the same networks then convolve over time alone and see all keys at once, while those of the image see a
//! few keys that lie beside each other.
//!
//! A roll does not tell a long note from the same key struck again at once.

use serde::{Deserialize, Serialize};

use crate::images::expect_room;
use crate::{Error, ImageShape, Images, Result};

/// From this brightness on a key sounds.
const SOUNDS: f32 = 0.5;

/// How music lies in an image.
///
/// ```
/// use refrain_gan::{PianoRoll, RollNote};
/// let roll = PianoRoll { tracks: 1, bars: 1, steps: 8, lowest: 60, keys: 12 };
/// let notes = [
///     RollNote { track: 0, key: 60, start: 0, length: 4 },
///     RollNote { track: 0, key: 67, start: 4, length: 2 },
/// ];
/// let image = roll.image(&notes)?;
/// assert_eq!(roll.notes(&image)?, [notes.to_vec()]);
/// # Ok::<(), refrain_gan::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PianoRoll {
    /// Instruments, one channel each.
    pub tracks: usize,
    /// Bars in an image.
    pub bars: usize,
    /// Steps in a bar.
    pub steps: usize,
    /// The MIDI number of the first column's key (60 is the middle C).
    pub lowest: u8,
    /// Keys, one column each, a semitone apart.
    pub keys: usize,
}

/// A note of a roll.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RollNote {
    /// Its track, from 0.
    pub track: usize,
    /// Its MIDI key.
    pub key: u8,
    /// The step at which it begins.
    pub start: usize,
    /// How many steps it sounds.
    pub length: usize,
}

impl PianoRoll {
    /// The shape of such an image: tracks × (bars · steps) × keys.
    pub fn shape(&self) -> ImageShape {
        let height = self.bars.saturating_mul(self.steps);
        ImageShape {
            channels: self.tracks,
            height,
            width: self.keys,
        }
    }

    /// Notes as one image. Those outside of its keys are moved by octaves into them.
    ///
    /// # Errors
    /// [`Error::Config`] for a layout without pixels, with keys beyond 127 or larger than there is memory
    /// for, [`Error::Shape`] for a
    /// note outside of its tracks or its time, or that no octave brings among its keys.
    pub fn image(&self, notes: &[RollNote]) -> Result<Images> {
        self.check()?;
        let shape = self.shape();
        expect_room("roll", 1, shape.len(), shape)?;
        let mut pixels = vec![0f32; shape.len()];
        for (i, note) in notes.iter().enumerate() {
            let end = note.start.saturating_add(note.length);
            let wrong = |expected: String, found: &dyn std::fmt::Display| {
                Err(Error::shape(format!("note {i}"), expected, found))
            };
            if note.track >= self.tracks {
                return wrong(format!("a track below {}", self.tracks), &note.track);
            }
            if end > shape.height {
                return wrong(format!("an end by step {}", shape.height), &end);
            }
            let Some(column) = self.column(note.key) else {
                let last = usize::from(self.lowest) + self.keys - 1;
                return wrong(
                    format!("a key of {} to {last}, or octaves from it", self.lowest),
                    &note.key,
                );
            };
            for step in note.start..end {
                let at = (note.track * shape.height + step) * shape.width + column;
                if let Some(pixel) = pixels.get_mut(at) {
                    *pixel = 1.0;
                }
            }
        }
        Images::from_f32(shape, pixels)
    }

    /// The rolls as sequences: a channel for each key of each track, one row, a column for each step. A
    /// convolutional network for such images convolves over time alone.
    ///
    /// # Errors
    /// As [`PianoRoll::notes`].
    ///
    /// ```
    /// # use refrain_gan::{ImageShape, Images, PianoRoll};
    /// let roll = PianoRoll { tracks: 1, bars: 1, steps: 3, lowest: 60, keys: 2 };
    /// let rising = Images::from_f32(roll.shape(), vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0])?;
    /// let sequence = roll.keys_as_channels(&rising)?;
    /// assert_eq!(sequence.shape(), ImageShape { channels: 2, height: 1, width: 3 });
    /// assert_eq!(sequence.pixels(), [1.0, 1.0, 0.0, 0.0, 0.0, 1.0]); // key by key
    /// assert_eq!(roll.keys_as_columns(&sequence)?, rising);
    /// # Ok::<(), refrain_gan::Error>(())
    /// ```
    pub fn keys_as_channels(&self, rolls: &Images) -> Result<Images> {
        self.check()?;
        rolls.expect_shape("piano rolls", self.shape())?;
        let of_track = self.shape().height * self.keys;
        let pixels = transposed(rolls.pixels(), of_track, self.keys);
        Ok(like(rolls, self.sequence_shape(), pixels))
    }

    /// The rolls of sequences: what [`PianoRoll::keys_as_channels`] made, or a generator painted.
    ///
    /// # Errors
    /// As [`PianoRoll::notes`].
    pub fn keys_as_columns(&self, sequences: &Images) -> Result<Images> {
        self.check()?;
        sequences.expect_shape("piano rolls as sequences", self.sequence_shape())?;
        let steps = self.shape().height;
        let pixels = transposed(sequences.pixels(), steps * self.keys, steps);
        Ok(like(sequences, self.shape(), pixels))
    }

    fn sequence_shape(&self) -> ImageShape {
        let ImageShape { height, .. } = self.shape();
        ImageShape {
            channels: self.tracks.saturating_mul(self.keys),
            height: 1,
            width: height,
        }
    }

    fn column(&self, key: u8) -> Option<usize> {
        let column = i32::from(key) - i32::from(self.lowest);
        let keys = self.keys as i32;
        let moved = if (0..keys).contains(&column) {
            column
        } else {
            // The same pitch class, in the octave nearest to where it was.
            let class = column.rem_euclid(12);
            let highest = class + (keys - 1 - class).div_euclid(12) * 12;
            if column < 0 { class } else { highest }
        };
        (0..keys).contains(&moved).then_some(moved as usize)
    }

    /// The notes of each image, by track, then by start, then by key.
    ///
    /// # Errors
    /// [`Error::Config`] as [`PianoRoll::image`]; [`Error::Shape`] when the images are no such rolls.
    pub fn notes(&self, rolls: &Images) -> Result<Vec<Vec<RollNote>>> {
        self.check()?;
        rolls.expect_shape("piano rolls", self.shape())?;
        Ok((0..rolls.len())
            .map(|i| self.notes_of(rolls.image(i)))
            .collect())
    }

    fn notes_of(&self, image: &[f32]) -> Vec<RollNote> {
        let ImageShape { height, width, .. } = self.shape();
        let mut notes = Vec::new();
        for (track, plane) in image.chunks_exact(height * width).enumerate() {
            let sounds = |step: usize, column: usize| {
                plane
                    .get(step * width + column)
                    .is_some_and(|&v| step < height && v >= SOUNDS)
            };
            for column in 0..width {
                let mut step = 0;
                while step < height {
                    let length = (step..height).take_while(|&s| sounds(s, column)).count();
                    if length > 0 {
                        let key = self.lowest.saturating_add(column as u8);
                        notes.push(RollNote {
                            track,
                            key,
                            start: step,
                            length,
                        });
                    }
                    step += length + 1;
                }
            }
        }
        notes.sort_by_key(|n| (n.track, n.start, n.key));
        notes
    }

    /// The images with every pixel 0 or 1.
    ///
    /// # Errors
    /// As [`PianoRoll::notes`].
    pub fn binary(&self, rolls: &Images) -> Result<Images> {
        rolls.expect_shape("piano rolls", self.shape())?;
        let pixels = rolls
            .pixels()
            .iter()
            .map(|&v| f32::from(u8::from(v >= SOUNDS)))
            .collect();
        Ok(Images::painted(self.shape(), pixels, None, 0))
    }

    /// At each step and in each track only the brightest key, where any sounds: one voice.
    ///
    /// # Errors
    /// As [`PianoRoll::notes`].
    pub fn one_voice(&self, rolls: &Images) -> Result<Images> {
        self.check()?;
        rolls.expect_shape("piano rolls", self.shape())?;
        let mut pixels = rolls.pixels().to_vec();
        for keys in pixels.chunks_exact_mut(self.keys) {
            let brightest = keys.iter().copied().enumerate();
            let (at, value) = brightest.fold((0, -1.0), |a, b| if b.1 > a.1 { b } else { a });
            for (column, key) in keys.iter_mut().enumerate() {
                *key = f32::from(u8::from(column == at && value >= SOUNDS));
            }
        }
        Ok(Images::painted(self.shape(), pixels, None, 0))
    }

    pub(crate) fn check(&self) -> Result<()> {
        for (field, value) in [
            ("roll.tracks", self.tracks),
            ("roll.bars", self.bars),
            ("roll.steps", self.steps),
            ("roll.keys", self.keys),
        ] {
            if value == 0 || value > 1 << 16 {
                return Err(Error::config(
                    field,
                    format!("{value} is not between 1 and 65536"),
                ));
            }
        }
        match usize::from(self.lowest) + self.keys {
            end if end > 128 => Err(Error::config(
                "roll.keys",
                format!("the last key would be {}, beyond 127", end - 1),
            )),
            _ => Ok(()),
        }
    }
}

/// Each plane of so many values with its rows, of `width` values, as columns.
fn transposed(pixels: &[f32], plane: usize, width: usize) -> Vec<f32> {
    let column = |plane: &[f32], at: usize| -> Vec<f32> {
        plane.iter().skip(at).step_by(width).copied().collect()
    };
    let planes = pixels.chunks_exact(plane);
    planes
        .flat_map(|plane| (0..width).flat_map(move |at| column(plane, at)))
        .collect()
}

/// Other pixels with the labels of `images`.
fn like(images: &Images, shape: ImageShape, pixels: Vec<f32>) -> Images {
    let labels = images.labels().map(<[u32]>::to_vec);
    Images::unclamped(shape, pixels, labels, images.classes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROLL: PianoRoll = PianoRoll {
        tracks: 2,
        bars: 2,
        steps: 4,
        lowest: 55,
        keys: 14,
    };

    proptest! {
        #[test]
        fn notes_survive_the_image(
            starts in prop::collection::vec((0usize..2, 55u8..69, 0usize..8, 1usize..4), 0..12),
        ) {
            // Notes of one key kept apart, as a roll cannot tell them otherwise.
            let mut notes: Vec<RollNote> = Vec::new();
            for (track, key, start, length) in starts {
                let note = RollNote { track, key, start, length: length.min(8 - start) };
                let touches = |o: &&RollNote| (o.track, o.key) == (track, key)
                    && o.start <= start + note.length && start <= o.start + o.length;
                if !notes.iter().any(|o| touches(&o)) {
                    notes.push(note);
                }
            }
            notes.sort_by_key(|n| (n.track, n.start, n.key));
            let image = ROLL.image(&notes).unwrap();
            let sequence = ROLL.keys_as_channels(&image).unwrap();
            for note in &notes {
                let channel = note.track * 14 + usize::from(note.key - 55);
                for step in 0..8 {
                    let sounds = notes.iter().any(|o| (o.track, o.key) == (note.track, note.key)
                        && (o.start..o.start + o.length).contains(&step));
                    prop_assert_eq!(sequence.pixels()[channel * 8 + step], f32::from(u8::from(sounds)));
                }
            }
            prop_assert_eq!(&ROLL.keys_as_columns(&sequence).unwrap(), &image);
            prop_assert_eq!(ROLL.notes(&image).unwrap(), vec![notes]);
            prop_assert_eq!(ROLL.binary(&image).unwrap(), image);
        }

        #[test]
        fn octaves_keep_the_pitch_class(key in 0u8..128) {
            let note = RollNote { track: 0, key, start: 0, length: 1 };
            let image = ROLL.image(&[note]).unwrap();
            let found = ROLL.notes(&image).unwrap()[0][0].key;
            let same = (55u8..69).filter(|k| k % 12 == key % 12);
            prop_assert_eq!(Some(found), same.min_by_key(|k| k.abs_diff(key)));
        }
    }

    #[test]
    fn one_voice_keeps_the_brightest() {
        let roll = PianoRoll {
            tracks: 1,
            bars: 1,
            steps: 2,
            lowest: 60,
            keys: 3,
        };
        let image = Images::from_f32(roll.shape(), vec![0.6, 0.9, 0.7, 0.1, 0.4, 0.2]).unwrap();
        assert_eq!(
            roll.one_voice(&image).unwrap().pixels(),
            [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let note = RollNote {
            track: 0,
            key: 60,
            start: 7,
            length: 2,
        };
        let error = ROLL.image(&[note]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "note 0: expected an end by step 8, found 9"
        );
        assert!(
            ROLL.image(&[RollNote {
                track: 2,
                start: 0,
                ..note
            }])
            .is_err()
        );
        assert!(
            ROLL.image(&[RollNote {
                start: usize::MAX,
                ..note
            }])
            .is_err()
        );
        let narrow = PianoRoll { keys: 2, ..ROLL };
        assert!(narrow.image(&[RollNote { start: 0, ..note }]).is_err());
        for bad in [
            PianoRoll { keys: 0, ..ROLL },
            PianoRoll { keys: 100, ..ROLL },
            PianoRoll {
                steps: usize::MAX,
                ..ROLL
            },
        ] {
            assert!(matches!(bad.image(&[]), Err(Error::Config { .. })));
        }
        let other = Images::from_f32(ImageShape::square(1, 2), vec![0.0; 4]).unwrap();
        assert!(matches!(ROLL.notes(&other), Err(Error::Shape { .. })));
        for refused in [ROLL.keys_as_channels(&other), ROLL.keys_as_columns(&other)] {
            assert!(matches!(refused, Err(Error::Shape { .. })));
        }
    }
}
