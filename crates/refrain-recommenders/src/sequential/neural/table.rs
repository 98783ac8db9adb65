//! The items' vectors, of which a step changes only those it touched.
//!
//! burn's gradient of an embedding is as large as its table. Here the gradients of the rows that a
//! step read are gathered by item, and Adam's moments move for those rows only (as PyTorch's
//! `SparseAdam`): a step costs its batch, however large the catalogue. The table stays on the host;
//! other devices get the rows of a step.

use rand::RngExt;
use rayon::prelude::*;
use refrain_core::{kernels, rng};
use refrain_sequence::parts::run;

use crate::neighbours::sparse::Csr;

/// Adam's settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Adam {
    pub(super) rate: f32,
    /// Counted from 1.
    pub(super) step: u64,
}

pub(super) const BETAS: (f32, f32) = (0.9, 0.98);
pub(super) const EPSILON: f32 = 1e-8;

impl Adam {
    /// One step on a run of weights.
    pub(super) fn apply(self, w: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
        run(adam_kernel, (self, w, m, v, g));
    }
}

type Slices<'a> = (Adam, &'a mut [f32], &'a mut [f32], &'a mut [f32], &'a [f32]);

#[inline(always)]
fn adam_kernel((adam, w, m, v, g): Slices<'_>) {
    let (b1, b2) = BETAS;
    let t = adam.step.min(i32::MAX as u64) as i32;
    let (c1, c2) = (1.0 - b1.powi(t), 1.0 - b2.powi(t));
    let (rate, inverse) = (adam.rate / c1, 1.0 / c2);
    for (((w, m), v), &g) in w.iter_mut().zip(m).zip(v).zip(g) {
        *m = *m * b1 + g * (1.0 - b1);
        *v = *v * b2 + g * g * (1.0 - b2);
        *w -= rate * *m / ((*v * inverse).sqrt() + EPSILON);
    }
}

/// Normal numbers, by Box and Muller.
pub(super) fn normal(n: usize, deviation: f32, seed: u64, stream: u64) -> Vec<f32> {
    let mut draw = rng::stream(seed, stream);
    (0..n)
        .map(|_| {
            let (u, v) = (1.0 - draw.random::<f64>(), draw.random::<f64>());
            let radius = (-2.0 * u.ln()).sqrt();
            (radius * (std::f64::consts::TAU * v).cos()) as f32 * deviation
        })
        .collect()
}

/// What the items' features add to their vectors.
#[derive(Debug, Clone)]
struct Features {
    /// Row per item: features and values.
    matrix: Csr,
    rows: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    /// How often an item's own row is left out, drawn by seed, step and item.
    cold: f32,
    seed: u64,
    step: u64,
}

impl Features {
    /// Whether the item's own row counts in this step.
    fn keeps(&self, item: u32) -> bool {
        let draw = |item| rng::stream(self.seed ^ self.step << 20, u64::from(item)).random::<f32>();
        self.cold == 0.0 || draw(item) >= self.cold
    }

    /// Adds the vectors of an item's features, times `scale`.
    fn add(&self, item: u32, scale: f32, out: &mut [f32]) {
        for (feature, value) in self.matrix.pairs(item) {
            let at = feature as usize * out.len();
            let row = self.rows.get(at..at + out.len()).unwrap_or_default();
            kernels::axpy(scale * value, row, out);
        }
    }

    /// One step of Adam on the features of the touched items.
    fn update(&mut self, touched: &[u32], sums: &[f32], width: usize, adam: Adam) {
        let mut pairs: Vec<(u32, u32, f32)> = Vec::new();
        for (slot, &item) in (0u32..).zip(touched) {
            pairs.extend(
                self.matrix
                    .pairs(item)
                    .map(|(feature, value)| (feature, slot, value)),
            );
        }
        pairs.sort_unstable_by_key(|&(feature, slot, _)| (feature, slot));
        let mut gradient = vec![0.0; width];
        for same in pairs.chunk_by(|a, b| a.0 == b.0) {
            gradient.fill(0.0);
            let Some(&(feature, ..)) = same.first() else {
                continue;
            };
            for &(_, slot, value) in same {
                let at = slot as usize * width;
                kernels::axpy(value, &sums[at..at + width], &mut gradient);
            }
            let at = feature as usize * width..(feature as usize + 1) * width;
            let (w, m) = (&mut self.rows[at.clone()], &mut self.first[at.clone()]);
            adam.apply(w, m, &mut self.second[at], &gradient);
        }
    }
}

