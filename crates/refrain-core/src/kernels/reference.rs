//! The kernels written plainly: slow, readable, and what the fast ones are tested against.

use super::{Convolution, Scored};

/// [`dot`](super::dot), one product after the other in double precision.
pub fn dot_reference(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(&x, &y)| f64::from(x) * f64::from(y))
        .sum::<f64>() as f32
}

/// [`axpy`](super::axpy).
pub fn axpy_reference(alpha: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += alpha * x;
    }
}

/// [`matmul_transposed`](super::matmul_transposed): every row of `a` with every row of `b`.
pub fn matmul_transposed_reference(a: &[f32], b: &[f32], dim: usize) -> Vec<f32> {
    if dim == 0 {
        return Vec::new();
    }
    a.chunks_exact(dim)
        .flat_map(|x| b.chunks_exact(dim).map(move |y| dot_reference(x, y)))
        .collect()
}

/// [`top_k`](super::top_k) by sorting everything.
pub fn top_k_reference(scores: &[f32], k: usize) -> Vec<Scored> {
    let mut all: Vec<Scored> = scores
        .iter()
        .enumerate()
        .filter(|(_, s)| **s > f32::NEG_INFINITY)
        .map(|(i, &score)| Scored {
            index: i as u32,
            score,
        })
        .collect();
    all.sort_by(Scored::rank);
    all.truncate(k);
    all
}

/// [`scores_i8`](super::scores_i8).
pub fn scores_i8_reference(query: &[i8], rows: &[i8]) -> Vec<i32> {
    let product = |(&q, &r): (&i8, &i8)| i64::from(q) * i64::from(r);
    rows.chunks_exact(query.len().max(1))
        .map(|row| query.iter().zip(row).map(product).sum::<i64>() as i32)
        .collect()
}

/// Every product of a convolution of `images` images: `each(pixel, weight, value of the map)`, each
/// the number of a value in its slice.
pub fn convolution_reference(
    convolution: &Convolution,
    images: usize,
    mut each: impl FnMut(usize, usize, usize),
) {
    let c = convolution;
    let inside = |window: usize, t: usize, side: usize| {
        let pixel = (window * c.stride + t).checked_sub(c.padding)?;
        (pixel < side).then_some(pixel)
    };
    for n in 0..images {
        for f in 0..c.filters {
            for (i, (row, column)) in pairs(c.maps).enumerate() {
                for channel in 0..c.channels {
                    for (t, (a, b)) in pairs([c.kernel; 2]).enumerate() {
                        let h = inside(row, a, c.image[0]);
                        let w = inside(column, b, c.image[1]);
                        if let (Some(h), Some(w)) = (h, w) {
                            let pixel = (n * c.channels + channel) * c.image[0] + h;
                            each(
                                pixel * c.image[1] + w,
                                (f * c.channels + channel) * c.kernel * c.kernel + t,
                                (n * c.filters + f) * c.maps[0] * c.maps[1] + i,
                            );
                        }
                    }
                }
            }
        }
    }
}

fn pairs([rows, columns]: [usize; 2]) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)))
}
