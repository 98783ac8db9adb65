//! One row's ridge regression.
//!
//! With the other side's factors `Y` rotated so that `YᵀY = diag(Λ)`, the normal equations of a row
//! (a user, or an item) are
//!
//! ```text
//! (D + Σ_j w_j y_j y_jᵀ) x = Σ_j c_j p_j y_j,     D = diag(Λ) + λ,  w_j = c_j − 1,
//! ```
//!
//! so the part that all rows share costs `f` multiplications instead of `f²`, and dividing by it is
//! the natural preconditioner: conjugate gradients then start from a matrix that differs from the
//! identity by one direction per event, and end after as many steps as there are events.
//!
//! The exact solution scales instead: with `x = s ∘ v`, `s = D^-½` and `z_j = √w_j (s ∘ y_j)` what is
//! left is `(I + ZᵀZ) v = Zᵀt`, `t_j = c_j p_j / √w_j`, or its dual `v = Zᵀu`, `(I + ZZᵀ) u = t`, which
//! is smaller for a row with fewer events than factors.
//!
//! With biases a row is held at `q·x = 1` for a unit vector `q`, the image of its constant coordinate.
//! Conjugate gradients then keep every step orthogonal to `q` by projecting the preconditioned residual
//! (Gould, Hribar and Nocedal, 2001); the exact solution moves along `A⁻¹q`, where `A` is the matrix
//! above, until it says 1.

use pulp::Simd;

use super::simd::{self, Aligned, Events};

/// The other side of a half-step: rotated factors and the eigenvalues of their Gram matrix.
pub(super) struct Counterpart<'a> {
    /// n × stride.
    pub rows: &'a [f32],
    /// Λ, `stride` values, zero where padded.
    pub spectrum: &'a [f32],
    /// The direction in which the rows solved for are held at 1.
    pub pin: Option<&'a [f32]>,
}

/// How a row is solved.
#[derive(Clone, Copy)]
pub(super) enum Method {
    /// So many steps of conjugate gradients from the present value.
    Steps(usize),
    /// A factorisation, and one step of iterative refinement.
    Exact,
    /// So many factors at a time from the present value, each block exactly.
    Blocks(usize),
}

/// Scratch space of one thread; the exact method's part grows to the longest row it meets.
#[derive(Default)]
pub(super) struct Workspace {
    /// Six vectors of the row's own length.
    vectors: Aligned,
    /// Z: events × stride.
    z: Aligned,
    t: Vec<f32>,
    matrix: Aligned,
    pack: Aligned,
    dual: Aligned,
    /// Where the rows of a task start from.
    pub(super) start: Aligned,
}

impl Workspace {
    /// Solves one row in place, starting from `x` where the method has a use for it; returns the
    /// row's share of the loss, its own regularisation included.
    #[inline(always)]
    pub(super) fn solve<S: Simd>(
        &mut self,
        simd: S,
        other: &Counterpart<'_>,
        events: Events<'_>,
        lambda: f32,
        method: Method,
        x: &mut [f32],
    ) -> f64 {
        if events.indices.is_empty() && other.pin.is_none() {
            x.fill(0.0);
            return 0.0;
        }
        match method {
            Method::Steps(steps) => self.conjugate_gradient(simd, other, events, lambda, steps, x),
            Method::Exact => self.factorise(simd, other, events, lambda, x),
            Method::Blocks(size) => self.descend(simd, other, events, lambda, size, x),
        }
    }

    #[inline(always)]
    fn conjugate_gradient<S: Simd>(
        &mut self,
        simd: S,
        other: &Counterpart<'_>,
        events: Events<'_>,
        lambda: f32,
        steps: usize,
        x: &mut [f32],
    ) -> f64 {
        let stride = x.len();
        self.vectors.grow(6 * stride);
        let mut parts = self.vectors.chunks_exact_mut(stride);
        let mut next = || parts.next().unwrap_or_default();
        let (d, r, h, p, product) = (next(), next(), next(), next(), next());
        let along = next();
        diagonal(simd, other.spectrum, lambda, d);
        let mut reach = 0.0;
        if let Some(pin) = other.pin {
            simd::axpy(simd, 1.0 - simd::dot(simd, pin, x), pin, x);
            quotient(simd, pin, d, along);
            reach = simd::dot(simd, pin, along);
        }
        // What the residual says along the pin counts for nothing and would drown the rest.
        let precondition = |r: &mut [f32], h: &mut [f32]| match other.pin {
            None => quotient(simd, r, d, h),
            Some(pin) => {
                simd::axpy(simd, -simd::dot(simd, pin, r), pin, r);
                quotient(simd, r, d, h);
                simd::axpy(simd, -simd::dot(simd, pin, h) / reach, along, h);
            }
        };
        let mut loss = residual(simd, other, events, d, x, r);
        precondition(r, h);
        p.copy_from_slice(h);
        let mut rh = simd::dot(simd, r, h);
        let enough = rh * 1e-12;
        for _ in 0..steps {
            if rh <= enough || rh <= f32::MIN_POSITIVE {
                break;
            }
            simd::scaled_product(simd, 1.0, d, p, product);
            simd::normal_product::<S, false>(simd, other.rows, events, p, product);
            let step = rh / simd::dot(simd, p, product);
            simd::axpy(simd, step, p, x);
            simd::axpy(simd, -step, product, r);
            loss -= f64::from(step) * f64::from(rh);
            precondition(r, h);
            let next = simd::dot(simd, r, h);
            simd::xpby(simd, h, next / rh, p);
            rh = next;
        }
        loss
    }

