use proptest::prelude::*;
use rand::RngExt;
use refrain_core::rng;

use super::attention::Heads;
use super::gemm::{Into, Mat, MatMut, product};
use super::panels::{self, Panels};
use super::*;
use crate::transformer::config::{FeedForward, Norm};

/// `n` values in (-1, 1).
fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut draw = rng::stream(seed, 0);
    (0..n).map(|_| draw.random_range(-1.0f32..1.0)).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| f64::from(v)).collect()
}

fn close(got: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (i, (&a, &b)) in got.iter().zip(expected).enumerate() {
        assert!(
            (f64::from(a) - b).abs() <= tolerance * (1.0 + b.abs()),
            "{i}: {a} for {b}"
        );
    }
}

/// The gradient of `f` at `x` by central differences, in double precision.
fn finite_differences(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let (old, step) = (x[i], 1e-5);
            x[i] = old + step;
            let above = f(&x);
            x[i] = old - step;
            let below = f(&x);
            x[i] = old;
            (above - below) / (2.0 * step)
        })
        .collect()
}

/// `Σ y·c`: a loss whose gradient with respect to `y` is `c`.
fn weigh(y: &[f64], c: &[f32]) -> f64 {
    y.iter().zip(c).map(|(y, &c)| y * f64::from(c)).sum()
}

#[test]
fn exp_is_exact_to_two_units() {
    for i in -8_700..8_800 {
        let x = i as f32 * 0.01;
        let (got, expected) = (f64::from(exp(x)), f64::from(x).exp());
        assert!(
            (got / expected - 1.0).abs() < 2.5e-7,
            "exp({x}) = {got}, not {expected}"
        );
    }
    assert!(exp(f32::NAN).is_nan());
    assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(f32::INFINITY) > 1e38);
    assert_eq!(exp(0.0), 1.0);
}

fn product_reference(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            c[i * n + j] = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
        }
    }
    c
}

proptest! {
    #[test]
    fn products_agree_with_the_reference(
        m in 1usize..20, k in 1usize..20, n in 1usize..20, padding in 0usize..3, seed in 0u64..99,
    ) {
        let (a, b) = (values(m * k, seed), values(n * (k + padding) + padding, seed + 1));
        // b is stored transposed, with rows apart.
        let b_t = Mat::strided(&b, n, k, k + padding);
        let mut dense = vec![0.0; k * n];
        for j in 0..n {
            for l in 0..k {
                dense[l * n + j] = f64::from(b[j * (k + padding) + l]);
            }
        }
        let expected = product_reference(&wide(&a), &dense, m, k, n);
        let mut c = vec![7.0; m * n];
        product(MatMut::new(&mut c, m, n), Into::Replace, 0.5, Mat::new(&a, m, k), b_t.t());
        product(MatMut::new(&mut c, m, n), Into::Add, 0.5, Mat::new(&a, m, k), b_t.t());
        close(&c, &expected, 1e-5);
    }
}

