//! Sheets one after the other, as an animated GIF: a walk through latent space, or the sheets painted
//! while training.

use std::borrow::Cow;
use std::path::Path;

use gif::{Encoder, Frame, Repeat};

use crate::sheet::{LARGEST, Picture, draw, refuse};
use crate::{Error, Grid, Images, Result};

/// Quality of the 256 colours chosen for a frame: 1 is best, 30 fastest (NeuQuant).
const SPEED: i32 = 10;

/// The sheets as an animated GIF in memory, each shown for `milliseconds` (rounded down to hundredths
/// of a second), over and over. Grey is exact; colours are the nearest of 256 chosen for each frame.
///
/// # Errors
/// [`Error::Empty`] without sheets, and as [`grid_png`](crate::grid_png) for each of them;
/// [`Error::Picture`] when the sheets are not of one size, are larger than 65,535 pixels a side, or
/// together take more than 256 MiB.
///
/// ```
/// use refrain_gan::{Grid, ImageShape, Images, animation_gif};
/// let frame = |v: f32| Images::from_f32(ImageShape::square(1, 2), vec![v; 4]);
/// let gif = animation_gif(&[frame(0.0)?, frame(0.5)?, frame(1.0)?], &Grid::default(), 100)?;
/// assert_eq!(&gif[..6], b"GIF89a");
/// # Ok::<(), refrain_gan::Error>(())
/// ```
pub fn animation_gif(sheets: &[Images], grid: &Grid, milliseconds: u16) -> Result<Vec<u8>> {
    let first = sheets.first().ok_or(Error::Empty { what: "animation" })?;
    let picture = draw(first, grid)?;
    if picture.bytes.len().saturating_mul(sheets.len()) > LARGEST {
        let (width, height) = (picture.width, picture.height);
        let text = format!(
            "{} sheets of {width}×{height} pixels are too much",
            sheets.len()
        );
        return Err(refuse(text));
    }
    let mut animation = Animation::new(&picture, milliseconds)?;
    for (i, sheet) in sheets.iter().enumerate() {
        animation.push(i, draw(sheet, grid)?)?;
    }
    Ok(animation.bytes())
}

/// A GIF that grows: its head, and the bytes of each frame under its number.
#[derive(Debug)]
pub(crate) struct Animation {
    size: (usize, usize, usize), // width, height, channels
    sides: (u16, u16),
    delay: u16,
    head: Vec<u8>,
    frames: Vec<(usize, Vec<u8>)>,
}

/// The last byte of a GIF.
const TRAILER: u8 = 0x3b;

impl Animation {
    /// Without a frame; they will be of the size and the colours of `like`.
    pub(crate) fn new(like: &Picture, milliseconds: u16) -> Result<Self> {
        let (width, height) = (like.width, like.height);
        let sides = u16::try_from(width).ok().zip(u16::try_from(height).ok());
        let Some(sides) = sides else {
            let text = format!("a sheet of {width}×{height} pixels is too much for a GIF");
            return Err(refuse(text));
        };
        let mut animation = Self {
            size: (width, height, like.channels),
            sides,
            delay: milliseconds / 10,
            head: Vec::new(),
            frames: Vec::new(),
        };
        animation.head = animation.encode(None)?;
        Ok(animation)
    }

    /// Width, height and channels of a frame.
    pub(crate) fn size(&self) -> (usize, usize, usize) {
        self.size
    }

    /// Adds a frame.
    pub(crate) fn push(&mut self, number: usize, picture: Picture) -> Result<()> {
        let (width, height, channels) = self.size;
        if (picture.width, picture.height, picture.channels) != self.size {
            let found = format!("{}×{}", picture.width, picture.height);
            return Err(refuse(format!(
                "sheet {number} is {found} pixels, the first {width}×{height}"
            )));
        }
        let (w, h) = self.sides;
        let mut frame = match channels {
            1 => Frame {
                width: w,
                height: h,
                buffer: Cow::Owned(picture.bytes),
                ..Frame::default()
            },
            _ => Frame::from_rgb_speed(w, h, &picture.bytes, SPEED),
        };
        frame.delay = self.delay;
        let mut bytes = self.encode(Some(&frame))?;
        bytes.drain(..self.head.len().min(bytes.len()));
        self.frames.push((number, bytes));
        Ok(())
    }