/// Rows with Adam's moments.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) width: usize,
    pub(super) rows: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    /// The place of each row among those touched by this step; `u32::MAX` between steps.
    slots: Vec<u32>,
    features: Option<Features>,
}

/// Gradients of rows: row `i` of `values` belongs to `items[i]`, times `scale`.
pub(super) struct Gathered<'a> {
    pub(super) items: &'a [u32],
    pub(super) values: &'a [f32],
    pub(super) scale: f32,
}

impl Table {
    pub(super) fn new(rows: Vec<f32>, width: usize) -> Self {
        Self {
            width,
            first: vec![0.0; rows.len()],
            second: vec![0.0; rows.len()],
            slots: vec![u32::MAX; rows.len() / width],
            rows,
            features: None,
        }
    }

    /// With the features of the first rows: a row of numbers each.
    pub(super) fn with_features(mut self, matrix: Csr, cold: f32, seed: u64) -> Self {
        let size = matrix.width() * self.width;
        self.features = Some(Features {
            matrix,
            rows: normal(size, 0.02, seed, u64::MAX - 1),
            first: vec![0.0; size],
            second: vec![0.0; size],
            cold,
            seed,
            step: 0,
        });
        self
    }

    pub(super) fn has_features(&self) -> bool {
        self.features.is_some()
    }

    /// Everything a checkpoint needs.
    pub(super) fn state(&self) -> Vec<(&'static str, &[f32])> {
        let mut all = vec![
            ("table", &self.rows[..]),
            ("table.first", &self.first),
            ("table.second", &self.second),
        ];
        if let Some(features) = &self.features {
            all.push(("features", &features.rows));
            all.push(("features.first", &features.first));
            all.push(("features.second", &features.second));
        }
        all
    }

    /// The same, to be filled from a checkpoint.
    pub(super) fn state_mut(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        let mut all = vec![
            ("table", &mut self.rows),
            ("table.first", &mut self.first),
            ("table.second", &mut self.second),
        ];
        if let Some(features) = &mut self.features {
            all.push(("features", &mut features.rows));
            all.push(("features.first", &mut features.first));
            all.push(("features.second", &mut features.second));
        }
        all
    }

    /// The features' vectors, flat; empty without features.
    pub(super) fn features(&self) -> &[f32] {
        self.features
            .as_ref()
            .map_or(&[], |features| &features.rows)
    }

    /// Says which step begins.
    pub(super) fn begin(&mut self, step: u64) {
        if let Some(features) = &mut self.features {
            features.step = step;
        }
    }

    /// All vectors as they are asked: with features, and without the own row of items nobody had.
    pub(super) fn finished(&self, users: &[u32]) -> Vec<f32> {
        let mut all = self.rows.clone();
        if let Some(features) = &self.features {
            let rows = all.chunks_exact_mut(self.width);
            for ((item, &users), row) in (0u32..).zip(users).zip(rows) {
                if users == 0 {
                    row.fill(0.0);
                }
                features.add(item, 1.0, row);
            }
        }
        all
    }

    /// The rows of `items`, one below the other, times `scale`.
    pub(super) fn gather(&self, items: &[u32], scale: f32, out: &mut Vec<f32>) {
        out.clear();
        for &item in items {
            let at = item as usize * self.width;
            let row = self.rows.get(at..at + self.width).unwrap_or_default();
            let Some(features) = &self.features else {
                out.extend(row.iter().map(|x| x * scale));
                continue;
            };
            let kept = if features.keeps(item) { scale } else { 0.0 };
            let start = out.len();
            out.extend(row.iter().map(|x| x * kept));
            features.add(item, scale, &mut out[start..]);
        }
    }

