//! Product quantisation: a vector is cut into parts, and each part becomes the number of the nearest of
//! 256 centroids, which k-means finds.

use rand::RngExt;
use rayon::prelude::*;
use refrain_core::kernels;

/// One for each value of a byte.
const CENTROIDS: usize = 256;
/// Vectors that centroids are learned from.
const SAMPLE: usize = 1 << 16;
const ITERATIONS: usize = 20;
/// Vectors compared with centroids at once.
const BLOCK: usize = 1024;

/// The centroids of all parts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Product {
    pub dim: usize,
    pub parts: usize,
    /// `[256, width]` of the first part, then of the second, and so on.
    pub centroids: Vec<f32>,
}

impl Product {
    /// Where a part begins and ends.
    fn range(&self, part: usize) -> std::ops::Range<usize> {
        part * self.dim / self.parts..(part + 1) * self.dim / self.parts
    }

    fn centroids(&self, part: usize) -> &[f32] {
        let range = self.range(part);
        &self.centroids[CENTROIDS * range.start..CENTROIDS * range.end]
    }

    /// Learns from `rows`, `[n, dim]`.
    pub fn train(rows: &[f32], dim: usize, parts: usize, seed: u64) -> Self {
        let mut product = Self {
            dim,
            parts,
            centroids: Vec::new(),
        };
        // Evenly spaced, so that frequent words and rare ones are in it.
        let step = (rows.len() / dim).div_ceil(SAMPLE).max(1);
        let learn = |part: usize| {
            let range = product.range(part);
            let cut = rows.chunks_exact(dim).step_by(step);
            let points: Vec<f32> = cut.flat_map(|row| &row[range.clone()]).copied().collect();
            means(&points, range.len(), seed, part as u64)
        };
        let learned: Vec<Vec<f32>> = (0..parts).into_par_iter().map(learn).collect();
        product.centroids = learned.concat();
        product
    }

    /// The numbers of the nearest centroids, `[n, parts]`.
    pub fn encode(&self, rows: &[f32]) -> Vec<u8> {
        let mut codes = vec![0; rows.len() / self.dim * self.parts];
        codes
            .par_chunks_mut(BLOCK * self.parts)
            .zip(rows.par_chunks(BLOCK * self.dim))
            .for_each(|(codes, rows)| {
                for part in 0..self.parts {
                    let range = self.range(part);
                    let cut = rows.chunks_exact(self.dim);
                    let points: Vec<f32> =
                        cut.flat_map(|row| &row[range.clone()]).copied().collect();
                    let near = nearest(&points, self.centroids(part), range.len());
                    for (row, (code, _)) in codes.chunks_exact_mut(self.parts).zip(near) {
                        row[part] = code;
                    }
                }
            });
        codes
    }

    /// Adds the centroids of a row of codes up to a vector.
    pub fn decode(&self, codes: &[u8], out: &mut [f32]) {
        for (part, &code) in codes.iter().enumerate() {
            let range = self.range(part);
            let at = usize::from(code) * range.len();
            let centroid = &self.centroids(part)[at..at + range.len()];
            out[range].copy_from_slice(centroid);
        }
    }

    /// The inner products of a vector's parts with the centroids, `[parts, 256]`.
    pub fn table(&self, vector: &[f32]) -> Vec<f32> {
        let mut table = vec![0.0; self.parts * CENTROIDS];
        for (part, out) in table.chunks_exact_mut(CENTROIDS).enumerate() {
            kernels::scores(&vector[self.range(part)], self.centroids(part), out);
        }
        table
    }

    /// The inner products of the vector of a table with decoded rows.
    pub fn scores(&self, table: &[f32], codes: &[u8], out: &mut [f32]) {
        for (row, out) in codes.chunks_exact(self.parts).zip(out) {
            let parts = table.chunks_exact(CENTROIDS).zip(row);
            *out = parts.map(|(part, &code)| part[usize::from(code)]).sum();
        }
    }
}

/// For each point the number of the nearest centroid and x·c − |c|²/2, which is greatest there.
fn nearest(points: &[f32], centroids: &[f32], width: usize) -> Vec<(u8, f32)> {
    let halves: Vec<f32> = centroids
        .chunks_exact(width)
        .map(|c| kernels::dot(c, c) / 2.0)
        .collect();
    let mut products = vec![0.0; points.len() / width * halves.len()];
    kernels::matmul_transposed(points, centroids, width, &mut products);
    let best = |products: &[f32]| {
        let mut best = (0, f32::NEG_INFINITY);
        for ((number, product), half) in products.iter().enumerate().zip(&halves) {
            if product - half > best.1 {
                best = (number as u8, product - half);
            }
        }
        best
    };
    products
        .chunks_exact(halves.len().max(1))
        .map(best)
        .collect()
}

