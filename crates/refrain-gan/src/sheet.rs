//! Many images as one picture.

use std::io::Cursor;
use std::path::Path;

use image::{ColorType, ImageEncoder, codecs::png::PngEncoder};

use crate::{Error, ImageShape, Images, Result};

/// How images are laid out on a sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Images in a row.
    pub columns: usize,
    /// Each pixel of an image becomes a square of this many pixels.
    pub scale: usize,
    /// Pixels between images and around them, in a middle grey.
    pub gap: usize,
    /// Paints bright as dark, as ink on paper; only for grey images.
    pub ink: bool,
}

impl Default for Grid {
    fn default() -> Self {
        Self {
            columns: 8,
            scale: 4,
            gap: 2,
            ink: false,
        }
    }
}

/// The largest picture that is made, in bytes.
pub(crate) const LARGEST: usize = 1 << 28;

/// Brightness of the gap between images.
const GAP: u8 = 128;

/// The images as a PNG file in memory: grey for one channel, colour for three.
///
/// # Errors
/// [`Error::Empty`] without images, [`Error::Picture`] for another number of channels or a picture
/// beyond 256 MiB, [`Error::Config`] when `columns` or `scale` is 0.
///
/// ```
/// use refrain_gan::{Grid, ImageShape, Images, grid_png};
/// let images = Images::from_f32(ImageShape::square(1, 2), vec![0.0, 1.0, 1.0, 0.0])?;
/// let png = grid_png(&images, &Grid::default())?;
/// assert_eq!(&png[1..4], b"PNG");
/// # Ok::<(), refrain_gan::Error>(())
/// ```
pub fn grid_png(images: &Images, grid: &Grid) -> Result<Vec<u8>> {
    png(&draw(images, grid)?)
}

pub(crate) fn png(picture: &Picture) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    let color = if picture.channels == 1 {
        ColorType::L8
    } else {
        ColorType::Rgb8
    };
    PngEncoder::new(&mut bytes)
        .write_image(
            &picture.bytes,
            picture.width as u32,
            picture.height as u32,
            color.into(),
        )
        .map_err(|e| refuse(e.to_string()))?;
    Ok(bytes.into_inner())
}

/// Writes the images to a PNG file. An existing file is replaced in one step.
///
/// # Errors
/// As [`grid_png`]; [`refrain_core::Error::Io`] when the file cannot be written.
pub fn save_grid(images: &Images, grid: &Grid, path: impl AsRef<Path>) -> Result<()> {
    Ok(refrain_core::replace_file(path, &grid_png(images, grid)?)?)
}

pub(crate) struct Picture {
    pub(crate) channels: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) bytes: Vec<u8>, // [row, column, channel]
}

pub(crate) fn draw(images: &Images, grid: &Grid) -> Result<Picture> {
    let ImageShape {
        channels,
        height,
        width,
    } = images.shape();
    if images.is_empty() {
        return Err(Error::Empty { what: "sheet" });
    }
    if channels != 1 && channels != 3 {
        return Err(refuse(format!(
            "images of {channels} channels have no colours; 1 or 3 do"
        )));
    }
    for (field, value) in [("grid.columns", grid.columns), ("grid.scale", grid.scale)] {
        if value == 0 {
            return Err(Error::config(field, "must be at least 1"));
        }
    }
    let Grid {
        columns,
        scale,
        gap,
        ink,
    } = *grid;
    let columns = columns.min(images.len());
    let rows = images.len().div_ceil(columns);
    let side = |count: usize, pixels: usize| {
        pixels
            .checked_mul(scale)?
            .checked_add(gap)?
            .checked_mul(count)?
            .checked_add(gap)
    };
    let size = side(columns, width)
        .zip(side(rows, height))
        .and_then(|(w, h)| {
            let bytes = w.checked_mul(h)?.checked_mul(channels)?;
            (bytes <= LARGEST).then_some((w, h, bytes))
        });
    let Some((sheet_width, sheet_height, bytes)) = size else {
        return Err(refuse(format!(
            "the picture would be larger than {LARGEST} bytes"
        )));
    };

    let mut sheet = vec![GAP; bytes];
    for index in 0..images.len() {
        let image = images.image(index);
        let top = gap + index / columns * (height * scale + gap);
        let left = gap + index % columns * (width * scale + gap);
        for y in 0..height * scale {
            for x in 0..width * scale {
                let at = ((top + y) * sheet_width + left + x) * channels;
                for channel in 0..channels {
                    let value = image[(channel * height + y / scale) * width + x / scale];
                    let value = if ink && channels == 1 {
                        1.0 - value
                    } else {
                        value
                    };
                    sheet[at + channel] = (value * 255.0).round() as u8;
                }
            }
        }
    }
    Ok(Picture {
        channels,
        width: sheet_width,
        height: sheet_height,
        bytes: sheet,
    })
}

pub(crate) fn refuse(reason: String) -> Error {
    Error::Picture {
        file: "sheet".to_string(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_exact() {
        let images = Images::from_f32(ImageShape::square(1, 1), vec![0.0, 1.0, 0.2]).unwrap();
        let grid = Grid {
            columns: 2,
            scale: 2,
            gap: 1,
            ink: false,
        };
        let picture = draw(&images, &grid).unwrap();
        assert_eq!((picture.width, picture.height), (7, 7));
        let row = |y: usize| &picture.bytes[y * 7..(y + 1) * 7];
        assert_eq!(row(0), [128; 7]);
        assert_eq!(row(1), [128, 0, 0, 128, 255, 255, 128]);
        assert_eq!(row(4), [128, 51, 51, 128, 128, 128, 128]);
        let ink = draw(&images, &Grid { ink: true, ..grid }).unwrap();
        assert_eq!(ink.bytes[7..14], [128, 255, 255, 128, 0, 0, 128]);
    }

    #[test]
    fn colour_is_read_back() {
        let shape = ImageShape {
            channels: 3,
            height: 1,
            width: 1,
        };
        let images = Images::from_u8(shape, &[10, 20, 30]).unwrap();
        let png = grid_png(
            &images,
            &Grid {
                columns: 1,
                scale: 1,
                gap: 0,
                ink: false,
            },
        )
        .unwrap();
        let read = image::load_from_memory(&png).unwrap().to_rgb8();
        assert_eq!(read.into_raw(), [10, 20, 30]);
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let grid = Grid::default();
        let two = ImageShape {
            channels: 2,
            height: 1,
            width: 1,
        };
        let images = Images::from_f32(two, vec![0.0, 1.0]).unwrap();
        assert!(
            grid_png(&images, &grid)
                .unwrap_err()
                .to_string()
                .contains("2 channels")
        );
        let one = Images::from_f32(ImageShape::square(1, 1), vec![0.0]).unwrap();
        assert!(matches!(
            grid_png(&one.select(&[]), &grid),
            Err(Error::Empty { .. })
        ));
        for bad in [
            Grid { columns: 0, ..grid },
            Grid { scale: 0, ..grid },
            Grid {
                scale: 1 << 20,
                ..grid
            },
            Grid {
                scale: usize::MAX,
                ..grid
            },
        ] {
            assert!(grid_png(&one, &bad).is_err());
        }
        assert!(save_grid(&one, &grid, "/no/such/folder/x.png").is_err());
    }
}