    #[inline(always)]
    fn factorise<S: Simd>(
        &mut self,
        simd: S,
        other: &Counterpart<'_>,
        events: Events<'_>,
        lambda: f32,
        x: &mut [f32],
    ) -> f64 {
        let (n, stride) = (events.indices.len(), x.len());
        self.vectors.grow(5 * stride);
        let mut parts = self.vectors.chunks_exact_mut(stride);
        let mut next = || parts.next().unwrap_or_default();
        let (d, s, v, r, along) = (next(), next(), next(), next(), next());
        diagonal(simd, other.spectrum, lambda, d);
        inverse_root(simd, d, s);

        self.z.grow(n * stride);
        self.t.resize(n.max(self.t.len()), 0.0);
        let (z, t) = (&mut self.z[..n * stride], &mut self.t[..n]);
        let pairs = events.indices.iter().zip(events.weights);
        for ((z, t), (&index, &weight)) in z.chunks_exact_mut(stride).zip(t.iter_mut()).zip(pairs) {
            let row = &other.rows[index as usize * stride..][..stride];
            let root = weight.abs().sqrt();
            simd::scaled_product(simd, root, s, row, z);
            *t = if weight > 0.0 {
                simd::gain(weight) / root
            } else {
                0.0
            };
        }

        let dual = n < stride && other.pin.is_none();
        let (size, width) = if dual {
            (n, simd::padded(n))
        } else {
            (stride, stride)
        };
        self.matrix.grow(width * width);
        let matrix = &mut self.matrix[..width * width];
        matrix.fill(0.0);
        if dual {
            for (i, zi) in z.chunks_exact(stride).enumerate() {
                for (j, zj) in z.chunks_exact(stride).take(i + 1).enumerate() {
                    matrix[i * width + j] = simd::dot(simd, zi, zj);
                }
            }
        } else {
            self.pack.grow(simd::PACK * stride);
            simd::add_gram(simd, z, stride, matrix, &mut self.pack);
        }
        for i in 0..size {
            matrix[i * width + i] += 1.0;
        }
        if !simd::cholesky(simd, matrix, size, width) {
            return f64::NAN;
        }
        x.fill(0.0);
        if dual {
            self.dual.grow(2 * width);
            let (u, rest) = self.dual[..2 * width].split_at_mut(width);
            u.fill(0.0);
            v.fill(0.0);
            for _ in 0..2 {
                rest.fill(0.0);
                for (j, z) in z.chunks_exact(stride).enumerate() {
                    rest[j] = t[j] - simd::dot(simd, z, v) - u[j];
                }
                simd::cholesky_solve(simd, matrix, size, width, rest);
                simd::axpy(simd, 1.0, rest, u);
                v.fill(0.0);
                for (z, &u) in z.chunks_exact(stride).zip(u.iter()) {
                    simd::axpy(simd, u, z, v);
                }
            }
            simd::scaled_product(simd, 1.0, s, v, x);
        } else {
            for _ in 0..2 {
                residual(simd, other, events, d, x, r);
                simd::scaled_product(simd, 1.0, s, r, v);
                simd::cholesky_solve(simd, matrix, size, width, v);
                simd::scaled_product(simd, 1.0, s, v, r);
                simd::axpy(simd, 1.0, r, x);
            }
        }
        if let Some(pin) = other.pin {
            simd::scaled_product(simd, 1.0, s, pin, v);
            simd::cholesky_solve(simd, matrix, size, width, v);
            simd::scaled_product(simd, 1.0, s, v, along);
            let short = 1.0 - simd::dot(simd, pin, x);
            simd::axpy(simd, short / simd::dot(simd, pin, along), along, x);
        }
        residual(simd, other, events, d, x, r)
    }