fn norm_reference(kind: Norm, x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let n = weight.len() as f64;
    x.chunks(weight.len())
        .flat_map(|row| {
            let mean = if kind == Norm::Layer {
                row.iter().sum::<f64>() / n
            } else {
                0.0
            };
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            let inverse = 1.0 / (variance + 1e-5).sqrt();
            let scaled = row.iter().zip(weight).zip(bias);
            scaled
                .map(|((v, w), b)| (v - mean) * inverse * w + b)
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn norms_and_their_gradients() {
    for (kind, width) in [(Norm::Layer, 21), (Norm::Rms, 37), (Norm::Rms, 3)] {
        let (x, weight, bias) = (values(4 * width, 1), values(width, 2), values(width, 3));
        let (c, mut y, mut stats) = (values(4 * width, 4), vec![0.0; 4 * width], [[0.0; 2]; 4]);
        norm::forward(kind, 1e-5, &x, (&weight, Some(&bias)), &mut y, &mut stats);
        close(
            &y,
            &norm_reference(kind, &wide(&x), &wide(&weight), &wide(&bias)),
            1e-5,
        );

        let mut dx = vec![0.5; 4 * width];
        let (mut dweight, mut dbias) = (vec![0.0; width], vec![0.0; width]);
        let gradients = (&mut dweight[..], Some(&mut dbias[..]));
        norm::backward(kind, &x, &stats, &weight, &c, &mut dx, gradients);
        let (x, weight, bias) = (wide(&x), wide(&weight), wide(&bias));
        let loss = |x: &[f64], w: &[f64], b: &[f64]| weigh(&norm_reference(kind, x, w, b), &c);
        // Gradients are added to what was there.
        let dx: Vec<f32> = dx.iter().map(|v| v - 0.5).collect();
        close(
            &dx,
            &finite_differences(&x, |x| loss(x, &weight, &bias)),
            1e-4,
        );
        close(
            &dweight,
            &finite_differences(&weight, |w| loss(&x, w, &bias)),
            1e-4,
        );
        close(
            &dbias,
            &finite_differences(&bias, |b| loss(&x, &weight, b)),
            1e-4,
        );
    }
}

fn activation_reference(kind: FeedForward, hidden: usize, up: &[f64]) -> Vec<f64> {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let gelu = |x: f64| {
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
        0.5 * x * (1.0 + inner.tanh())
    };
    match kind {
        FeedForward::Relu => up.iter().map(|x| x.max(0.0)).collect(),
        FeedForward::ReluSquared => up.iter().map(|x| x.max(0.0).powi(2)).collect(),
        FeedForward::Gelu => up.iter().map(|&x| gelu(x)).collect(),
        FeedForward::SwiGlu => up
            .chunks(2 * hidden)
            .flat_map(|row| {
                (0..hidden)
                    .map(|i| row[i] * sigmoid(row[i]) * row[hidden + i])
                    .collect::<Vec<_>>()
            })
            .collect(),
    }
}

#[test]
fn activations_and_their_gradients() {
    for kind in [
        FeedForward::Relu,
        FeedForward::ReluSquared,
        FeedForward::Gelu,
        FeedForward::SwiGlu,
    ] {
        let (hidden, rows) = (19, 3);
        let gates = if kind == FeedForward::SwiGlu { 2 } else { 1 };
        let mut up: Vec<f32> = values(rows * gates * hidden, 5)
            .iter()
            .map(|x| 4.0 * x)
            .collect();
        let mut out = vec![0.0; rows * hidden];
        activation::forward(kind, hidden, &up, &mut out);
        close(&out, &activation_reference(kind, hidden, &wide(&up)), 1e-5);
        let c = values(out.len(), 6);
        let expected = finite_differences(&wide(&up), |up| {
            weigh(&activation_reference(kind, hidden, up), &c)
        });
        activation::backward(kind, hidden, &mut up, &c);
        close(&up, &expected, 1e-4);
    }
}

/// Attention as the textbook has it: one head, one query, one key after the other.
fn attention_reference(shape: Heads, qkv: &[f64], tokens: usize) -> Vec<f64> {
    let (width, d) = (shape.width(), shape.head_width);
    let row = |row: usize| &qkv[row * shape.stride()..(row + 1) * shape.stride()];
    let mut out = vec![0.0; tokens * width];
    for head in 0..shape.heads {
        let shared = head * shape.shared / shape.heads * d;
        let (keys, values) = (width + shared, width + shape.shared_width() + shared);
        for query in 0..tokens {
            let visible = |&key: &usize| {
                let within = shape.window.is_none_or(|window| key + window > query);
                !shape.causal || (key <= query && within)
            };
            let seen: Vec<usize> = (0..tokens).filter(visible).collect();
            let scores: Vec<f64> = seen
                .iter()
                .map(|&key| {
                    let (q, k) = (&row(query)[head * d..], &row(key)[keys..]);
                    let dot: f64 = q.iter().zip(k).take(d).map(|(q, k)| q * k).sum();
                    (dot / (d as f64).sqrt()).exp()
                })
                .collect();
            let sum: f64 = scores.iter().sum();
            for i in 0..d {
                let mixed = seen.iter().zip(&scores);
                out[query * width + head * d + i] = mixed
                    .map(|(&key, score)| score / sum * row(key)[values + i])
                    .sum::<f64>();
            }
        }
    }
    out
}

#[test]
fn attention_and_its_gradient() {
    // Shorter and longer than a block, and no multiple of it.
    for (tokens, heads, shared, head_width, causal, window, differences) in [
        (5, 2, 2, 3, true, None, true),
        (5, 2, 2, 3, false, None, true),
        (1, 1, 1, 4, true, None, true),
        (7, 4, 2, 2, true, None, true),
        (7, 3, 1, 2, false, None, true),
        (9, 2, 1, 2, true, Some(3), true),
        (70, 1, 1, 2, true, None, true),
        (70, 1, 1, 2, true, Some(5), true),
        (70, 1, 1, 2, false, None, true),
        (150, 2, 2, 8, true, None, false),
        (150, 4, 2, 8, true, Some(1), false),
        (150, 4, 2, 8, true, Some(64), false),
        (150, 4, 2, 8, true, Some(70), false),
        (150, 4, 2, 8, true, Some(200), false),
        (150, 2, 2, 8, false, None, false),
    ] {
        let shape = Heads {
            heads,
            shared,
            head_width,
            causal,
            window,
        };
        let (width, stride) = (shape.width(), shape.stride());
        let qkv: Vec<f32> = values(tokens * stride, 8).iter().map(|x| 2.0 * x).collect();
        let mut probabilities = vec![9.0; heads * tokens * tokens];
        let mut out = vec![0.0; tokens * width];
        attention::forward(
            shape,
            (&qkv, stride),
            (&qkv[width..], &qkv[width + shape.shared_width()..], stride),
            (tokens, tokens),
            &mut probabilities,
            &mut out,
        );
        close(&out, &attention_reference(shape, &wide(&qkv), tokens), 1e-5);
        if !differences {
            continue;
        }
        let (c, mut dqkv) = (values(out.len(), 9), vec![0.0; qkv.len()]);
        let mut scratch = Vec::new();
        attention::backward(
            shape,
            (&qkv, attention::Places::together(0, shape)),
            (tokens, tokens),
            &probabilities,
            &c,
            &mut dqkv,
            &mut scratch,
        );
        let expected = finite_differences(&wide(&qkv), |qkv| {
            weigh(&attention_reference(shape, qkv, tokens), &c)
        });
        close(&dqkv, &expected, 1e-4);
    }
}

#[test]
fn rotation_turns_back_and_sees_distances() {
    let shape = Heads {
        heads: 2,
        shared: 2,
        head_width: 6,
        causal: true,
        window: None,
    };
    let (cos, sin) = crate::transformer::layout::rotary_tables(&[1.0, 0.215, 0.046], 40);
    let qkv = values(3 * 36, 3);
    let mut turned = qkv.clone();
    attention::rotate(shape, &mut turned, (&cos, &sin), 7, false);
    assert_eq!(turned[24..36], qkv[24..36], "values do not turn");
    attention::rotate(shape, &mut turned, (&cos, &sin), 7, true);
    close(&turned, &wide(&qkv), 1e-6);
    // The product of a query and a key depends on their distance alone.
    let product_at = |query: usize, key: usize| {
        let mut row = qkv[..36].to_vec();
        attention::rotate(shape, &mut row, (&cos, &sin), query, false);
        let q = row[..6].to_vec();
        let mut row = qkv[..36].to_vec();
        attention::rotate(shape, &mut row, (&cos, &sin), key, false);
        sum2(&q, &row[12..18], |x, y| x * y)
    };
    assert!((product_at(5, 2) - product_at(33, 30)).abs() < 1e-5);
    assert!((product_at(5, 2) - product_at(5, 3)).abs() > 1e-3);
}

#[test]
fn cross_entropy_and_its_gradient() {
    let (vocabulary, targets) = (19, [3u32, 18, crate::batch::UNSCORED, 0]);
    let logits: Vec<f32> = values(4 * vocabulary, 2).iter().map(|x| 8.0 * x).collect();
    for smoothing in [0.0, 0.1f32] {
        let reference = |logits: &[f64]| -> f64 {
            let rows = logits.chunks(vocabulary).zip(targets);
            rows.filter(|(_, t)| *t != crate::batch::UNSCORED)
                .map(|(row, t)| {
                    let log_sum = row.iter().map(|x| x.exp()).sum::<f64>().ln();
                    let losses: Vec<f64> = row.iter().map(|x| log_sum - x).collect();
                    let spread = losses.iter().sum::<f64>() / vocabulary as f64;
                    let smoothing = f64::from(smoothing);
                    (1.0 - smoothing) * losses[t as usize] + smoothing * spread
                })
                .sum()
        };
        let mut gradient = logits.clone();
        let got = loss::softmax_cross_entropy(&mut gradient, &targets, 0.25, smoothing);
        assert!((got - reference(&wide(&logits))).abs() < 1e-5);
        let expected = finite_differences(&wide(&logits), |x| 0.25 * reference(x));
        close(&gradient, &expected, 1e-5);
    }
}

proptest! {
    #[test]
    fn products_with_panels_agree_with_plain_sums(
        (m, n) in (1usize..120, 1usize..70),
        k in prop_oneof![1usize..20, 250usize..530],
        turned: bool,
        add: bool,
        seed: u64,
    ) {
        let (a, b, before) = (values(m * k, seed), values(k * n, seed ^ 1), values(m * n, seed ^ 2));
        let mut panels = Panels::default();
        panels.arrange(Mat::new(&values(3 * k, 0), k, 3)); // memory that was something else
        panels.arrange(match turned {
            true => Mat::new(&b, n, k).t(),
            false => Mat::new(&b, k, n),
        });
        let mut c = before.clone();
        let into = if add { Into::Add } else { Into::Replace };
        panels::product(&mut c, into, &a, &panels, &mut Vec::new());
        let expected: Vec<f64> = (0..m * n)
            .map(|at| {
                let (i, j) = (at / n, at % n);
                let of_b = |p: usize| if turned { b[j * k + p] } else { b[p * n + j] };
                let sum: f64 = (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(of_b(p))).sum();
                sum + if add { f64::from(before[at]) } else { 0.0 }
            })
            .collect();
        close(&c, &expected, 2e-5);
    }
}

#[test]
fn products_of_nothing_with_panels() {
    let mut panels = Panels::default();
    panels.arrange(Mat::new(&[], 0, 2));
    let mut c = vec![1.0; 6];
    panels::product(&mut c, Into::Add, &[], &panels, &mut Vec::new());
    assert_eq!(c, [1.0; 6]);
    panels::product(&mut c, Into::Replace, &[], &panels, &mut Vec::new());
    assert_eq!(c, [0.0; 6]);
    panels.arrange(Mat::new(&[2.0, 3.0], 2, 1));
    panels::product(&mut [], Into::Replace, &[], &panels, &mut Vec::new());
}
