//! Attention of new tokens over the keys and values read so far.

use rayon::prelude::*;

use super::LlamaConfig;
use crate::kernels::attention::{self, Heads};
use crate::kernels::{exp, largest, run, sum1, sum2};

/// One row's head group of queries over keys and values, rows `stride` apart.
struct OneRow<'a> {
    /// Queries that share keys, `[group, head]`.
    q: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    stride: usize,
    head: usize,
    /// `[group, head]`.
    out: &'a mut [f32],
}

/// Attention of one new token. The running largest score is known before anything is summed.
#[inline(always)]
fn attend_one(row: OneRow<'_>) {
    let (head, tokens) = (row.head, row.keys.len().div_ceil(row.stride));
    let scale = 1.0 / (head as f32).sqrt();
    let mut scores = vec![0.0; row.q.len() / head * tokens];
    for (at, key) in row.keys.chunks(row.stride).enumerate() {
        for (q, scores) in row
            .q
            .chunks_exact(head)
            .zip(scores.chunks_exact_mut(tokens))
        {
            scores[at] = sum2(q, &key[..head], |a, b| a * b) * scale;
        }
    }
    row.out.fill(0.0);
    for scores in scores.chunks_exact_mut(tokens) {
        let most = largest(scores);
        for score in scores.iter_mut() {
            *score = exp(*score - most);
        }
        let inverse = 1.0 / sum1(scores, |x| x);
        for score in scores.iter_mut() {
            *score *= inverse;
        }
    }
    for (at, value) in row.values.chunks(row.stride).enumerate() {
        for (scores, out) in scores
            .chunks_exact(tokens)
            .zip(row.out.chunks_exact_mut(head))
        {
            let score = scores[at];
            for (out, &value) in out.iter_mut().zip(value) {
                *out += score * value;
            }
        }
    }
}

impl LlamaConfig {
    /// What each query sees of the keys and values up to its own position, `[queries, heads · head]`; the
    /// last keys are those of the queries.
    pub(super) fn attend(&self, q: &[f32], keys: &[f32], values: &[f32], out: &mut [f32]) {
        let (head, own) = (self.head_width, self.heads * self.head_width);
        let (shared, group) = (self.shared_heads * head, self.heads / self.shared_heads);
        let (n, tokens) = (q.len() / own, keys.len() / shared);
        if n == 1 {
            let part = |(i, (q, out)): (usize, (&[f32], &mut [f32]))| {
                let (keys, values, from) = (keys, values, i * head);
                run(
                    attend_one,
                    OneRow {
                        q,
                        keys: &keys[from..],
                        values: &values[from..],
                        stride: shared,
                        head,
                        out,
                    },
                );
            };
            let groups = q.par_chunks_exact(group * head);
            return groups
                .zip(out.par_chunks_exact_mut(group * head))
                .enumerate()
                .for_each(part);
        }
        let one = Heads {
            heads: 1,
            shared: 1,
            head_width: head,
            causal: true,
            window: None,
        };
        let attended: Vec<Vec<f32>> = (0..self.heads)
            .into_par_iter()
            .map(|number| {
                let from = number / group * head;
                let mut out = vec![0.0; n * head];
                attention::forward(
                    one,
                    (&q[number * head..], own),
                    (&keys[from..], &values[from..], shared),
                    (n, tokens),
                    &mut vec![0.0; n * tokens],
                    &mut out,
                );
                out
            })
            .collect();
        for (number, attended) in attended.iter().enumerate() {
            let rows = out.chunks_exact_mut(own).zip(attended.chunks_exact(head));
            for (out, attended) in rows {
                out[number * head..(number + 1) * head].copy_from_slice(attended);
            }
        }
    }
}
