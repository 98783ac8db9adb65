//! Vectors on paper: the directions in which they differ most (principal components; Pearson, 1901).

use std::fmt::Write;

use nalgebra::{DMatrix, SymmetricEigen};

use crate::{Embeddings, Error, Result};

/// Some words in few dimensions.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Projection {
    /// The words, in the order they were given.
    pub words: Vec<String>,
    /// For each word its place, `[words, dimensions]`, around a mean of zero.
    pub places: Vec<Vec<f32>>,
    /// The directions, of length 1, each at a right angle to the others; `[dimensions, dim]`.
    pub directions: Vec<Vec<f32>>,
    /// The share of all variance that lies in each direction, the greatest first.
    pub explained: Vec<f32>,
}

impl Embeddings {
    /// The words in the `dimensions` directions in which they differ most among each other, as the
    /// vectors are, or scaled to length 1 first, as cosines see them.
    ///
    /// Costs `words · dim²` operations and `dim³`.
    ///
    /// ```
    /// use refrain_embeddings::Embeddings;
    /// let words = Embeddings::from_vectors([
    ///     ("a", [0.0, 2.0, 1.0]), ("b", [0.0, -2.0, 1.0]), ("c", [0.5, 0.0, 1.0]), ("d", [-0.5, 0.0, 1.0]),
    /// ])?;
    /// let plane = words.project(&["a", "b", "c", "d"], 2, false)?;
    /// assert!((plane.places[0][0].abs() - 2.0).abs() < 1e-6);
    /// assert!((plane.explained[0] - 16.0 / 17.0).abs() < 1e-6);
    /// let svg = plane.to_svg("Four words");
    /// assert!(svg.starts_with("<svg"));
    /// # Ok::<(), refrain_embeddings::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownWord`], [`Error::TooFewWords`] for less than two, and [`Error::Config`] unless
    /// there are between 1 and `dim` dimensions.
    pub fn project(
        &self,
        words: &[&str],
        dimensions: usize,
        of_length_one: bool,
    ) -> Result<Projection> {
        if words.len() < 2 {
            return Err(Error::TooFewWords {
                what: "projection",
                expected: 2,
                found: words.len(),
            });
        }
        let dim = self.dim();
        if !(1..=dim).contains(&dimensions) {
            return Err(Error::Config {
                field: "dimensions",
                value: dimensions.to_string(),
                reason: "choose between 1 and the length of the vectors",
            });
        }
        let mut rows = Vec::with_capacity(words.len() * dim);
        for &word in words {
            let vector = self.embed(word).ok_or_else(|| Error::unknown(word))?;
            let mut vector: Vec<f64> = vector.iter().map(|&v| f64::from(v)).collect();
            let length = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
            if of_length_one && length > 0.0 {
                vector.iter_mut().for_each(|v| *v /= length);
            }
            rows.extend(vector);
        }
        let mut rows = DMatrix::from_row_slice(words.len(), dim, &rows);
        for mut column in rows.column_iter_mut() {
            let mean = column.mean();
            column.add_scalar_mut(-mean);
        }
        let eigen = SymmetricEigen::new(rows.transpose() * &rows);
        let mut order: Vec<usize> = (0..dim).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        order.truncate(dimensions);
        let total: f64 = eigen.eigenvalues.iter().map(|v| v.max(0.0)).sum();
        let share = |&i: &usize| match total > 0.0 {
            true => (eigen.eigenvalues[i].max(0.0) / total) as f32,
            false => 0.0,
        };
        let directions: Vec<Vec<f32>> = order
            .iter()
            .map(|&i| {
                let column = eigen.eigenvectors.column(i);
                // The sign is free: the largest value is made positive.
                let largest = column
                    .iter()
                    .copied()
                    .max_by(|a, b| a.abs().total_cmp(&b.abs()));
                let sign = largest.unwrap_or(1.0).signum();
                column.iter().map(|v| (v * sign) as f32).collect()
            })
            .collect();
        let place = |row: usize| -> Vec<f32> {
            let along = |direction: &Vec<f32>| {
                let values = rows.row(row);
                let products = values.iter().zip(direction);
                products.map(|(a, &b)| a * f64::from(b)).sum::<f64>() as f32
            };
            directions.iter().map(along).collect()
        };
        Ok(Projection {
            words: words.iter().map(|word| word.to_string()).collect(),
            places: (0..words.len()).map(place).collect(),
            explained: order.iter().map(share).collect(),
            directions,
        })
    }
}

