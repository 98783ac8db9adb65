//! A sparse matrix as three slices, and its transpose.
//!
//! Rows are compressed, columns ascend within a row. It is what the similarity kernel reads and what
//! the neighbourhood models keep.

use refrain_core::{ModelFile, ModelWriter};

use crate::Result;

/// Rows of (column, value) pairs.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Csr {
    /// Where each row ends in `columns` and `values`.
    ends: Vec<u64>,
    columns: Vec<u32>,
    values: Vec<f32>,
    width: usize,
}

impl Csr {
    /// An empty matrix with `width` columns.
    pub(crate) fn with_width(width: usize) -> Self {
        Self {
            width,
            ..Self::default()
        }
    }

    /// Adds a row; its columns ascend and are below the width.
    pub(crate) fn push_row(&mut self, row: impl IntoIterator<Item = (u32, f32)>) {
        for (column, value) in row {
            debug_assert!((column as usize) < self.width);
            self.columns.push(column);
            self.values.push(value);
        }
        self.ends.push(self.columns.len() as u64);
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn len(&self) -> usize {
        self.columns.len()
    }

    /// One row; empty when there is no such row.
    pub(crate) fn row(&self, row: u32) -> (&[u32], &[f32]) {
        let row = row as usize;
        let Some(&end) = self.ends.get(row) else {
            return (&[], &[]);
        };
        let start = row
            .checked_sub(1)
            .and_then(|r| self.ends.get(r))
            .map_or(0, |&e| e as usize);
        let range = start..end as usize;
        (
            self.columns.get(range.clone()).unwrap_or_default(),
            self.values.get(range).unwrap_or_default(),
        )
    }

    /// One row as pairs.
    pub(crate) fn pairs(&self, row: u32) -> impl Iterator<Item = (u32, f32)> + '_ {
        let (columns, values) = self.row(row);
        columns.iter().copied().zip(values.iter().copied())
    }

    /// The value at a place; zero where nothing is stored.
    pub(crate) fn get(&self, row: u32, column: u32) -> f32 {
        let (columns, values) = self.row(row);
        match columns.binary_search(&column) {
            Ok(at) => values.get(at).copied().unwrap_or_default(),
            Err(_) => 0.0,
        }
    }

    /// Lets `change` rewrite the values of each row, told its columns.
    pub(crate) fn map_rows(&mut self, mut change: impl FnMut(&[u32], &mut [f32])) {
        let mut start = 0;
        for &end in &self.ends {
            let range = start..end as usize;
            start = range.end;
            if let (Some(columns), Some(values)) =
                (self.columns.get(range.clone()), self.values.get_mut(range))
            {
                change(columns, values);
            }
        }
    }

    /// Columns become rows.
    pub(crate) fn transpose(&self) -> Self {
        let mut next = vec![0u64; self.width];
        for &column in &self.columns {
            if let Some(n) = next.get_mut(column as usize) {
                *n += 1;
            }
        }
        let mut total = 0;
        for n in &mut next {
            total += std::mem::replace(n, total);
        }
        let mut columns = vec![0u32; self.len()];
        let mut values = vec![0f32; self.len()];
        for row in 0..self.n_rows() as u32 {
            for (column, value) in self.pairs(row) {
                let Some(place) = next.get_mut(column as usize) else {
                    continue;
                };
                let at = *place as usize;
                if let (Some(c), Some(v)) = (columns.get_mut(at), values.get_mut(at)) {
                    (*c, *v) = (row, value);
                }
                *place += 1;
            }
        }
        // Each start has moved to the end of its row.
        Self {
            ends: next,
            columns,
            values,
            width: self.n_rows(),
        }
    }

    /// Adds the matrix to a model file under `name`.
    pub(crate) fn write<'a>(
        &'a self,
        writer: ModelWriter<'a>,
        name: &str,
    ) -> Result<ModelWriter<'a>> {
        Ok(writer
            .u64(format!("{name}.ends"), &[self.n_rows()], &self.ends)?
            .u32(format!("{name}.columns"), &[self.len()], &self.columns)?
            .f32(format!("{name}.values"), &[self.len()], &self.values)?)
    }

    /// Reads the matrix `name` of a known size, checking each number.
    pub(crate) fn read(file: &ModelFile, name: &str, rows: usize, width: usize) -> Result<Self> {
        let ends = file.u64(&format!("{name}.ends"))?.data.into_owned();
        let columns = file.u32(&format!("{name}.columns"))?.data.into_owned();
        let values = file.f32(&format!("{name}.values"))?.data.into_owned();
        let mut start = 0usize;
        let whole = ends.iter().all(|&end| {
            let row = usize::try_from(end)
                .ok()
                .and_then(|end| columns.get(start..end));
            start = end as usize;
            row.is_some_and(|row| {
                row.windows(2).all(|pair| pair.first() < pair.last())
                    && row.last().is_none_or(|&c| (c as usize) < width)
            })
        });
        let finite = values.iter().all(|v| v.is_finite());
        if !whole || !finite || ends.len() != rows || start != columns.len() {
            return Err(broken(file, name).into());
        }
        if values.len() != columns.len() {
            return Err(broken(file, name).into());
        }
        Ok(Self {
            ends,
            columns,
            values,
            width,
        })
    }
}

fn broken(file: &ModelFile, name: &str) -> refrain_core::Error {
    refrain_core::Error::ModelFile {
        origin: file.origin().to_string(),
        reason: format!("the sparse matrix {name} does not fit its model"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A random sparse matrix with small positive values.
    pub(crate) fn any_csr(rows: usize, width: usize) -> impl Strategy<Value = Csr> {
        let cell = prop_oneof![2 => Just(0.0f32), 1 => (1u8..6).prop_map(f32::from)];
        proptest::collection::vec(proptest::collection::vec(cell, width), rows).prop_map(
            move |dense| {
                let mut csr = Csr::with_width(width);
                for row in dense {
                    csr.push_row((0u32..).zip(row).filter(|&(_, v)| v != 0.0));
                }
                csr
            },
        )
    }

    proptest! {
        #[test]
        fn transposing_moves_each_value(csr in any_csr(7, 5)) {
            let turned = csr.transpose();
            prop_assert_eq!((turned.n_rows(), turned.width()), (5, 7));
            for row in 0..7 {
                for column in 0..5 {
                    prop_assert_eq!(csr.get(row, column), turned.get(column, row));
                }
            }
            prop_assert_eq!(turned.transpose(), csr);
        }

        #[test]
        fn files_round_trip(csr in any_csr(4, 6)) {
            let writer = csr.write(ModelWriter::new("test.csr", 1), "m").unwrap();
            let file = ModelFile::from_bytes(writer.to_bytes().unwrap()).unwrap();
            prop_assert_eq!(Csr::read(&file, "m", 4, 6).unwrap(), csr.clone());
            prop_assert!(Csr::read(&file, "m", 5, 6).is_err());
            if csr.len() > 0 {
                prop_assert!(Csr::read(&file, "m", 4, 0).is_err());
            }
        }
    }
}