    /// One pass over the blocks. In the basis where `YᵀY` is diagonal a block π of the gradient is
    /// `Σ_j (c_j p_j − w_j s_j) y_jπ − D_π x_π`, so the scores `s_j` are all that blocks share.
    #[inline(always)]
    fn descend<S: Simd>(
        &mut self,
        simd: S,
        other: &Counterpart<'_>,
        events: Events<'_>,
        lambda: f32,
        size: usize,
        x: &mut [f32],
    ) -> f64 {
        let (n, stride) = (events.indices.len(), x.len());
        let width = simd::padded(size.min(stride));
        self.vectors.grow(5 * stride);
        let mut parts = self.vectors.chunks_exact_mut(stride);
        let mut next = || parts.next().unwrap_or_default();
        let (d, step) = (next(), next());
        diagonal(simd, other.spectrum, lambda, d);
        self.z.grow(n * width);
        self.matrix.grow(width * width);
        self.pack.grow(simd::PACK * width);
        self.t.resize(n.max(self.t.len()), 0.0);
        let scores = &mut self.t[..n];
        for (score, &index) in scores.iter_mut().zip(events.indices) {
            *score = simd::dot(simd, &other.rows[index as usize * stride..][..stride], x);
        }
        for from in (0..stride).step_by(width) {
            let width = width.min(stride - from);
            let block = |index: u32| &other.rows[index as usize * stride + from..][..width];
            let (d, step) = (&d[from..from + width], &mut step[..width]);
            let x = &mut x[from..from + width];
            simd::scaled_product(simd, -1.0, d, x, step);
            let z = &mut self.z[..n * width];
            let pairs = events.indices.iter().zip(events.weights);
            for ((z, score), (&index, &weight)) in
                z.chunks_exact_mut(width).zip(scores.iter()).zip(pairs)
            {
                let (row, root) = (block(index), weight.abs().sqrt());
                simd::axpy(simd, simd::gain(weight) - weight.abs() * score, row, step);
                for (z, &y) in z.iter_mut().zip(row) {
                    *z = root * y;
                }
            }
            let matrix = &mut self.matrix[..width * width];
            matrix.fill(0.0);
            simd::add_gram(simd, z, width, matrix, &mut self.pack);
            for (i, &d) in d.iter().enumerate() {
                matrix[i * width + i] += d;
            }
            if !simd::cholesky(simd, matrix, width, width) {
                return f64::NAN;
            }
            simd::cholesky_solve(simd, matrix, width, width, step);
            simd::axpy(simd, 1.0, step, x);
            for (score, &index) in scores.iter_mut().zip(events.indices) {
                *score += simd::dot(simd, block(index), step);
            }
        }
        let mut loss = 0.0f64;
        for (&score, &weight) in scores.iter().zip(events.weights) {
            let gain = simd::gain(weight);
            loss += f64::from(gain * (1.0 - score) - score * (gain - weight.abs() * score));
        }
        simd::scaled_product(simd, 1.0, d, x, step);
        loss + f64::from(simd::dot(simd, step, x))
    }
}

/// `r = Σ_j c_j p_j y_j − (D + Σ_j w_j y_j y_jᵀ) x`; returns the row's loss at `x`.
#[inline(always)]
fn residual<S: Simd>(
    simd: S,
    other: &Counterpart<'_>,
    events: Events<'_>,
    d: &[f32],
    x: &[f32],
    r: &mut [f32],
) -> f64 {
    simd::scaled_product(simd, -1.0, d, x, r);
    let own = f64::from(simd::dot(simd, r, x));
    simd::normal_product::<S, true>(simd, other.rows, events, x, r) - own
}

/// `d = Λ + λ`
#[inline(always)]
fn diagonal<S: Simd>(simd: S, spectrum: &[f32], lambda: f32, d: &mut [f32]) {
    let lambda = simd.splat_f32s(lambda);
    for (d, &value) in simd::vectors_mut::<S>(d)
        .iter_mut()
        .zip(simd::vectors::<S>(spectrum))
    {
        *d = simd.add_f32s(value, lambda);
    }
}

/// `s = d^-½`
#[inline(always)]
fn inverse_root<S: Simd>(simd: S, d: &[f32], s: &mut [f32]) {
    let one = simd.splat_f32s(1.0);
    for (s, &d) in simd::vectors_mut::<S>(s)
        .iter_mut()
        .zip(simd::vectors::<S>(d))
    {
        *s = simd.div_f32s(one, simd.sqrt_f32s(d));
    }
}

/// `h = r / d`
#[inline(always)]
fn quotient<S: Simd>(simd: S, r: &[f32], d: &[f32], h: &mut [f32]) {
    let pairs = simd::vectors::<S>(r).iter().zip(simd::vectors::<S>(d));
    for (h, (&r, &d)) in simd::vectors_mut::<S>(h).iter_mut().zip(pairs) {
        *h = simd.div_f32s(r, d);
    }
}
