//! A window's step as the equations say it.

/// One target of a slow step: the rows whose mean is the input, the output's row, and its label.
pub(super) type Pair = (Vec<usize>, usize, f64);

/// The same step, slowly, in f64: rows are `dim` long, each pair steps for itself from the old rows.
///
/// Returns the loss before the step, `−Σ log σ(±x·y)`.
pub(super) fn window_reference(
    inputs: &mut [f64],
    outputs: &mut [f64],
    dim: usize,
    pairs: &[Pair],
    rate: f64,
) -> f64 {
    let (old_x, old_y) = (inputs.to_vec(), outputs.to_vec());
    let mut loss = 0.0;
    for (components, output, label) in pairs {
        let mut x = vec![0.0; dim];
        for component in components {
            for d in 0..dim {
                x[d] += old_x[component * dim + d] / components.len() as f64;
            }
        }
        let y = &old_y[output * dim..(output + 1) * dim];
        let logit: f64 = x.iter().zip(y).map(|(a, b)| a * b).sum();
        let probability = 1.0 / (1.0 + (-logit).exp());
        loss -= match *label == 1.0 {
            true => probability.ln(),
            false => (1.0 - probability).ln(),
        };
        let g = rate * (label - probability);
        for d in 0..dim {
            for component in components {
                inputs[component * dim + d] += g * y[d];
            }
            outputs[output * dim + d] += g * x[d];
        }
    }
    loss
}
