//! The Gram matrix of the items, XᵀX, and its inverse: what EASE and SLIM learn from.
//!
//! It is dense: 4 bytes × items². Rows are sums of histories, as in [`product`](super::product); the
//! inverse is a blocked Cholesky factorisation by `faer`, n³ multiply-adds in all.

use dyn_stack::{MemBuffer, MemStack};
use faer::dyn_stack;
use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::triangular_inverse::invert_lower_triangular;
use faer::prelude::{Reborrow, ReborrowMut};
use faer::{Accum, MatMut, Par};
use rayon::prelude::*;
use refrain_core::Stage;

use super::product::Turned;
use super::sparse::Csr;
use crate::{Error, Result};

/// Refuses a catalogue whose dense matrices, `matrices` of them, do not fit in `max_memory` bytes.
pub(super) fn check_memory(
    model: &'static str,
    items: usize,
    matrices: u64,
    max_memory: u64,
) -> Result<()> {
    let cells = (items as u64).saturating_mul(items as u64);
    let needed = cells.saturating_mul(4 * matrices);
    if needed <= max_memory {
        return Ok(());
    }
    let gib = |bytes: u64| bytes as f64 / f64::from(1u32 << 30);
    let reason = format!(
        "{items} items need {:.2} GiB for {matrices} dense matrices of items × items, and max_memory \
         is {:.2} GiB: raise it, or leave out rare items (Interactions::min_counts, then compact)",
        gib(needed),
        gib(max_memory),
    );
    Err(Error::Data { model, reason })
}

/// `users`ᵀ · `users`, row-major; one step of the stage per item.
pub(super) fn gram(users: &Csr, stage: &Stage) -> Result<Vec<f32>> {
    let items = users.transpose();
    let turned = Turned::new(users.clone());
    let n = items.n_rows();
    let mut gram = vec![0.0f32; n * n];
    let block = 16;
    gram.par_chunks_mut((block * n).max(1))
        .zip(
            (0u32..)
                .step_by(block)
                .take(n.div_ceil(block))
                .collect::<Vec<_>>(),
        )
        .try_for_each(|(rows, first)| {
            for (item, sums) in (first..).zip(rows.chunks_mut(n)) {
                turned.multiply(items.row(item), sums);
            }
            stage.advance((rows.len() / n) as u64, "")
        })?;
    Ok(gram)
}

/// A symmetric positive definite matrix becomes its inverse; `None` where it is not one, in single
/// precision. Takes as much memory again while it runs.
pub(super) fn invert(mut matrix: Vec<f32>, n: usize) -> Option<Vec<f32>> {
    // faer counts by columns, we by rows: its lower triangle is our upper one.
    let par = Par::rayon(0);
    let scratch = cholesky_in_place_scratch::<f32>(n, par, Default::default());
    let mut buffer = MemBuffer::try_new(scratch).ok()?;
    let stack = MemStack::new(&mut buffer);
    let mut whole = MatMut::from_column_major_slice_mut(&mut matrix, n, n);
    cholesky_in_place(
        whole.rb_mut(),
        Default::default(),
        par,
        stack,
        Default::default(),
    )
    .ok()?;
    let mut inverse = vec![0.0f32; n * n];
    let mut factor = MatMut::from_column_major_slice_mut(&mut inverse, n, n);
    invert_lower_triangular(factor.rb_mut(), whole.rb(), par);
    triangular::matmul(
        whole,
        BlockStructure::TriangularLower,
        Accum::Replace,
        factor.rb().transpose(),
        BlockStructure::TriangularUpper,
        factor.rb(),
        BlockStructure::TriangularLower,
        1.0,
        par,
    );
    mirror(&mut matrix, n);
    matrix.iter().all(|x| x.is_finite()).then_some(matrix)
}

/// Copies the upper triangle of a row-major matrix into the lower one.
fn mirror(matrix: &mut [f32], n: usize) {
    // Blocks of rows, so that each cache line that is read is used whole.
    const BLOCK: usize = 16;
    for first in (0..n).step_by(BLOCK) {
        let last = n.min(first + BLOCK);
        let (above, rows) = matrix.split_at_mut(first * n);
        for (r, source) in above.chunks_exact(n).enumerate() {
            let source = source.get(first..last).unwrap_or_default();
            for (row, &value) in rows.chunks_exact_mut(n).zip(source) {
                if let Some(cell) = row.get_mut(r) {
                    *cell = value;
                }
            }
        }
        for r in 0..last - first {
            for c in r + 1..last - first {
                let (from, to) = (r * n + first + c, c * n + first + r);
                if let Some(&value) = rows.get(from)
                    && let Some(cell) = rows.get_mut(to)
                {
                    *cell = value;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nalgebra::DMatrix;
    use proptest::prelude::*;
    use rand::RngExt;
    use refrain_core::{Monitor, rng};

    use super::super::sparse::tests::any_csr;
    use super::*;

    proptest! {
        #[test]
        fn the_gram_matrix_is_its_definition(users in any_csr(9, 21)) {
            let stage = Monitor::silent().start("test", None);
            let gram = gram(&users, &stage).unwrap();
            for a in 0..21 {
                for b in 0..21 {
                    let sum: f32 = (0..9).map(|u| users.get(u, a) * users.get(u, b)).sum();
                    prop_assert_eq!(gram[a as usize * 21 + b as usize], sum);
                }
            }
        }
    }

    fn positive_definite(n: usize) -> Vec<f32> {
        let mut rng = rng::stream(5, n as u64);
        let factor = DMatrix::<f32>::from_fn(n, n, |_, _| rng.random::<f32>() - 0.5);
        let matrix = &factor * factor.transpose() + DMatrix::identity(n, n);
        matrix.as_slice().to_vec()
    }

    #[test]
    fn inverts() {
        for n in [0, 1, 2, 5, 16, 17, 33, 150] {
            let matrix = positive_definite(n);
            let inverse = invert(matrix.clone(), n).unwrap();
            let matrix = DMatrix::from_row_slice(n, n, &matrix);
            let product = matrix * DMatrix::from_row_slice(n, n, &inverse);
            let error = (product - DMatrix::identity(n, n)).abs().max();
            assert!(n == 0 || error < 1e-4, "{n}: {error}");
        }
        assert!(invert(vec![1.0, 2.0, 2.0, 1.0], 2).is_none());
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let n = 600;
        let matrix = positive_definite(n);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| invert(matrix.clone(), n))
        };
        let one = with(1);
        assert!(one.is_some());
        assert!(with(2) == one && with(3) == one);
    }

    #[test]
    fn what_does_not_fit_is_refused_before_it_is_allocated() {
        assert!(check_memory("EASE", 1000, 2, 8_000_000).is_ok());
        let error = check_memory("EASE", 40_000, 2, 1 << 32).unwrap_err();
        assert!(
            error.to_string().starts_with(
                "EASE cannot be fitted: 40000 items need 11.92 GiB for 2 dense matrices"
            ),
            "{error}"
        );
        assert!(check_memory("EASE", usize::MAX, 2, u64::MAX - 1).is_err());
    }
}
