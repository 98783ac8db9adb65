//! Matrix products over strided views.

use std::ops::Range;

/// A matrix in someone's slice.
#[derive(Clone, Copy)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// How far into its slice a matrix reaches.
fn extent(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> usize {
    match rows == 0 || cols == 0 {
        true => 0,
        false => (rows - 1) * row_stride + (cols - 1) * col_stride + 1,
    }
}

impl<'a> Mat<'a> {
    /// The first `rows × cols` values, row by row.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows that begin `stride` values apart.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(
            extent(rows, cols, stride, 1) <= data.len(),
            "matrix outside its slice"
        );
        Self {
            data,
            rows,
            cols,
            row_stride: stride,
            col_stride: 1,
        }
    }

    /// Rows and columns.
    pub fn shape(self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Copies `width` columns from `left` on, row by row, with zeros where there are no more.
    pub fn copy_columns(self, rows: Range<usize>, left: usize, width: usize, out: &mut [f32]) {
        let columns = left..self.cols.min(left + width);
        if columns.len() < width {
            out.fill(0.0);
        }
        if self.col_stride == 1 {
            for (i, out) in rows.zip(out.chunks_exact_mut(width)) {
                let row = &self.data[i * self.row_stride..][columns.clone()];
                out.iter_mut().zip(row).for_each(|(o, &x)| *o = x);
            }
            return;
        }
        for (j, column) in columns.enumerate() {
            let at = rows.start * self.row_stride + column * self.col_stride;
            let column = self.data[at..].iter().step_by(self.row_stride);
            let out = out.iter_mut().skip(j).step_by(width);
            out.zip(column).for_each(|(o, &x)| *o = x);
        }
    }

    /// Transposed, without moving anything.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// A matrix to write to, row by row.
pub struct MatMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a> MatMut<'a> {
    /// The first `rows × cols` values, row by row.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows that begin `stride` values apart.
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(stride >= cols && extent(rows, cols, stride, 1) <= data.len());
        Self {
            data,
            rows,
            cols,
            row_stride: stride,
        }
    }
}

/// What happens to the values that were there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Into {
    /// `c = α a b`.
    Replace,
    /// `c += α a b`.
    Add,
}

/// `c = α a b`, or added to it, on the calling thread.
pub fn product(c: MatMut<'_>, into: Into, alpha: f32, a: Mat<'_>, b: Mat<'_>) {
    assert_eq!(
        (c.rows, c.cols, a.cols),
        (a.rows, b.cols, b.rows),
        "shapes of a product"
    );
    if c.rows == 0 || c.cols == 0 {
        return;
    }
    // SAFETY: `Mat` and `MatMut` checked when they were made that every element (i, j) at
    // i · row_stride + j · col_stride lies in their slice, the shapes agree, and `c` is borrowed
    // mutably, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            c.rows,
            c.cols,
            a.cols,
            c.data.as_mut_ptr(),
            1,
            c.row_stride as isize,
            into == Into::Add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0f32,
            alpha,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
