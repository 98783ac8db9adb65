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
    let Picture {
        width,
        height,
        channels,
        bytes,
    } = draw(first, grid)?;
    let size = u16::try_from(width).ok().zip(u16::try_from(height).ok());
    let Some((w, h)) = size.filter(|_| bytes.len().saturating_mul(sheets.len()) <= LARGEST) else {
        let text = format!(
            "{} sheets of {width}×{height} pixels are too much",
            sheets.len()
        );
        return Err(refuse(text));
    };
    // Grey needs no choice of colours.
    let greys: Vec<u8> = (0..=255).flat_map(|v| [v; 3]).collect();
    let palette = if channels == 1 { greys.as_slice() } else { &[] };
    let failed = |e: gif::EncodingError| refuse(e.to_string());
    let mut encoder = Encoder::new(Vec::new(), w, h, palette).map_err(failed)?;
    encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
    for (i, sheet) in sheets.iter().enumerate() {
        let picture = draw(sheet, grid)?;
        if (picture.width, picture.height, picture.channels) != (width, height, channels) {
            let found = format!("{}×{}", picture.width, picture.height);
            return Err(refuse(format!(
                "sheet {i} is {found} pixels, the first {width}×{height}"
            )));
        }
        let mut frame = match channels {
            1 => Frame {
                width: w,
                height: h,
                buffer: Cow::Owned(picture.bytes),
                ..Frame::default()
            },
            _ => Frame::from_rgb_speed(w, h, &picture.bytes, SPEED),
        };
        frame.delay = milliseconds / 10;
        encoder.write_frame(&frame).map_err(failed)?;
    }
    encoder.into_inner().map_err(failed)
}

/// Writes the sheets to an animated GIF file.
///
/// # Errors
/// As [`animation_gif`]; [`refrain_core::Error::Io`] when the file cannot be written.
pub fn save_animation(
    sheets: &[Images],
    grid: &Grid,
    milliseconds: u16,
    path: impl AsRef<Path>,
) -> Result<()> {
    let gif = animation_gif(sheets, grid, milliseconds)?;
    std::fs::write(&path, gif).map_err(|e| refrain_core::Error::io(&path, e).into())
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
