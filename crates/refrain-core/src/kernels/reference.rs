//! The kernels written plainly: slow, readable, and what the fast ones are tested against.

use super::Scored;

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
