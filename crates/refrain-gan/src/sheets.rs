//! Sheets painted while a game is played: one for each epoch from the same noise, and all of them as an
//! animated GIF.

use std::path::{Path, PathBuf};

use image::{ImageFormat, ImageReader};

use crate::animation::Animation;
use crate::sheet::{Picture, draw, png};
use crate::{Error, Grid, Images, Result, Trainer};

/// The most frames of a long game's animation, but for the newest.
const FRAMES: usize = 64;

/// Sheets to paint while training ([`Gan::sheets`](crate::Gan), [`Trainer::keep_sheets`](crate::Trainer)):
/// before the first step and after each epoch a file `epoch-0000.png`, `epoch-0001.png` …, always from
/// the same noise, and `training.gif`, which shows them one after the other. Of a long game it shows
/// every second, fourth … sheet and the newest, at most 65. A new game writes over the sheets of an earlier one
/// in the same folder; those of later epochs than its own stay there.
///
/// ```
/// use refrain_gan::{Gan, ImageShape, Images, Sheets};
/// let images = Images::from_f32(ImageShape::square(1, 4), [0.2, 0.8].repeat(64))?;
/// # let folder = std::env::temp_dir().join(format!("refrain-sheets-{}", std::process::id()));
/// let sheets = Some(Sheets::new(&folder));
/// let gan = Gan { sheets, epochs: 2, batch: 4, ..Gan::default() };
/// gan.fit(&images, &refrain_core::device("cpu")?)?;
/// assert!(folder.join("epoch-0002.png").exists() && folder.join("training.gif").exists());
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), refrain_gan::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheets {
    /// The folder they go into; made where there is none. Nothing outside of it is written.
    pub folder: PathBuf,
    /// Rows of eight images, or of one image per class.
    pub rows: usize,
    /// How the images are laid out; `None` for one row as one line, scaled to 64 pixels and more a side.
    pub grid: Option<Grid>,
    /// How long the animation shows each sheet.
    pub milliseconds: u16,
}

impl Sheets {
    /// Four rows, a quarter of a second each.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            rows: 4,
            grid: None,
            milliseconds: 250,
        }
    }
}

impl Trainer {
    /// From now on paints a sheet after each epoch into a folder, as [`Gan::sheets`](crate::Gan::sheets) does from the start
    /// on. After [`Trainer::resume`] the same folder goes on where the checkpoint was: from the same noise,
    /// and the animation with the sheets that are there. An error is given back by the step that ends an
    /// epoch, after which training can go on.
    ///
    /// # Errors
    /// [`Error::Picture`] for images that are neither grey nor coloured, and sheets that are too large;
    /// [`Error::Config`] for no rows; [`refrain_core::Error::Io`]; [`Error::Device`].
    pub fn keep_sheets(&mut self, sheets: Sheets) -> Result<()> {
        let sheet = self.sheet(sheets.rows.max(1))?;
        let mut book = Book::new(sheets, &sheet, self.painter().columns())?;
        match self.step {
            0 => book.add(0, &sheet)?,
            _ => book.take_up(self.history.len())?,
        }
        self.sheets = Some(book);
        Ok(())
    }

    /// The sheet of the epoch that has ended, where one is asked for.
    pub(crate) fn paint_sheet(&mut self) -> Result<()> {
        let Some(mut book) = self.sheets.take() else {
            return Ok(());
        };
        let sheet = self.sheet(book.rows);
        let added = sheet.and_then(|sheet| book.add(self.history.len(), &sheet));
        self.sheets = Some(book);
        added
    }
}

/// The sheets so far.
#[derive(Debug)]
pub(crate) struct Book {
    rows: usize,
    folder: PathBuf,
    grid: Grid,
    animation: Animation,
}

impl Book {
    /// For sheets like `first`, of so many columns.
    pub(crate) fn new(sheets: Sheets, first: &Images, columns: usize) -> Result<Self> {
        let Sheets {
            folder,
            rows,
            grid,
            milliseconds,
        } = sheets;
        if rows == 0 {
            return Err(Error::config("sheets.rows", "must be at least 1"));
        }
        let grid = grid.unwrap_or(Grid {
            columns,
            scale: 64usize.div_ceil(first.shape().height).max(1),
            ..Grid::default()
        });
        let animation = Animation::new(&draw(first, &grid)?, milliseconds)?;
        std::fs::create_dir_all(&folder).map_err(|e| refrain_core::Error::io(&folder, e))?;
        Ok(Self {
            rows,
            folder,
            grid,
            animation,
        })
    }

    /// Writes the sheet of an epoch, and the animation with it.
    pub(crate) fn add(&mut self, epoch: usize, sheet: &Images) -> Result<()> {
        let picture = draw(sheet, &self.grid)?;
        refrain_core::replace_file(self.page(epoch), &png(&picture)?)?;
        self.animation.push(epoch, picture)?;
        self.animation.retain(|frame| shown(frame, epoch));
        Ok(refrain_core::replace_file(
            self.folder.join("training.gif"),
            &self.animation.bytes(),
        )?)
    }