    /// Leaves out frames.
    pub(crate) fn retain(&mut self, shown: impl Fn(usize) -> bool) {
        self.frames.retain(|&(number, _)| shown(number));
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone();
        for (_, frame) in &self.frames {
            bytes.extend_from_slice(frame);
        }
        bytes.push(TRAILER);
        bytes
    }

    /// The head and at most one frame, without the end.
    fn encode(&self, frame: Option<&Frame<'_>>) -> Result<Vec<u8>> {
        // Grey needs no choice of colours.
        let greys: Vec<u8> = (0..=255).flat_map(|v| [v; 3]).collect();
        let palette = if self.size.2 == 1 {
            greys.as_slice()
        } else {
            &[]
        };
        let failed = |e: gif::EncodingError| refuse(e.to_string());
        let mut encoder =
            Encoder::new(Vec::new(), self.sides.0, self.sides.1, palette).map_err(failed)?;
        encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
        if let Some(frame) = frame {
            encoder.write_frame(frame).map_err(failed)?;
        }
        let mut bytes = encoder.into_inner().map_err(failed)?;
        bytes.pop_if(|last| *last == TRAILER);
        Ok(bytes)
    }
}

/// Writes the sheets to an animated GIF file. An existing file is replaced in one step.
///
/// # Errors
/// As [`animation_gif`]; [`refrain_core::Error::Io`] when the file cannot be written.
pub fn save_animation(
    sheets: &[Images],
    grid: &Grid,
    milliseconds: u16,
    path: impl AsRef<Path>,
) -> Result<()> {
    Ok(refrain_core::replace_file(
        path,
        &animation_gif(sheets, grid, milliseconds)?,
    )?)
}

#[cfg(test)]
mod tests {
    use gif::{ColorOutput, DecodeOptions};

    use super::*;
    use crate::ImageShape;

    /// Delay, and red, green, blue, alpha of every pixel, of each frame.
    fn read(bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let mut options = DecodeOptions::new();
        options.set_color_output(ColorOutput::RGBA);
        let mut decoder = options.read_info(bytes).unwrap();
        let mut frames = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            frames.push((frame.delay, frame.buffer.to_vec()));
        }
        frames
    }

    const PLAIN: Grid = Grid {
        columns: 1,
        scale: 1,
        gap: 0,
        ink: false,
    };

    #[test]
    fn frames_are_read_back() {
        let grey = |v: [f32; 2]| {
            let shape = ImageShape {
                channels: 1,
                height: 1,
                width: 2,
            };
            Images::from_f32(shape, v.to_vec()).unwrap()
        };
        let frames =
            read(&animation_gif(&[grey([0.0, 1.0]), grey([0.2, 0.4])], &PLAIN, 70).unwrap());
        let byte = |v: u8| [v, v, v, 255];
        assert_eq!(frames[0], (7, [byte(0), byte(255)].concat()));
        assert_eq!(frames[1], (7, [byte(51), byte(102)].concat()));

        let shape = ImageShape {
            channels: 3,
            height: 1,
            width: 1,
        };
        let red = Images::from_u8(shape, &[250, 10, 30]).unwrap();
        let frames = read(&animation_gif(&[red], &PLAIN, 0).unwrap());
        let close = frames[0]
            .1
            .iter()
            .zip([250u8, 10, 30, 255])
            .all(|(a, b)| a.abs_diff(b) < 4);
        assert!(close, "{frames:?}");
    }

    #[test]
    fn what_cannot_be_shown_is_refused() {
        let one =
            |size| Images::from_f32(ImageShape::square(1, size), vec![0.0; size * size]).unwrap();
        assert!(matches!(
            animation_gif(&[], &PLAIN, 1),
            Err(Error::Empty { .. })
        ));
        let error = animation_gif(&[one(1), one(2)], &PLAIN, 1)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("sheet 1 is 2×2 pixels, the first 1×1"),
            "{error}"
        );
        let wide = Grid {
            scale: 70_000,
            ..PLAIN
        };
        assert!(matches!(
            animation_gif(&[one(1)], &wide, 1),
            Err(Error::Picture { .. })
        ));
        assert!(save_animation(&[one(1)], &PLAIN, 1, "/no/such/folder/x.gif").is_err());
    }
}
