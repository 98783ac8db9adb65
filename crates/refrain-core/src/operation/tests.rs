use super::*;
use burn::tensor::{Device, Distribution};

/// `a b + c` of matrices.
#[derive(Debug)]
struct Affine {
    rows: usize,
    inner: usize,
    cols: usize,
}

impl Operation<3> for Affine {
    type Kept = ();

    fn forward(&self, [a, b, c]: [&[f32]; 3], _: bool) -> (Vec<f32>, ()) {
        let mut out = Vec::new();
        for row in a.chunks_exact(self.inner).take(self.rows) {
            for (j, c) in c.iter().enumerate() {
                let terms = row.iter().zip(b.iter().skip(j).step_by(self.cols));
                out.push(terms.map(|(a, b)| a * b).sum::<f32>() + c);
            }
        }
        (out, ())
    }

    fn backward(
        &self,
        _: &(),
        [a, b, c]: [&[f32]; 3],
        g: &[f32],
        wanted: [bool; 3],
    ) -> [Option<Vec<f32>>; 3] {
        let [mut da, mut db, mut dc] = [a, b, c].map(|values| vec![0.0; values.len()]);
        for i in 0..self.rows {
            for (j, &g) in g[i * self.cols..][..self.cols].iter().enumerate() {
                dc[j] += g;
                for k in 0..self.inner {
                    da[i * self.inner + k] += g * b[k * self.cols + j];
                    db[k * self.cols + j] += g * a[i * self.inner + k];
                }
            }
        }
        let mut found = [Some(da), Some(db), Some(dc)];
        for (found, wanted) in found.iter_mut().zip(wanted) {
            found.take_if(|_| !wanted);
        }
        found
    }
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn close(a: Tensor<1>, b: Tensor<1>) {
    let apart: f32 = (a - b).abs().max().try_into_scalar().unwrap();
    assert!(apart < 1e-5, "{apart}");
}

fn flat<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    x.reshape([-1])
}

#[test]
fn value_and_gradients_are_those_of_the_tensor_program() {
    let plain = crate::device("cpu").unwrap();
    let taped = plain.clone().autodiff();
    let [rows, inner, cols] = [3, 4, 5];
    // A transposed operand, one that needs no gradient, and a result used twice.
    let a = random([inner, rows], &taped).require_grad();
    let b = random([inner, cols], &plain);
    let c = random([cols], &taped).require_grad();
    let weights = random([rows, cols], &plain);
    let loss = |y: Tensor<2>| (y.clone() * y.clone() * weights.clone()).sum() + y.sum();
    let own = apply(
        Affine { rows, inner, cols },
        [rows, cols],
        [
            a.clone().transpose().into(),
            b.clone().into(),
            c.clone().into(),
        ],
    )
    .unwrap();
    let program = a.clone().transpose().matmul(b.autodiff()) + c.clone().unsqueeze();
    close(flat(own.clone().inner()), flat(program.clone().inner()));
    let own = loss(own).backward();
    let program = loss(program).backward();
    close(flat(a.grad(&own).unwrap()), flat(a.grad(&program).unwrap()));
    close(c.grad(&own).unwrap(), c.grad(&program).unwrap());
}

#[test]
fn plain_tensors_stay_plain_and_views_are_read_right() {
    let plain = crate::device("cpu").unwrap();
    let all = random([6, 4], &plain);
    let (a, b) = (all.clone().narrow(0, 2, 3), random([4, 2], &plain));
    let affine = Affine {
        rows: 3,
        inner: 4,
        cols: 2,
    };
    let zeros = Tensor::<1>::zeros([2], &plain);
    let own = apply(
        affine,
        [3, 2],
        [a.clone().into(), b.clone().into(), zeros.into()],
    );
    let own: Tensor<2> = own.unwrap();
    assert_eq!(own.device(), plain);
    close(flat(own), flat(a.matmul(b)));
}
