//! Vectors in a quarter of their bytes, or a fiftieth.
//!
//! Directions are encoded and lengths kept. **Int8** keeps each value as a whole number from −127 to 127
//! times a scale of its vector. A **product** quantiser cuts a direction into parts, each of which
//! becomes one byte (Jégou, Douze and Schmid, *Product Quantization for Nearest Neighbor Search*, 2011);
//! a question is compared with the centroids once, and then each word costs one look-up a part.

pub(crate) mod product;

use std::path::Path;

use rayon::prelude::*;
use refrain_core::{Error as CoreError, ModelFile, ModelWriter, Values, kernels};
use serde::{Deserialize, Serialize};

use crate::embeddings::{Neighbour, best, check, direction, inverse_norm};
use crate::{Embeddings, Error, Result, Vocabulary};
use product::Product;

const KIND: &str = "embeddings.quantized";
const VERSION: u32 = 1;

/// How vectors are made small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Quantization {
    /// A byte for each value.
    Int8,
    /// A byte for each of so many parts, which are about equally long.
    Product {
        /// How many; `dim / 8` to `dim / 2` are usual.
        parts: usize,
        /// For the choice of the first centroids.
        seed: u64,
    },
}

/// Words with vectors in fewer bytes; made by [`Embeddings::quantized`].
///
/// ```
/// use refrain_embeddings::{Embeddings, Quantization, QuantizedEmbeddings};
/// let words = Embeddings::from_vectors([
///     ("cat", [1.0, 0.1, 0.0, 0.3]), ("dog", [0.9, 0.2, 0.0, 0.3]), ("car", [0.0, 0.1, 1.0, 0.0]),
/// ])?;
/// let small = words.quantized(Quantization::Int8)?;
/// assert_eq!(small.neighbours("cat", 1)?[0].word, "dog");
/// assert!((small.vector("car").unwrap_or_default()[2] - 1.0).abs() < 0.01);
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("words.refrain");
/// small.save(&path)?;
/// assert_eq!(QuantizedEmbeddings::load(&path)?.len(), 3);
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedEmbeddings {
    vocabulary: Vocabulary,
    dim: usize,
    /// The length of each vector.
    norms: Values,
    /// `[words, bytes of a word]`.
    codes: Values<u8>,
    coder: Coder,
}

#[derive(Debug, Clone, PartialEq)]
enum Coder {
    Int8 { scales: Values },
    Product(Product),
}

#[derive(Serialize, Deserialize)]
struct Header {
    dim: usize,
    /// Of a product.
    parts: Option<usize>,
}

impl Embeddings {
    /// The same words with vectors in fewer bytes. N-grams are left out.
    ///
    /// Costs of a product: 65,536 vectors are compared with 256 centroids 20 times, and then all once.
    ///
    /// # Errors
    /// [`Error::Config`] unless there are between 1 and `dim` parts, and for more than 131,071 values in 8
    /// bits.
    pub fn quantized(&self, to: Quantization) -> Result<QuantizedEmbeddings> {
        let dim = self.dim();
        let inverse = |vector: &[f32]| inverse_norm(vector);
        let inverses: Vec<f32> = self.vectors().par_chunks(dim).map(inverse).collect();
        let norm = |&inverse: &f32| if inverse > 0.0 { 1.0 / inverse } else { 0.0 };
        let norms: Vec<f32> = inverses.iter().map(norm).collect();
        let mut directions = self.vectors().to_vec();
        directions
            .par_chunks_mut(dim)
            .zip(&inverses)
            .for_each(|(row, &inverse)| row.iter_mut().for_each(|v| *v *= inverse));
        let (codes, coder) = match to {
            Quantization::Int8 if dim >= 1 << 17 => {
                return Err(Error::Config {
                    field: "dim",
                    value: dim.to_string(),
                    reason: "vectors in 8 bits have at most 131071 values",
                });
            }
            Quantization::Int8 => {
                let mut codes = vec![0u8; directions.len()];
                let encode = |(row, codes): (&[f32], &mut [u8])| {
                    kernels::quantize_i8(row, bytemuck::cast_slice_mut(codes))
                };
                let rows = directions.par_chunks(dim).zip(codes.par_chunks_mut(dim));
                let scales: Vec<f32> = rows.map(encode).collect();
                let scales = scales.into();
                (codes, Coder::Int8 { scales })
            }
            Quantization::Product { parts, seed } => {
                check_parts(parts, dim)?;
                let product = Product::train(&directions, dim, parts, seed);
                (product.encode(&directions), Coder::Product(product))
            }
        };
        Ok(QuantizedEmbeddings {
            vocabulary: self.vocabulary().clone(),
            dim,
            norms: norms.into(),
            codes: codes.into(),
            coder,
        })
    }
}