impl Projection {
    /// A picture of the first two dimensions (the second is 0 where there is one), each word written
    /// at its place.
    pub fn to_svg(&self, title: &str) -> String {
        const SIZE: f32 = 720.0;
        const EDGE: f32 = 60.0;
        let at = |place: &[f32], d: usize| place.get(d).copied().unwrap_or_default();
        let reach = self
            .places
            .iter()
            .flat_map(|place| [at(place, 0).abs(), at(place, 1).abs()])
            .fold(0.0, f32::max);
        let scale = (SIZE / 2.0 - EDGE) / if reach > 0.0 { reach } else { 1.0 };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {SIZE} {SIZE}\" \
             font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{EDGE}\" y=\"28\" font-size=\"17\">{}</text>\n",
            escape(title)
        );
        for (word, place) in self.words.iter().zip(&self.places) {
            let x = SIZE / 2.0 + scale * at(place, 0);
            let y = SIZE / 2.0 - scale * at(place, 1);
            // Writing to a string cannot fail.
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#4a7\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x + 5.0,
                y + 4.0,
                escape(word)
            );
        }
        svg + "</svg>\n"
    }
}

fn escape(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.chars().map(shown).collect();
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.linalg.svd(x - x.mean(0), full_matrices=False)` of the same table, numpy 2.4.
    #[test]
    fn places_are_those_of_a_singular_value_decomposition() {
        let table: Vec<(String, [f32; 3])> = (0..6i32)
            .map(|i| {
                let row = [i * i % 5, i * 3 % 7, (i + 2) * i % 4].map(|v| v as f32);
                (format!("w{i}"), row)
            })
            .collect();
        let words = Embeddings::from_vectors(table.iter().map(|(w, v)| (w, v))).unwrap();
        let names: Vec<&str> = table.iter().map(|(word, _)| word.as_str()).collect();
        let plane = words.project(&names, 2, false).unwrap();
        let expected = (
            [0.6315, 0.2571],
            [
                [2.7622, 1.8137],
                [0.6013, 0.7033],
                [4.1778, 0.1036],
                [0.0839, 2.7305],
                [1.8490, 1.8600],
                [2.7472, 0.3435],
            ],
        );
        for (explained, expected) in plane.explained.iter().zip(expected.0) {
            assert!(
                (explained - expected).abs() < 1e-4,
                "{explained} {expected}"
            );
        }
        for (place, expected) in plane.places.iter().zip(expected.1) {
            for (found, expected) in place.iter().zip(expected) {
                assert!((found.abs() - expected).abs() < 2e-4, "{found} {expected}");
            }
        }
        let svg = plane.to_svg("a < b");
        assert!(svg.contains("a &lt; b") && svg.matches("<circle").count() == 6);

        let same = Embeddings::from_vectors([("a", [1.0, 1.0]), ("b", [1.0, 1.0])]).unwrap();
        let point = same.project(&["a", "b"], 1, true).unwrap();
        assert_eq!((point.explained[0], point.places[0][0]), (0.0, 0.0));
        assert!(!point.to_svg("").contains("NaN"));
        assert!(words.project(&["w1"], 1, false).is_err());
        assert!(words.project(&["w1", "w9"], 1, false).is_err());
        assert!(words.project(&["w1", "w2"], 4, false).is_err());
    }
}
