//! One step of each cell on slices, forward and backward; rows are sequences.

use super::Cell;
use super::sweep::{Slopes, Values};
use crate::kernels::{exp, run};

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn tanh(x: f32) -> f32 {
    2.0 * sigmoid(2.0 * x) - 1.0
}

// Each loop writes one thing: the compiler gives up wide registers where it would have to prove
// of many slices that they do not overlap.

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
    tape: &mut Values,
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
    s.gates.iter_mut().for_each(|gate| *gate = tanh(*gate));
    s.out.copy_from_slice(s.gates);
}

#[inline(always)]
fn gru(s: Step<'_>) {
    let d = s.width;
    let gates = s.gates.chunks_exact_mut(3 * d);
    let rows = gates.zip(s.products.chunks_exact(3 * d));
    let states = s.before.chunks_exact(d).zip(s.out.chunks_exact_mut(d));
    for ((gates, products), (before, out)) in rows.zip(states) {
        let (both, n) = gates.split_at_mut(2 * d);
        let (of_both, of_new) = products.split_at(2 * d);
        for (x, p) in both.iter_mut().zip(of_both) {
            *x = sigmoid(*x + p);
        }
        let (r, z) = both.split_at(d);
        for ((n, r), p) in n.iter_mut().zip(r).zip(of_new) {
            *n = tanh(*n + r * p);
        }
        for (((out, n), z), before) in out.iter_mut().zip(n).zip(z).zip(before) {
            *out = (1.0 - z) * *n + z * before;
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
        let (both, rest) = gates.split_at_mut(2 * d);
        let (g, o) = rest.split_at_mut(d);
        both.iter_mut().for_each(|x| *x = sigmoid(*x));
        g.iter_mut().for_each(|x| *x = tanh(*x));
        o.iter_mut().for_each(|x| *x = sigmoid(*x));
        let (i, f) = both.split_at(d);
        let sums = i.iter().zip(&*g).zip(f.iter().zip(before));
        for (cell, ((i, g), (f, before))) in cell.iter_mut().zip(sums) {
            *cell = f * before + i * g;
        }
        for (bent, cell) in bent.iter_mut().zip(cell) {
            *bent = tanh(*cell);
        }
        for ((out, o), bent) in out.iter_mut().zip(o).zip(bent) {
            *out = *o * *bent;
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
    tape: &Values,
    slopes: &mut Slopes,
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
        dgates: &mut slopes.gates[gates],
        dproducts: &mut slopes.products[of_gru],
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
        let (r, rest) = gates.split_at(d);
        let (z, n) = rest.split_at(d);
        let (dr, rest) = dg.split_at_mut(d);
        let (dz, dn) = rest.split_at_mut(d);
        let (of_both, of_new) = dp.split_at_mut(2 * d);
        let inner = dh.iter().zip(z).zip(n);
        for (dn, ((dh, z), n)) in dn.iter_mut().zip(inner.clone()) {
            *dn = dh * (1.0 - z) * (1.0 - n * n);
        }
        for (dz, (((dh, z), n), before)) in dz.iter_mut().zip(inner.zip(before)) {
            *dz = dh * (before - n) * z * (1.0 - z);
        }
        let inner = dn.iter().zip(r);
        for (dr, ((dn, r), p)) in dr.iter_mut().zip(inner.clone().zip(&products[2 * d..])) {
            *dr = dn * p * r * (1.0 - r);
        }
        for (dp, (dn, r)) in of_new.iter_mut().zip(inner) {
            *dp = dn * r;
        }
        of_both.copy_from_slice(&dg[..2 * d]);
        dh.iter_mut().zip(z).for_each(|(dh, z)| *dh *= z);
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
        let inner = dh.iter().zip(o).zip(bent);
        for (dc, ((dh, o), bent)) in dc.iter_mut().zip(inner.clone()) {
            *dc += dh * o * (1.0 - bent * bent);
        }
        for (d_o, ((dh, o), bent)) in d_o.iter_mut().zip(inner) {
            *d_o = dh * bent * o * (1.0 - o);
        }
        let inner = dc.iter().zip(i).zip(g);
        for (di, ((dc, i), g)) in di.iter_mut().zip(inner.clone()) {
            *di = dc * g * i * (1.0 - i);
        }
        for (dg, ((dc, i), g)) in dg.iter_mut().zip(inner) {
            *dg = dc * i * (1.0 - g * g);
        }
        for (df, ((dc, f), before)) in df.iter_mut().zip(dc.iter().zip(f).zip(before)) {
            *df = dc * before * f * (1.0 - f);
        }
        dc.iter_mut().zip(f).for_each(|(dc, f)| *dc *= f);
    }
}
