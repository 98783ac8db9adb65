//! A set of equally large images, checked once.
//!
//! Values are brightness from 0 to 1, stored channel by channel, row by row (`[image, channel, row,
//! column]`, what a convolution reads). Loaders of other orders and ranges are here, so that nothing
//! behind this type has to ask again.

mod change;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::players::WIDEST;
use crate::{Error, Result};

/// The size of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageShape {
    /// 1 for grey, 3 for colour; any number is trained, only these two are drawn.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageShape {
    /// A square of `size` × `size` pixels.
    pub fn square(channels: usize, size: usize) -> Self {
        Self {
            channels,
            height: size,
            width: size,
        }
    }

    /// Values in one image: channels × height × width.
    pub fn len(&self) -> usize {
        self.channels
            .saturating_mul(self.height)
            .saturating_mul(self.width)
    }

    /// Whether an image of this shape holds no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}×{}", self.channels, self.height, self.width)
    }
}

/// Images of one shape, with a class label each or none at all. Cloning shares the pixels.
///
/// ```
/// use refrain_gan::{ImageShape, Images};
/// let shape = ImageShape::square(1, 2);
/// let two = Images::from_f32(shape, vec![0.0, 0.5, 1.0, 0.5, 1.0, 1.0, 0.0, 0.0])?;
/// assert_eq!(two.len(), 2);
/// assert_eq!(two.image(0), [0.0, 0.5, 1.0, 0.5]);
/// let labelled = two.with_labels(vec![3, 7], 10)?;
/// assert_eq!(labelled.labels(), Some(&[3, 7][..]));
/// # Ok::<(), refrain_gan::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Images {
    shape: ImageShape,
    pixels: Arc<[f32]>,
    labels: Option<Arc<[u32]>>,
    classes: usize,
}

impl Images {
    /// Images from brightness values between 0 and 1, `[image, channel, row, column]`.
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::Shape`] when the values are no whole number of images,
    /// [`Error::Pixel`] for NaN and values outside the range.
    pub fn from_f32(shape: ImageShape, pixels: Vec<f32>) -> Result<Self> {
        Self::scaled(shape, &pixels, 1.0)
    }

    /// Images from values between 0 and `max`: 16 for scikit-learn's digits, 255 for bytes kept as
    /// floats.
    ///
    /// # Errors
    /// As [`Images::from_f32`], and [`Error::Config`] when `max` is no positive number.
    ///
    /// ```
    /// # #[cfg(feature = "flex")] {
    /// use refrain_gan::{ImageShape, Images};
    /// let dot = Images::scaled(ImageShape::square(1, 1), &[8.0], 16.0)?;
    /// assert_eq!(dot.image(0), [0.5]);
    /// # }
    /// # Ok::<(), refrain_gan::Error>(())
    /// ```
    pub fn scaled(shape: ImageShape, values: &[f32], max: f32) -> Result<Self> {
        if !(max.is_finite() && max > 0.0) {
            return Err(Error::config("max", format!("{max} is no positive number")));
        }
        check_shape(shape, values.len())?;
        for (at, &value) in values.iter().enumerate() {
            if !(0.0..=max).contains(&value) {
                let (image, position) = (at / shape.len(), at % shape.len());
                return Err(Error::Pixel {
                    image,
                    position,
                    value,
                    max,
                });
            }
        }
        let pixels = values.iter().map(|v| v / max).collect();
        Ok(Self {
            shape,
            pixels,
            labels: None,
            classes: 0,
        })
    }

    /// Images from bytes as picture files hold them, `[image, row, column, channel]`.
    ///
    /// # Errors
    /// [`Error::Empty`], and [`Error::Shape`] when the bytes are no whole number of images.
    pub fn from_u8(shape: ImageShape, bytes: &[u8]) -> Result<Self> {
        check_shape(shape, bytes.len())?;
        let area = shape.height * shape.width;
        let mut pixels = Vec::with_capacity(bytes.len());
        for image in bytes.chunks_exact(shape.len()) {
            for channel in 0..shape.channels {
                pixels.extend((0..area).map(|p| f32::from(image[p * shape.channels + channel])));
            }
        }
        pixels.iter_mut().for_each(|v| *v /= 255.0);
        Ok(Self {
            shape,
            pixels: pixels.into(),
            labels: None,
            classes: 0,
        })
    }

    /// The same images with one class label each, below `classes`.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is not one label per image, [`Error::Label`] when a label is not
    /// below `classes`, [`Error::Class`] when there are more than 65,536 of them.
    pub fn with_labels(self, labels: Vec<u32>, classes: usize) -> Result<Self> {
        if classes > WIDEST {
            let text = format!("{classes} classes are more than {WIDEST}, the most allowed");
            return Err(Error::Class(text));
        }
        if labels.len() != self.len() {
            return Err(Error::shape("labels", self.len(), labels.len()));
        }
        if let Some((image, &label)) = labels
            .iter()
            .enumerate()
            .find(|(_, label)| **label as usize >= classes)
        {
            return Err(Error::Label {
                image,
                label,
                classes,
            });
        }
        Ok(Self {
            labels: Some(labels.into()),
            classes,
            ..self
        })
    }

