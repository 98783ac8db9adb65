//! AdamW over flat slices, one fused pass.

use std::ops::Range;

use rayon::prelude::*;

use super::run;
use crate::engine::{Parameters, Update};
use crate::entries::Entry;

/// Values per task, fixed so that sums do not depend on the number of threads.
const CHUNK: usize = 1 << 15;

/// The global norm.
pub(crate) fn norm(gradient: &[f32]) -> f64 {
    let sums: Vec<f64> = gradient
        .par_chunks(CHUNK)
        .map(|chunk| {
            let pieces = chunk.chunks(1024);
            pieces.map(|c| f64::from(run(square_sum, c))).sum()
        })
        .collect();
    sums.iter().sum::<f64>().sqrt()
}

#[inline(always)]
fn square_sum(x: &[f32]) -> f32 {
    super::sum1(x, |v| v * v)
}

/// One step; `shrink` multiplies the gradient.
pub(crate) fn step(
    parameters: &mut Parameters,
    gradient: &[f32],
    entries: &[Entry],
    update: &Update,
    shrink: f64,
) {
    let decayed = |range: &Range<usize>| {
        // Neighbouring parameters of the same kind become one run.
        let mut runs: Vec<(Range<usize>, bool)> = Vec::new();
        let from = entries.partition_point(|e| e.range.end <= range.start);
        for entry in entries.get(from..).unwrap_or_default() {
            if entry.range.start >= range.end {
                break;
            }
            let start = entry.range.start.max(range.start) - range.start;
            let end = entry.range.end.min(range.end) - range.start;
            runs.push((start..end, update.decay.applies(entry.role)));
        }
        runs
    };
    parameters
        .weights
        .par_chunks_mut(CHUNK)
        .zip(parameters.first.par_chunks_mut(CHUNK))
        .zip(parameters.second.par_chunks_mut(CHUNK))
        .zip(gradient.par_chunks(CHUNK))
        .enumerate()
        .for_each(|(i, (((weights, first), second), gradient))| {
            let range = i * CHUNK..i * CHUNK + weights.len();
            for (run_range, decays) in decayed(&range) {
                let slices = (
                    &mut weights[run_range.clone()],
                    &mut first[run_range.clone()],
                    &mut second[run_range.clone()],
                    &gradient[run_range],
                );
                run(kernel, (slices, update, shrink, decays));
            }
        });
}

type Slices<'a> = (&'a mut [f32], &'a mut [f32], &'a mut [f32], &'a [f32]);

#[inline(always)]
fn kernel((slices, u, shrink, decays): (Slices<'_>, &Update, f64, bool)) {
    let (weights, first, second, gradient) = slices;
    let (c1, c2) = u.corrections();
    let keep = if decays {
        1.0 - u.learning_rate * u.weight_decay
    } else {
        1.0
    } as f32;
    let (b1, b2) = (u.beta1 as f32, u.beta2 as f32);
    let (a1, a2) = ((1.0 - u.beta1) as f32, (1.0 - u.beta2) as f32);
    let rate = (u.learning_rate / c1) as f32;
    let inverse = (1.0 / c2) as f32;
    let (epsilon, shrink) = (u.epsilon as f32, shrink as f32);
    for (((w, m), v), &g) in weights.iter_mut().zip(first).zip(second).zip(gradient) {
        let g = g * shrink;
        *m = *m * b1 + g * a1;
        *v = *v * b2 + g * g * a2;
        *w = *w * keep - rate * *m / ((*v * inverse).sqrt() + epsilon);
    }
}