fn check_parts(parts: usize, dim: usize) -> Result<()> {
    match (1..=dim).contains(&parts) {
        true => Ok(()),
        false => Err(Error::Config {
            field: "parts",
            value: parts.to_string(),
            reason: "choose between 1 and the length of the vectors",
        }),
    }
}

impl QuantizedEmbeddings {
    /// How many words there are.
    pub fn len(&self) -> usize {
        self.vocabulary.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.vocabulary.is_empty()
    }

    /// The length of the vectors.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The words and their counts.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// How many bytes the vectors take, centroids included and words not.
    pub fn bytes(&self) -> usize {
        let coder = match &self.coder {
            Coder::Int8 { scales } => scales.len(),
            Coder::Product(product) => product.centroids.len(),
        };
        self.codes.len() + 4 * (self.norms.len() + coder)
    }

    /// Bytes of a word's code.
    fn width(&self) -> usize {
        match &self.coder {
            Coder::Int8 { .. } => self.dim,
            Coder::Product(product) => product.parts,
        }
    }

    /// The vector of `word`, about what it was.
    pub fn vector(&self, word: &str) -> Option<Vec<f32>> {
        self.row(self.vocabulary.get(word)?)
    }

    /// The vector of the word with this number, about what it was.
    pub fn row(&self, index: u32) -> Option<Vec<f32>> {
        let mut vector = self.direction(index)?;
        kernels::scale(*self.norms.get(index as usize)?, &mut vector);
        Some(vector)
    }

    fn direction(&self, index: u32) -> Option<Vec<f32>> {
        let at = index as usize;
        let codes = self.codes.get(at * self.width()..(at + 1) * self.width())?;
        let mut direction = vec![0.0; self.dim];
        match &self.coder {
            Coder::Int8 { scales } => {
                let scale = scales.get(at)?;
                let values = bytemuck::cast_slice::<u8, i8>(codes).iter();
                let values = values.map(|&code| scale * f32::from(code));
                direction.iter_mut().zip(values).for_each(|(d, v)| *d = v);
            }
            Coder::Product(product) => product.decode(codes, &mut direction),
        }
        Some(direction)
    }

