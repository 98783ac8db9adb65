//! One step of each cell on slices, forward and backward; rows are sequences.

use super::slices::LayerTape;
use crate::kernels::{exp, run};
use crate::rnn::Cell;

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn tanh(x: f32) -> f32 {
    2.0 * sigmoid(2.0 * x) - 1.0
}

/// Rows `from..to` of a tape: what a step reads and writes.
struct Step<'a> {
    width: usize,
    gates: &'a mut [f32],
    /// `U h + c`, of a GRU.
    products: &'a [f32],
    before: &'a [f32],
    cells_before: &'a [f32],
    cells: &'a mut [f32],
    /// `tanh c'`.
    bent: &'a mut [f32],
    out: &'a mut [f32],
}

/// Turns the sums in the gates into their values, and writes the new states.
pub(super) fn forward(
    cell: Cell,
    width: usize,
    tape: &mut LayerTape,
    rows: std::ops::Range<usize>,
    out: &mut [f32],
) {
    let gates = rows.start * width * cell.gates()..rows.end * width * cell.gates();
    let states = rows.start * width..rows.end * width;
    let of_lstm = match cell {
        Cell::Lstm => states.clone(),
        _ => 0..0,
    };
    let step = Step {
        width,
        products: match cell {
            Cell::Gru => &tape.products[gates.clone()],
            _ => &[],
        },
        gates: &mut tape.gates[gates],
        before: &tape.before[states.clone()],
        cells_before: &tape.cells_before[of_lstm.clone()],
        cells: &mut tape.cells[of_lstm.clone()],
        bent: &mut tape.bent[of_lstm],
        out: &mut out[states],
    };
    match cell {
        Cell::Elman => run(elman, step),
        Cell::Gru => run(gru, step),
        Cell::Lstm => run(lstm, step),
    }
}

#[inline(always)]
fn elman(s: Step<'_>) {
    for (gate, out) in s.gates.iter_mut().zip(s.out) {
        *gate = tanh(*gate);
        *out = *gate;
    }
}

#[inline(always)]
fn gru(s: Step<'_>) {
    let d = s.width;
    let gates = s.gates.chunks_exact_mut(3 * d);
    let rows = gates.zip(s.products.chunks_exact(3 * d));
    let states = s.before.chunks_exact(d).zip(s.out.chunks_exact_mut(d));
    for ((gates, products), (before, out)) in rows.zip(states) {
        let (r, rest) = gates.split_at_mut(d);
        let (z, n) = rest.split_at_mut(d);
        let (pr, rest) = products.split_at(d);
        let (pz, pn) = rest.split_at(d);
        for i in 0..d {
            r[i] = sigmoid(r[i] + pr[i]);
            z[i] = sigmoid(z[i] + pz[i]);
            n[i] = tanh(n[i] + r[i] * pn[i]);
            out[i] = (1.0 - z[i]) * n[i] + z[i] * before[i];
        }
    }
}

#[inline(always)]
fn lstm(s: Step<'_>) {
    let d = s.width;
    let gates = s
        .gates
        .chunks_exact_mut(4 * d)
        .zip(s.out.chunks_exact_mut(d));
    let cells = s
        .cells_before
        .chunks_exact(d)
        .zip(s.cells.chunks_exact_mut(d));
    let rows = gates.zip(cells).zip(s.bent.chunks_exact_mut(d));
    for (((gates, out), (before, cell)), bent) in rows {
        let (i, rest) = gates.split_at_mut(d);
        let (f, rest) = rest.split_at_mut(d);
        let (g, o) = rest.split_at_mut(d);
        for k in 0..d {
            i[k] = sigmoid(i[k]);
            f[k] = sigmoid(f[k]);
            g[k] = tanh(g[k]);
            o[k] = sigmoid(o[k]);
            cell[k] = f[k] * before[k] + i[k] * g[k];
            bent[k] = tanh(cell[k]);
            out[k] = o[k] * bent[k];
        }
    }
}

/// What the backward step of rows reads and writes.
struct Back<'a> {
    width: usize,
    gates: &'a [f32],
    products: &'a [f32],
    before: &'a [f32],
    cells_before: &'a [f32],
    bent: &'a [f32],
    dgates: &'a mut [f32],
    dproducts: &'a mut [f32],
    /// In: the gradient of the new states. Out, of a GRU: what goes straight to the old ones.
    dh: &'a mut [f32],
    /// In: the gradient of the new cell states. Out: that of the old ones.
    dc: &'a mut [f32],
}

