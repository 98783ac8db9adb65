//! Images from a folder of picture files.
//!
//! PNG and JPEG files are decoded side by side, turned as their Exif orientation says (as cameras ask
//! for), laid on a background where they are transparent, brought to one size and to grey or colour. Files are read in the order of their paths, so a folder gives the
//! same images on every machine. A file that cannot be read is an error that names it, or is left out
//! and told, as asked.

use std::fs;
use std::io::{BufRead, Seek};
use std::path::{Path, PathBuf};

use image::imageops::{FilterType, crop_imm, resize};
use image::{
    DynamicImage, ImageDecoder, ImageReader, ImageResult, Limits, Rgb, RgbImage, RgbaImage,
};
use rand::RngExt;
use rayon::prelude::*;

use crate::random::{Purpose, stream};
use crate::{Error, ImageShape, Images, Result};

/// The longest side of a picture that is decoded, and of an image that is made of it.
const LONGEST: u32 = 1 << 14;

/// The most memory that the decoding of one picture may take.
const MOST: u64 = 1 << 28;

/// The deepest folder that is looked into.
const DEEPEST: usize = 32;

/// How a picture of another size becomes one of the right size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Fit {
    /// Scaled until it covers the image, the middle kept.
    #[default]
    Cover,
    /// As `Cover`, but a part at a random place is kept. The seed and the picture's place among the files
    /// decide where: another seed makes other images of the same pictures.
    RandomCrop {
        /// Where the random numbers come from.
        seed: u64,
    },
    /// Scaled to the image's sides, whatever that does to its proportions.
    Stretch,
    /// Not at all: pictures of another size are errors (or left out).
    Exact,
}

/// How a folder of pictures is read.
///
/// ```
/// use refrain_gan::{Grid, ImageFolder, ImageShape, Images, save_grid};
/// # let root = std::env::temp_dir().join(format!("refrain-folder-{}", std::process::id()));
/// for (class, bright) in [("day", 0.9), ("night", 0.1)] {
///     std::fs::create_dir_all(root.join(class)).unwrap();
///     let image = Images::from_f32(ImageShape::square(1, 1), vec![bright])?;
///     let grid = Grid { scale: 6, gap: 0, ..Grid::default() };
///     save_grid(&image, &grid, root.join(class).join("sky.png"))?;
/// }
/// let folder = ImageFolder { labels: true, ..ImageFolder::sized(1, 4) }.read(&root)?;
/// assert_eq!(folder.classes, ["day", "night"]);
/// assert_eq!(folder.images.labels(), Some(&[0, 1][..]));
/// assert!((folder.images.image(1)[0] - 0.1).abs() < 0.01);
/// # std::fs::remove_dir_all(&root).unwrap();
/// # Ok::<(), refrain_gan::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    /// What each image is brought to; 1 channel is grey (ITU-R BT.709 luma), 3 are colour.
    pub shape: ImageShape,
    /// How a picture of another size is treated.
    pub fit: Fit,
    /// What transparent pixels are laid on: red, green, blue.
    pub background: [u8; 3],
    /// Whether each image is followed by its mirror image, left and right exchanged.
    pub mirrored: bool,
    /// Whether the subfolders are classes, in the order of their names.
    pub labels: bool,
    /// Whether pictures that cannot be read are left out; else the first one is the error.
    pub skip_broken: bool,
}

/// What a folder held.
#[derive(Debug)]
#[non_exhaustive]
pub struct FolderImages {
    /// The images, labelled where asked.
    pub images: Images,
    /// The name of each class; empty without labels.
    pub classes: Vec<String>,
    /// The file of each picture; a mirrored image has the file of the one before it.
    pub files: Vec<PathBuf>,
    /// The files left out, and why, where that was asked.
    pub skipped: Vec<Error>,
}

impl ImageFolder {
    /// Squares of `size` × `size` pixels on black, scaled and cropped, without labels.
    pub fn sized(channels: usize, size: usize) -> Self {
        Self {
            shape: ImageShape::square(channels, size),
            fit: Fit::Cover,
            background: [0; 3],
            mirrored: false,
            labels: false,
            skip_broken: false,
        }
    }