    /// One step of Adam on the rows that occur in `gradients`.
    pub(super) fn update(&mut self, gradients: &[Gathered<'_>], adam: Adam) {
        let width = self.width;
        // Which gradients each touched row has, as one list sorted by row.
        let mut touched: Vec<u32> = Vec::new();
        let mut counts: Vec<u32> = Vec::new();
        for &item in gradients.iter().flat_map(|g| g.items) {
            let Some(slot) = self.slots.get_mut(item as usize) else {
                continue;
            };
            if *slot == u32::MAX {
                *slot = touched.len() as u32;
                touched.push(item);
                counts.push(0);
            }
            counts[*slot as usize] += 1;
        }
        let mut ends: Vec<u32> = Vec::with_capacity(counts.len());
        let mut total = 0;
        for count in &counts {
            ends.push(total);
            total += count;
        }
        let mut places = vec![(0u32, 0u32); total as usize];
        for (which, gathered) in (0u32..).zip(gradients) {
            for (row, &item) in (0u32..).zip(gathered.items) {
                if let Some(&slot) = self.slots.get(item as usize) {
                    let next = &mut ends[slot as usize];
                    places[*next as usize] = (which, row);
                    *next += 1;
                }
            }
        }
        let mut sums = vec![0.0; touched.len() * width];
        let chunk = 64;
        sums.par_chunks_mut(chunk * width)
            .enumerate()
            .for_each(|(c, sums)| {
                for (i, sum) in sums.chunks_exact_mut(width).enumerate() {
                    let slot = c * chunk + i;
                    let end = ends[slot] as usize;
                    for &(which, row) in &places[end - counts[slot] as usize..end] {
                        let gathered = &gradients[which as usize];
                        let at = row as usize * width;
                        kernels::axpy(gathered.scale, &gathered.values[at..at + width], sum);
                    }
                }
            });
        for (&item, gradient) in touched.iter().zip(sums.chunks_exact(width)) {
            self.slots[item as usize] = u32::MAX;
            if self.features.as_ref().is_some_and(|f| !f.keeps(item)) {
                continue;
            }
            let at = item as usize * width..(item as usize + 1) * width;
            let (w, m) = (&mut self.rows[at.clone()], &mut self.first[at.clone()]);
            adam.apply(w, m, &mut self.second[at], gradient);
        }
        if let Some(features) = &mut self.features {
            features.update(&touched, &sums, width, adam);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_touched_rows_move_and_repetitions_add_up() {
        let start = normal(20, 1.0, 1, 0);
        let mut table = Table::new(start.clone(), 4);
        let values = normal(16, 1.0, 2, 0);
        let gathered = |items, values, scale| Gathered {
            items,
            values,
            scale,
        };
        let adam = Adam { rate: 0.1, step: 1 };
        let (a, b) = values.split_at(12);
        table.update(
            &[gathered(&[3, 1, 3], a, 2.0), gathered(&[1], b, 1.0)],
            adam,
        );
        for row in [0, 2, 4] {
            assert_eq!(table.rows[row * 4..][..4], start[row * 4..][..4]);
        }
        for (row, parts) in [(3, [(0, 2.0), (8, 2.0)]), (1, [(4, 2.0), (12, 1.0)])] {
            for i in 0..4 {
                let g: f32 = parts
                    .iter()
                    .map(|&(at, scale)| values[at + i] * scale)
                    .sum();
                // The first step of Adam is the rate, against the gradient's sign.
                let moved = table.rows[row * 4 + i] - start[row * 4 + i];
                assert!((moved + 0.1 * g.signum()).abs() < 1e-4, "{moved} {g}");
            }
        }
    }
}