/// K-means (Lloyd, 1982) from randomly chosen points; a centroid that is nearest to none is put on a
/// random point again.
fn means(points: &[f32], width: usize, seed: u64, stream: u64) -> Vec<f32> {
    let n = points.len() / width;
    let mut rng = refrain_core::rng::stream(seed, stream);
    let mut centroids = vec![0.0; CENTROIDS * width];
    if n == 0 {
        return centroids;
    }
    let point = |at: usize| &points[at * width..(at + 1) * width];
    if n <= CENTROIDS {
        centroids[..points.len()].copy_from_slice(points);
        return centroids;
    }
    let mut order: Vec<usize> = (0..n).collect();
    for (at, centroid) in centroids.chunks_exact_mut(width).enumerate() {
        order.swap(at, rng.random_range(at..n));
        centroid.copy_from_slice(point(order[at]));
    }
    let mut before = Vec::new();
    for _ in 0..ITERATIONS {
        let near: Vec<u8> = points
            .chunks(BLOCK * width)
            .flat_map(|points| nearest(points, &centroids, width))
            .map(|(code, _)| code)
            .collect();
        if near == before {
            break;
        }
        let (mut sums, mut counts) = (vec![0.0f64; CENTROIDS * width], [0u32; CENTROIDS]);
        for (point, &code) in points.chunks_exact(width).zip(&near) {
            let code = usize::from(code);
            counts[code] += 1;
            let sum = &mut sums[code * width..(code + 1) * width];
            sum.iter_mut()
                .zip(point)
                .for_each(|(s, &v)| *s += f64::from(v));
        }
        let all = centroids
            .chunks_exact_mut(width)
            .zip(sums.chunks_exact(width));
        for ((centroid, sum), &count) in all.zip(&counts) {
            match count {
                0 => centroid.copy_from_slice(point(rng.random_range(0..n))),
                count => {
                    let mean = sum.iter().map(|s| (s / f64::from(count)) as f32);
                    centroid.iter_mut().zip(mean).for_each(|(c, m)| *c = m);
                }
            }
        }
        before = near;
    }
    centroids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(n: usize, dim: usize, seed: u64) -> Vec<f32> {
        let mut rng = refrain_core::rng::stream(seed, 1);
        (0..n * dim).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    #[test]
    fn each_part_gets_its_nearest_centroid() {
        let (dim, parts) = (7, 3);
        let rows = draw(2000, dim, 1);
        let product = Product::train(&rows, dim, parts, 5);
        assert_eq!(product, Product::train(&rows, dim, parts, 5));
        let codes = product.encode(&rows);
        for (row, codes) in rows.chunks(dim).zip(codes.chunks(parts)) {
            for (part, &code) in codes.iter().enumerate() {
                let range = product.range(part);
                let width = range.len();
                let off = |c: usize| -> f64 {
                    let centroid = &product.centroids(part)[c * width..(c + 1) * width];
                    let values = row[range.clone()].iter().zip(centroid);
                    values.map(|(a, b)| f64::from(a - b).powi(2)).sum()
                };
                let least = (0..CENTROIDS).map(off).fold(f64::INFINITY, f64::min);
                assert!(off(usize::from(code)) < least + 1e-5);
            }
        }
        // The centroids are better than the points they began from.
        let mut decoded = vec![0.0; dim];
        let mut error = 0.0;
        for (row, codes) in rows.chunks(dim).zip(codes.chunks(parts)) {
            product.decode(codes, &mut decoded);
            let values = row.iter().zip(&decoded);
            error += values.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        }
        let variance = rows.iter().map(|v| f64::from(v * v)).sum::<f64>();
        assert!(error < 0.05 * variance, "{error} of {variance}");
    }

    #[test]
    fn tables_give_the_products_of_decoded_rows() {
        let (dim, parts) = (10, 4);
        let rows = draw(300, dim, 2);
        let product = Product::train(&rows, dim, parts, 5);
        let codes = product.encode(&rows);
        let query = draw(1, dim, 3);
        let mut scores = vec![0.0; 300];
        product.scores(&product.table(&query), &codes, &mut scores);
        let mut decoded = vec![0.0; dim];
        for (codes, score) in codes.chunks(parts).zip(scores) {
            product.decode(codes, &mut decoded);
            assert!((kernels::dot(&query, &decoded) - score).abs() < 1e-5);
        }
        // As many points as centroids or fewer: nothing is lost.
        let few = &rows[..200 * dim];
        let product = Product::train(few, dim, parts, 5);
        for (row, codes) in few.chunks(dim).zip(product.encode(few).chunks(parts)) {
            product.decode(codes, &mut decoded);
            assert_eq!(row, decoded);
        }
        let none = Product::train(&[], dim, parts, 5);
        assert_eq!(none.centroids, vec![0.0; CENTROIDS * dim]);
    }
}