/// The gradient of the gates' sums, given that of the new states in `dh` and `dc`.
pub(super) fn backward(
    cell: Cell,
    width: usize,
    tape: &mut LayerTape,
    rows: std::ops::Range<usize>,
    dh: &mut [f32],
    dc: &mut [f32],
) {
    let gates = rows.start * width * cell.gates()..rows.end * width * cell.gates();
    let states = rows.start * width..rows.end * width;
    let of_gru = match cell {
        Cell::Gru => gates.clone(),
        _ => 0..0,
    };
    let of_lstm = match cell {
        Cell::Lstm => states.clone(),
        _ => 0..0,
    };
    let step = Back {
        width,
        gates: &tape.gates[gates.clone()],
        products: &tape.products[of_gru.clone()],
        before: &tape.before[states],
        cells_before: &tape.cells_before[of_lstm.clone()],
        bent: &tape.bent[of_lstm],
        dgates: &mut tape.dgates[gates],
        dproducts: &mut tape.dproducts[of_gru],
        dh,
        dc,
    };
    match cell {
        Cell::Elman => run(elman_back, step),
        Cell::Gru => run(gru_back, step),
        Cell::Lstm => run(lstm_back, step),
    }
}

#[inline(always)]
fn elman_back(s: Back<'_>) {
    for ((dgate, &h), &dh) in s.dgates.iter_mut().zip(s.gates).zip(s.dh.iter()) {
        *dgate = dh * (1.0 - h * h);
    }
}

#[inline(always)]
fn gru_back(s: Back<'_>) {
    let d = s.width;
    let values = s
        .gates
        .chunks_exact(3 * d)
        .zip(s.products.chunks_exact(3 * d));
    let states = s.before.chunks_exact(d).zip(s.dh.chunks_exact_mut(d));
    let out = s.dgates.chunks_exact_mut(3 * d);
    let out = out.zip(s.dproducts.chunks_exact_mut(3 * d));
    for (((gates, products), (before, dh)), (dg, dp)) in values.zip(states).zip(out) {
        for i in 0..d {
            let (r, z, n) = (gates[i], gates[d + i], gates[2 * d + i]);
            let dn = dh[i] * (1.0 - z) * (1.0 - n * n);
            let dz = dh[i] * (before[i] - n) * z * (1.0 - z);
            let dr = dn * products[2 * d + i] * r * (1.0 - r);
            (dg[i], dg[d + i], dg[2 * d + i]) = (dr, dz, dn);
            (dp[i], dp[d + i], dp[2 * d + i]) = (dr, dz, dn * r);
            dh[i] *= z;
        }
    }
}

#[inline(always)]
fn lstm_back(s: Back<'_>) {
    let d = s.width;
    let gates = s
        .gates
        .chunks_exact(4 * d)
        .zip(s.dgates.chunks_exact_mut(4 * d));
    let cells = s.cells_before.chunks_exact(d).zip(s.bent.chunks_exact(d));
    let slopes = s.dh.chunks_exact(d).zip(s.dc.chunks_exact_mut(d));
    for (((gates, dgates), (before, bent)), (dh, dc)) in gates.zip(cells).zip(slopes) {
        let (i, rest) = gates.split_at(d);
        let (f, rest) = rest.split_at(d);
        let (g, o) = rest.split_at(d);
        let (di, rest) = dgates.split_at_mut(d);
        let (df, rest) = rest.split_at_mut(d);
        let (dg, d_o) = rest.split_at_mut(d);
        for k in 0..d {
            let cell = dc[k] + dh[k] * o[k] * (1.0 - bent[k] * bent[k]);
            d_o[k] = dh[k] * bent[k] * o[k] * (1.0 - o[k]);
            di[k] = cell * g[k] * i[k] * (1.0 - i[k]);
            df[k] = cell * before[k] * f[k] * (1.0 - f[k]);
            dg[k] = cell * i[k] * (1.0 - g[k] * g[k]);
            dc[k] = cell * f[k];
        }
    }
}