    /// The same images without labels.
    #[must_use]
    pub fn without_labels(self) -> Self {
        Self {
            labels: None,
            classes: 0,
            ..self
        }
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.shape.len().max(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// The shape of each image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// All values, `[image, channel, row, column]`.
    pub fn pixels(&self) -> &[f32] {
        &self.pixels
    }

    /// The values of one image; empty when there is no such image.
    pub fn image(&self, index: usize) -> &[f32] {
        let size = self.shape.len();
        let start = index.saturating_mul(size);
        self.pixels
            .get(start..start.saturating_add(size))
            .unwrap_or(&[])
    }

    /// The label of each image, if they have labels.
    pub fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    /// How many classes the labels tell apart; 0 without labels.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The images at `indices`, in that order; indices without an image are left out.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let kept: Vec<usize> = indices
            .iter()
            .copied()
            .filter(|&i| i < self.len())
            .collect();
        let pixels = kept.iter().flat_map(|&i| self.image(i)).copied().collect();
        let labels = self
            .labels()
            .map(|labels| kept.iter().map(|&i| labels[i]).collect());
        Self {
            shape: self.shape,
            pixels,
            labels,
            classes: self.classes,
        }
    }

    /// The images that have class `class`.
    #[must_use]
    pub fn of_class(&self, class: u32) -> Self {
        let labels = self.labels().unwrap_or(&[]);
        let indices: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] == class).collect();
        self.select(&indices)
    }

    /// Data of any finite values, for a generator that ends in [`Output::Any`](crate::Output): points
    /// in the plane are `[2, 1, 1]`.
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::Shape`] when the values are no whole number of images,
    /// [`Error::Numeric`] for a value that is not finite.
    pub fn values(shape: ImageShape, values: Vec<f32>) -> Result<Self> {
        check_shape(shape, values.len())?;
        match values.iter().position(|v| !v.is_finite()) {
            None => Ok(Self::unclamped(shape, values, None, 0)),
            Some(at) => Err(Error::Numeric {
                what: "images",
                reason: format!("value {at} is {}", values[at]),
            }),
        }
    }

    /// What a network without a last squeeze made: what is not finite becomes 0.
    pub(crate) fn unclamped(
        shape: ImageShape,
        mut values: Vec<f32>,
        labels: Option<Vec<u32>>,
        classes: usize,
    ) -> Self {
        for value in &mut values {
            *value = if value.is_finite() { *value } else { 0.0 };
        }
        Self {
            shape,
            pixels: values.into(),
            labels: labels.map(Into::into),
            classes,
        }
    }

    /// Images that a network painted: values are clamped, what is not finite becomes 0.
    pub(crate) fn painted(
        shape: ImageShape,
        mut pixels: Vec<f32>,
        labels: Option<Vec<u32>>,
        classes: usize,
    ) -> Self {
        for value in &mut pixels {
            *value = if value.is_finite() {
                value.clamp(0.0, 1.0)
            } else {
                0.0
            };
        }
        Self {
            shape,
            pixels: pixels.into(),
            labels: labels.map(Into::into),
            classes,
        }
    }

    /// Refuses values outside 0..1.
    pub(crate) fn expect_brightness(&self) -> Result<()> {
        match self.pixels.iter().position(|v| !(0.0..=1.0).contains(v)) {
            None => Ok(()),
            Some(at) => Err(Error::Pixel {
                image: at / self.shape.len(),
                position: at % self.shape.len(),
                value: self.pixels[at],
                max: 1.0,
            }),
        }
    }

    /// Refuses another shape than `shape`; `what` names these images in the message.
    pub(crate) fn expect_shape(&self, what: &str, shape: ImageShape) -> Result<()> {
        match self.shape == shape {
            true => Ok(()),
            false => Err(Error::shape(what, shape, self.shape)),
        }
    }
}

/// Refuses more images, of so many values `each`, than there is memory for; `field` is the setting that
/// asks for them.
pub(crate) fn expect_room(field: &str, count: usize, each: usize, shape: ImageShape) -> Result<()> {
    let room = count
        .checked_mul(each)
        .is_some_and(|values| Vec::<f32>::new().try_reserve_exact(values).is_ok());
    match room {
        true => Ok(()),
        false => Err(Error::config(
            field,
            format!("there is no memory for {count} images of {shape}"),
        )),
    }
}

/// Refuses shapes without pixels, and a number of values that is no whole number of images.
fn check_shape(shape: ImageShape, values: usize) -> Result<()> {
    let sides = [shape.channels, shape.height, shape.width];
    let product = sides
        .iter()
        .try_fold(1usize, |product, side| product.checked_mul(*side));
    match product {
        None | Some(0) => Err(Error::shape(
            "image shape",
            "at least one value per image",
            shape,
        )),
        Some(_) if values == 0 => Err(Error::Empty { what: "images" }),
        Some(size) if !values.is_multiple_of(size) => Err(Error::shape(
            "images",
            format_args!("a multiple of {size} values ({shape} each)"),
            values,
        )),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