    /// The `k` words nearest to `word`, itself left out, by the inner product of its direction with
    /// theirs: about the cosine.
    ///
    /// # Errors
    /// [`Error::UnknownWord`].
    pub fn neighbours(&self, word: &str, k: usize) -> Result<Vec<Neighbour<'_>>> {
        let index = self.vocabulary.get(word);
        let found = index.and_then(|index| self.direction(index));
        let vector = found.ok_or_else(|| Error::unknown(word))?;
        self.nearest_where(&vector, k, |other, _| Some(other) != index)
    }

    /// The `k` words nearest to a vector.
    ///
    /// # Errors
    /// [`Error::Shape`] when its length differs.
    pub fn nearest(&self, vector: &[f32], k: usize) -> Result<Vec<Neighbour<'_>>> {
        self.nearest_where(vector, k, |_, _| true)
    }

    /// The `k` words nearest to a vector among those that `keep` accepts, by number and word.
    ///
    /// # Errors
    /// [`Error::Shape`] when its length differs.
    pub fn nearest_where(
        &self,
        vector: &[f32],
        k: usize,
        keep: impl Fn(u32, &str) -> bool + Sync,
    ) -> Result<Vec<Neighbour<'_>>> {
        check(vector, self.dim)?;
        let query = direction(vector, inverse_norm(vector));
        let width = self.width();
        let codes =
            |rows: std::ops::Range<usize>| &self.codes[rows.start * width..rows.end * width];
        Ok(match &self.coder {
            Coder::Int8 { scales } => {
                let mut coded = vec![0; self.dim];
                let scale = kernels::quantize_i8(&query, &mut coded);
                best(&self.vocabulary, k, keep, |rows, out| {
                    let mut products = vec![0; rows.len()];
                    let scales = &scales[rows.clone()];
                    kernels::scores_i8(&coded, bytemuck::cast_slice(codes(rows)), &mut products);
                    for ((out, product), s) in out.iter_mut().zip(products).zip(scales) {
                        *out = product as f32 * (s * scale);
                    }
                })
            }
            Coder::Product(product) => {
                let table = product.table(&query);
                best(&self.vocabulary, k, keep, |rows, out| {
                    product.scores(&table, codes(rows), out);
                })
            }
        })
    }

    /// The vectors in full again, about what they were.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for a file that was damaged.
    pub fn to_embeddings(&self) -> Result<Embeddings> {
        let row = |index: u32| self.row(index).unwrap_or_default();
        let rows: Vec<Vec<f32>> = (0..self.len() as u32).into_par_iter().map(row).collect();
        Embeddings::new(self.vocabulary.clone(), self.dim, rows.concat())
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        Ok(self.writer()?.write(path)?)
    }

    fn writer(&self) -> Result<ModelWriter<'_>> {
        let words = self.len();
        let header = Header {
            dim: self.dim,
            parts: match &self.coder {
                Coder::Int8 { .. } => None,
                Coder::Product(product) => Some(product.parts),
            },
        };
        let writer = ModelWriter::new(KIND, VERSION)
            .config(&header)?
            .ids_in_place("words", self.vocabulary.ids())?
            .u64("counts", &[words], self.vocabulary.counts())?
            .f32("norms", &[words], &self.norms[..])?
            .u8("codes", &[words, self.width()], &self.codes[..])?;
        Ok(match &self.coder {
            Coder::Int8 { scales } => writer.f32("scales", &[words], &scales[..])?,
            Coder::Product(product) => {
                let shape = [product.centroids.len()];
                writer.f32("centroids", &shape, &product.centroids[..])?
            }
        })
    }

    /// Opens a file, whose words and codes stay in it as [those in full](Embeddings::load) do.
    ///
    /// # Errors
    /// When there is none, its parts do not fit one another, or it is another model's.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_file(&ModelFile::open(path)?)
    }

    fn from_file(file: &ModelFile) -> Result<Self> {
        file.expect(KIND, VERSION)?;
        let header: Header = file.config()?;
        let ids = file.ids_in_place("words")?;
        let (words, dim) = (ids.len(), header.dim);
        let width = header.parts.unwrap_or(dim);
        if dim == 0 || width == 0 || width > dim {
            return Err(Error::Core(CoreError::ModelFile {
                origin: file.origin().to_string(),
                reason: format!("vectors of {dim} values in {width} parts"),
            }));
        }
        let floats = |name: &str, count: usize| {
            Ok::<_, Error>(file.f32(name)?.expect_shape(name, &[count])?.data)
        };
        let coder = match header.parts {
            None => Coder::Int8 {
                scales: file.keep(floats("scales", words)?),
            },
            Some(parts) => {
                let centroids = floats("centroids", dim.saturating_mul(256))?.into_owned();
                if let Some(at) = centroids.iter().position(|value| !value.is_finite()) {
                    return Err(Error::NotFinite {
                        word: format!("centroids {at}"),
                    });
                }
                Coder::Product(Product {
                    dim,
                    parts,
                    centroids,
                })
            }
        };
        let counts = file.u64("counts")?.expect_shape("counts", &[words])?;
        let codes = file.u8("codes")?.expect_shape("codes", &[words, width])?;
        Ok(Self {
            vocabulary: Vocabulary::from_ids(ids, file.keep(counts.data)),
            dim,
            norms: file.keep(floats("norms", words)?),
            codes: file.keep(codes.data),
            coder,
        })
    }
}

#[cfg(test)]
mod tests;