    /// Takes up the sheets that the game painted up to an epoch, before it was stopped: those that are
    /// there and of the right size.
    pub(crate) fn take_up(&mut self, epoch: usize) -> Result<()> {
        for frame in (0..=epoch).filter(|&frame| shown(frame, epoch)) {
            if let Some(picture) = read(&self.page(frame), self.animation.size()) {
                self.animation.push(frame, picture)?;
            }
        }
        Ok(())
    }

    fn page(&self, epoch: usize) -> PathBuf {
        self.folder.join(format!("epoch-{epoch:04}.png"))
    }
}

/// Whether the animation shows a sheet when `newest` is the newest: what is shown once is shown until
/// every second one is left out, so a resumed game's animation is that of an unbroken one.
fn shown(frame: usize, newest: usize) -> bool {
    let stride = (newest / FRAMES + 1).next_power_of_two();
    frame == newest || frame.is_multiple_of(stride)
}

/// A PNG file, if it is one of this width, height and number of channels.
fn read(path: &Path, (width, height, channels): (usize, usize, usize)) -> Option<Picture> {
    let open = || {
        let mut reader = ImageReader::open(path).ok()?;
        reader.set_format(ImageFormat::Png);
        Some(reader)
    };
    let (w, h) = open()?.into_dimensions().ok()?;
    if (w as usize, h as usize) != (width, height) {
        return None;
    }
    let picture = open()?.decode().ok()?;
    let bytes = match channels {
        1 => picture.into_luma8().into_raw(),
        _ => picture.into_rgb8().into_raw(),
    };
    Some(Picture {
        channels,
        width,
        height,
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageShape;

    fn book(folder: &Path) -> Book {
        let sheets = Sheets {
            rows: 1,
            ..Sheets::new(folder)
        };
        Book::new(sheets, &sheet(0), 1).unwrap()
    }

    /// A single pixel, brighter each epoch.
    fn sheet(epoch: usize) -> Images {
        Images::from_u8(ImageShape::square(1, 1), &[epoch as u8]).unwrap()
    }

    /// The brightness of the frames' middle.
    fn frames(path: &Path) -> Vec<u8> {
        let file = std::fs::File::open(path).unwrap();
        let mut decoder = gif::DecodeOptions::new();
        decoder.set_color_output(gif::ColorOutput::RGBA);
        let mut decoder = decoder.read_info(file).unwrap();
        let mut frames = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            let (width, height) = (usize::from(frame.width), usize::from(frame.height));
            frames.push(frame.buffer[(height / 2 * width + width / 2) * 4]);
        }
        frames
    }

    #[test]
    fn a_long_game_shows_the_first_the_newest_and_evenly_between() {
        let folder = tempfile::tempdir().unwrap();
        let mut book = book(folder.path());
        let gif = folder.path().join("training.gif");
        for epoch in 0..=201 {
            book.add(epoch, &sheet(epoch)).unwrap();
            let stride = match epoch {
                0..64 => 1,
                64..128 => 2,
                _ => 4,
            };
            if epoch % 10 == 1 {
                let mut expected: Vec<u8> = (0..=epoch as u8).step_by(stride).collect();
                if epoch % stride > 0 {
                    expected.push(epoch as u8);
                }
                assert_eq!(frames(&gif), expected);
            }
        }
        // Taken up in the middle, past files that no longer fit.
        let unbroken = std::fs::read(&gif).unwrap();
        let mut again = self::book(folder.path());
        again.take_up(150).unwrap();
        for epoch in 151..=201 {
            again.add(epoch, &sheet(epoch)).unwrap();
        }
        assert!(std::fs::read(&gif).unwrap() == unbroken);
        let page = |epoch| folder.path().join(format!("epoch-{epoch:04}.png"));
        std::fs::write(page(4), b"no picture").unwrap();
        std::fs::remove_file(page(8)).unwrap();
        let other = Images::from_u8(ImageShape::square(1, 2), &[7; 4]).unwrap();
        crate::save_grid(&other, &Grid::default(), page(12)).unwrap();
        let mut again = self::book(folder.path());
        again.take_up(201).unwrap();
        again.add(202, &sheet(202)).unwrap();
        assert_eq!(frames(&gif)[..3], [0, 16, 20]);
    }

    #[test]
    fn what_cannot_be_painted_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |sheets: Sheets, images: &Images| Book::new(sheets, images, 8).unwrap_err();
        let sheets = Sheets::new(folder.path().join("sheets"));
        let rows = Sheets {
            rows: 0,
            ..sheets.clone()
        };
        assert!(refused(rows, &sheet(0)).to_string().contains("sheets.rows"));
        let point = ImageShape {
            channels: 2,
            height: 1,
            width: 1,
        };
        let points = Images::from_f32(point, vec![0.0; 2]).unwrap();
        assert!(matches!(
            refused(sheets.clone(), &points),
            Error::Picture { .. }
        ));
        let wide = Grid {
            scale: 70_000,
            ..Grid::default()
        };
        let wide = Sheets {
            grid: Some(wide),
            ..sheets.clone()
        };
        assert!(matches!(refused(wide, &sheet(0)), Error::Picture { .. }));
        assert!(!sheets.folder.exists());
        std::fs::write(&sheets.folder, b"a file").unwrap();
        let error = refused(sheets.clone(), &sheet(0));
        let core = matches!(error, Error::Core(refrain_core::Error::Io { .. }));
        assert!(core, "{error}");
    }
}