    /// Reads every PNG and JPEG file in `folder` and the folders in it. Other files are passed over, and so
    /// are links to folders; a link to a picture is read.
    ///
    /// # Errors
    /// [`Error::Picture`] naming the first file that cannot be read or does not fit, unless they are
    /// skipped, and for a folder that is more than 32 folders deep; [`refrain_core::Error::Io`] for a folder that cannot be read; [`Error::Empty`] when no
    /// picture is left; [`Error::Class`] for a picture outside of all classes; [`Error::Config`] for
    /// channels other than 1 or 3, or sides that are 0 or beyond 16,384.
    pub fn read(&self, folder: impl AsRef<Path>) -> Result<FolderImages> {
        self.check()?;
        let folder = folder.as_ref();
        let mut files = Vec::new();
        collect(folder, 0, &mut files)?;
        files.sort();
        let mut classes = Vec::new();
        let mut labels = Vec::new();
        if self.labels {
            let named: Result<Vec<String>> = files.iter().map(|f| class_of(folder, f)).collect();
            let named = named?;
            classes = named.clone();
            classes.sort();
            classes.dedup();
            let place = |name: &String| classes.binary_search(name).unwrap_or(0) as u32;
            labels = named.iter().map(place).collect();
        }
        let decoded: Vec<Result<Vec<u8>>> = files
            .par_iter()
            .enumerate()
            .map(|(i, file)| self.picture(i, file))
            .collect();

        let (mut bytes, mut kept, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for (i, result) in decoded.into_iter().enumerate() {
            match result {
                Ok(image) => {
                    bytes.extend_from_slice(&image);
                    kept.push(i);
                    if self.mirrored {
                        bytes.extend(mirror(&image, self.shape));
                        kept.push(i);
                    }
                }
                Err(error) if self.skip_broken => skipped.push(error),
                Err(error) => return Err(error),
            }
        }
        if kept.is_empty() {
            return Err(Error::Empty {
                what: "folder of PNG and JPEG files",
            });
        }
        let mut images = Images::from_u8(self.shape, &bytes)?;
        if self.labels {
            let labels = kept
                .iter()
                .filter_map(|&i| labels.get(i).copied())
                .collect();
            images = images.with_labels(labels, classes.len())?;
        }
        let files = kept.iter().filter_map(|&i| files.get(i).cloned()).collect();
        Ok(FolderImages {
            images,
            classes,
            files,
            skipped,
        })
    }

    fn check(&self) -> Result<()> {
        let ImageShape {
            channels,
            height,
            width,
        } = self.shape;
        if channels != 1 && channels != 3 {
            return Err(Error::config(
                "shape.channels",
                format!("{channels} is neither 1 nor 3"),
            ));
        }
        for (field, side) in [("shape.height", height), ("shape.width", width)] {
            if side == 0 || side > LONGEST as usize {
                return Err(Error::config(
                    field,
                    format!("{side} is not between 1 and {LONGEST}"),
                ));
            }
        }
        Ok(())
    }

    /// File number `index` as bytes, `[row, column, channel]`.
    fn picture(&self, index: usize, file: &Path) -> Result<Vec<u8>> {
        let refuse = |reason: String| Error::Picture {
            file: file.display().to_string(),
            reason,
        };
        let mut reader = ImageReader::open(file)
            .and_then(ImageReader::with_guessed_format)
            .map_err(|e| refuse(e.to_string()))?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(LONGEST);
        limits.max_image_height = Some(LONGEST);
        limits.max_alloc = Some(MOST);
        reader.limits(limits);
        let picture = upright(reader).map_err(|e| refuse(e.to_string()))?;
        let picture = opaque(&picture.into_rgba8(), self.background);
        let (height, width) = (self.shape.height as u32, self.shape.width as u32);
        let fitted = match self.fit {
            _ if picture.dimensions() == (width, height) => picture,
            Fit::Exact => {
                let (w, h) = picture.dimensions();
                return Err(refuse(format!("{w}×{h} pixels, not {width}×{height}")));
            }
            Fit::Stretch => resize(&picture, width, height, FilterType::Triangle),
            Fit::Cover => cover(&picture, width, height, |most| most / 2),
            Fit::RandomCrop { seed } => {
                let mut rng = stream(seed, Purpose::Crop, index as u64);
                cover(&picture, width, height, |most| rng.random_range(0..=most))
            }
        };
        Ok(match self.shape.channels {
            1 => fitted.pixels().map(luma).collect(),
            _ => fitted.into_raw(),
        })
    }
}

/// The picture as it should be seen.
fn upright<R: BufRead + Seek>(reader: ImageReader<R>) -> ImageResult<DynamicImage> {
    let mut decoder = reader.into_decoder()?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST);
    limits.reserve(decoder.total_bytes())?;
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// The brightness of a colour (ITU-R BT.709), rounded.
fn luma(&Rgb([r, g, b]): &Rgb<u8>) -> u8 {
    ((2126 * u32::from(r) + 7152 * u32::from(g) + 722 * u32::from(b) + 5000) / 10_000) as u8
}

/// The picture on a background.
fn opaque(picture: &RgbaImage, background: [u8; 3]) -> RgbImage {
    let mut out = RgbImage::new(picture.width(), picture.height());
    for (to, from) in out.pixels_mut().zip(picture.pixels()) {
        let [r, g, b, alpha] = from.0;
        for ((to, from), behind) in to.0.iter_mut().zip([r, g, b]).zip(background) {
            let mixed =
                u32::from(from) * u32::from(alpha) + u32::from(behind) * u32::from(255 - alpha);
            *to = ((mixed + 127) / 255) as u8;
        }
    }
    out
}

/// Scaled until it covers; `place` says where the part that is kept begins, of at most so many pixels from
/// the left and from the top.
fn cover(
    picture: &RgbImage,
    width: u32,
    height: u32,
    mut place: impl FnMut(u64) -> u64,
) -> RgbImage {
    let (w, h) = (u64::from(picture.width()), u64::from(picture.height()));
    let (to_w, to_h) = (u64::from(width), u64::from(height));
    // The largest part of the right proportions, then scaled: nothing larger than the picture is made.
    let (part_w, part_h) = match w * to_h > h * to_w {
        true => ((h * to_w / to_h).max(1), h),
        false => (w, (w * to_h / to_w).max(1)),
    };
    let (left, top) = (place(w - part_w.min(w)), place(h - part_h.min(h)));
    let part = crop_imm(
        picture,
        left as u32,
        top as u32,
        part_w as u32,
        part_h as u32,
    )
    .to_image();
    resize(&part, width, height, FilterType::Triangle)
}

/// The image with left and right exchanged.
fn mirror(bytes: &[u8], shape: ImageShape) -> Vec<u8> {
    let row = |row: &[u8]| {
        row.chunks_exact(shape.channels)
            .rev()
            .flatten()
            .copied()
            .collect::<Vec<_>>()
    };
    bytes
        .chunks_exact(shape.width * shape.channels)
        .flat_map(row)
        .collect()
}

/// Adds the picture files of a folder and of those in it.
fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let io = |e| refrain_core::Error::io(folder, e);
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let path = entry.path();
        // A link to a folder is not followed: it may lead back here.
        if entry.file_type().map_err(io)?.is_dir() {
            if depth == DEEPEST {
                return Err(Error::Picture {
                    file: path.display().to_string(),
                    reason: format!("folders are looked into {DEEPEST} deep, not deeper"),
                });
            }
            collect(&path, depth + 1, files)?;
        } else if is_picture(&path) && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    ["png", "jpg", "jpeg"]
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
}

/// The folder below `root` that a file is in.
fn class_of(root: &Path, file: &Path) -> Result<String> {
    let below = file.strip_prefix(root).unwrap_or(file);
    let mut parts = below.components();
    match (parts.next(), parts.next()) {
        (Some(class), Some(_)) => Ok(class.as_os_str().to_string_lossy().into_owned()),
        _ => Err(Error::Class(format!(
            "{}: the picture is in no class's folder",
            file.display()
        ))),
    }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
