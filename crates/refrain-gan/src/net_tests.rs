use burn::tensor::Device;
use proptest::prelude::*;
use refrain_core::rng::Stream;

use super::*;
use crate::ImageShape;
use crate::params::{host, map_weights, tensor, weights};
use crate::plan::{Plan, build, count};
use crate::random::{Purpose, normal, stream};

fn cpu() -> Device {
    refrain_core::device("cpu").unwrap()
}

fn flat(x: Tensor<4>) -> Vec<f32> {
    let len = x.dims().iter().product::<usize>();
    host(x.inner().reshape([len])).unwrap()
}

fn noise(shape: [usize; 4], rng: &mut Stream) -> Vec<f32> {
    normal(rng, shape.iter().product())
}

/// Every kind of layer for an input of `[2, 3, 5, 6]`.
fn kinds() -> Vec<(&'static str, Plan)> {
    let to = ImageShape {
        channels: 2,
        height: 3,
        width: 2,
    };
    let conv = |stride, spectral| Plan::Conv {
        channels: [3, 4],
        kernel: 3,
        stride,
        gain: 1.0,
        spectral,
    };
    let transposed = |to| Plan::Transposed {
        channels: [3, 2],
        to,
        gain: 1.0,
    };
    let dense = |spectral| Plan::Dense {
        inputs: 90,
        to,
        gain: 1.0,
        spectral,
    };
    vec![
        ("dense", dense(false)),
        ("spectral dense", dense(true)),
        ("convolution", conv(1, false)),
        ("strided convolution", conv(2, false)),
        ("spectral convolution", conv(2, true)),
        ("1 × 1 convolution", Plan::conv([3, 2], 1, 1.0, false)),
        ("transposed convolution", transposed([10, 12])),
        ("cut transposed convolution", transposed([9, 11])),
        ("resize up", Plan::Resize([7, 12])),
        ("resize down", Plan::Resize([3, 4])),
        ("pool", Plan::Pool),
        (
            "leaky ReLU",
            Plan::Activate(Activation::LeakyRelu { slope: 0.2 }),
        ),
        ("SiLU", Plan::Activate(Activation::Silu)),
        ("tanh", Plan::Activate(Activation::Tanh)),
        ("sigmoid", Plan::Activate(Activation::Sigmoid)),
        ("pixel norm", Plan::PixelNorm),
        (
            "residual",
            Plan::Residual {
                body: vec![
                    Plan::Activate(Activation::Silu),
                    Plan::conv([3, 2], 3, 1.0, false),
                ],
                skip: vec![Plan::conv([3, 2], 1, 1.0, false)],
            },
        ),
    ]
}

const SHAPE: [usize; 4] = [2, 3, 5, 6];

/// `Σ seed ⊙ net(x)` in double precision.
fn scored(net: &Net, x: &[f32], seed: &[f32]) -> f64 {
    let y = flat(net.forward(tensor(x.to_vec(), &cpu()).reshape(SHAPE)));
    y.iter()
        .zip(seed)
        .map(|(y, s)| f64::from(*y) * f64::from(*s))
        .sum()
}

#[test]
fn the_input_gradient_of_each_layer_is_that_of_finite_differences_and_of_autodiff() {
    for (name, plan) in kinds() {
        let mut rng = stream(5, Purpose::Discriminator, 0);
        let net = build(&[plan], &mut rng, &cpu());
        // Away from the kink of the rectifier.
        let x: Vec<f32> = noise(SHAPE, &mut rng)
            .iter()
            .map(|v| v + 0.05 * v.signum())
            .collect();
        let taped = tensor(x.clone(), &cpu())
            .reshape(SHAPE)
            .autodiff()
            .require_grad();
        let (y, kept) = net.forward_kept(taped.clone());
        let seed = noise(y.dims(), &mut rng);
        let g = tensor(seed.clone(), &cpu()).reshape(y.dims()).autodiff();
        let program = flat(net.input_gradient(&kept, g.clone()));
        let auto = flat(taped.grad(&(y * g).sum().backward()).unwrap());
        assert_eq!(program.len(), x.len(), "{name}");
        for i in 0..x.len() {
            assert!(
                (program[i] - auto[i]).abs() < 1e-4,
                "{name}, {i}: {} {}",
                program[i],
                auto[i]
            );
            let moved = |by: f32| {
                let mut x = x.clone();
                x[i] += by;
                scored(&net, &x, &seed)
            };
            let difference = ((moved(1e-2) - moved(-1e-2)) / 2e-2) as f32;
            let gap = (program[i] - difference).abs();
            assert!(
                gap < 3e-3 * (1.0 + difference.abs()),
                "{name}, {i}: {} {difference}",
                program[i]
            );
        }
    }
}

/// `½ ‖∇ₓ Σ seed ⊙ net(x)‖²` and, on the tape, its gradient for the weights.
fn penalty(net: &Net, x: &[f32], seed: &[f32], taped: bool) -> Tensor<1> {
    let x = tensor(x.to_vec(), &cpu()).reshape(SHAPE);
    let x = if taped { x.autodiff() } else { x };
    let (y, kept) = net.forward_kept(x);
    let g = tensor(seed.to_vec(), &cpu()).reshape(y.dims());
    let g = if taped { g.autodiff() } else { g };
    net.input_gradient(&kept, g).square().sum() * 0.5
}

#[test]
fn the_derivative_of_the_penalty_for_each_weight_is_that_of_finite_differences() {
    for (name, plan) in kinds() {
        let mut rng = stream(6, Purpose::Discriminator, 0);
        let device = cpu().autodiff();
        let channels = build(std::slice::from_ref(&plan), &mut rng, &cpu())
            .forward(Tensor::ones(SHAPE, &cpu()))
            .dims()[1];
        // A layer alone has a slope that does not depend on x; what follows makes it depend. Weights
        // before a rectifier would push values over its kink, where the slope has a step.
        let before = (name != "leaky ReLU").then(|| Plan::conv([3, 3], 1, 1.0, false));
        let after = [
            Plan::conv([channels, 3], 1, 1.0, false),
            Plan::Activate(Activation::Silu),
            Plan::conv([3, 2], 3, 1.0, false),
        ];
        let plans: Vec<Plan> = before.into_iter().chain([plan]).chain(after).collect();
        let mut net = build(&plans, &mut rng, &device);
        // As in training: with random vectors the singular value is next to zero.
        (0..5).for_each(|_| net.refresh());
        let x = noise(SHAPE, &mut rng);
        let shape = net
            .forward(tensor(x.clone(), &device).reshape(SHAPE))
            .dims();
        let seed = noise(shape, &mut rng);
        let value = penalty(&net, &x, &seed, true);
        let gradients = value.backward();
        // Six digits of the penalty are sure in single precision.
        let rounding = 1e-3 + 1e-6 * host(value.inner()).unwrap()[0] / 2e-3;
        let found = all_gradients(&net, &gradients);
        let plain = net.clone().valid();
        let mut checked = 0;
        for (at, weight) in weights(&plain).iter().enumerate() {
            let Some(found) = &found[at] else { continue };
            // A few weights of each tensor.
            for i in (0..found.len()).step_by(found.len().div_ceil(6)) {
                let moved = |by: f32| {
                    let moved = map_weights(plain.clone(), |j, old| match j == at {
                        true => {
                            let mut values = host(old).unwrap();
                            values[i] += by;
                            tensor(values, &cpu())
                        }
                        false => old,
                    });
                    f64::from(host(penalty(&moved, &x, &seed, false)).unwrap()[0])
                };
                // Central differences of two steps, extrapolated to none.
                let central = |h: f32| (moved(h) - moved(-h)) / f64::from(2.0 * h);
                let difference = ((4.0 * central(2e-3) - central(4e-3)) / 3.0) as f32;
                let gap = (found[i] - difference).abs();
                assert!(
                    gap < rounding + 0.03 * difference.abs(),
                    "{name}, {} {i}: {} {difference}",
                    weight.name,
                    found[i]
                );
                checked += usize::from(difference.abs() > 10.0 * rounding);
            }
        }
        assert!(checked > 2, "{name}: no derivative to speak of");
    }
}

fn all_gradients(net: &Net, gradients: &burn::tensor::Gradients) -> Vec<Option<Vec<f32>>> {
    use burn::module::ModuleVisitor;
    struct All<'a>(&'a burn::tensor::Gradients, Vec<Option<Vec<f32>>>);
    impl ModuleVisitor for All<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let len = param.val().dims().iter().product::<usize>();
            let gradient = param.val().grad(self.0);
            self.1
                .push(gradient.map(|g| host(g.reshape([len])).unwrap()));
        }
    }
    let mut all = All(gradients, Vec::new());
    net.visit(&mut all);
    all.1
}

#[test]
fn the_spread_of_a_batch_is_added_and_known_to_mix() {
    let x = [0.0f32, 4.0, 2.0, 6.0]; // two images of two channels, one pixel
    let net = build(
        &[Plan::BatchSpread],
        &mut stream(1, Purpose::Step, 0),
        &cpu(),
    );
    let y = flat(net.forward(tensor(x.to_vec(), &cpu()).reshape([2, 2, 1, 1])));
    let near = |a: f32, b: f32| (a - b).abs() < 1e-3;
    assert!(near(y[2], 1.0) && near(y[5], 1.0), "{y:?}");
    assert!(net.mixes_batch());
    let inside = Plan::Residual {
        body: vec![Plan::BatchSpread],
        skip: vec![],
    };
    assert!(build(&[inside], &mut stream(1, Purpose::Step, 0), &cpu()).mixes_batch());
    for (name, plan) in kinds() {
        let net = build(&[plan], &mut stream(1, Purpose::Step, 0), &cpu());
        assert!(!net.mixes_batch(), "{name}");
    }
}

#[test]
fn plans_count_the_weights_they_build() {
    for (name, plan) in kinds() {
        let plans = [plan];
        let net = build(&plans, &mut stream(1, Purpose::Step, 0), &cpu());
        assert_eq!(count(&plans), Some(net.num_params()), "{name}");
    }
    assert_eq!(count(&[Plan::dense(usize::MAX, 2, 1.0, false)]), None);
    assert_eq!(count(&[Plan::conv([usize::MAX, 1], 3, 1.0, false)]), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// ⟨A x, g⟩ = ⟨x, Aᵀ g⟩ for the linear layers, whatever the size.
    #[test]
    fn linear_layers_and_their_programs_are_adjoint(
        height in 1usize..8, width in 1usize..8, to_height in 1usize..10, to_width in 1usize..10,
        kind in 0usize..5, seed in any::<u64>(),
    ) {
        let conv = |stride| Plan::Conv {
            channels: [2, 3], kernel: 3, stride, gain: 1.0, spectral: false,
        };
        let plan = match kind {
            0 => Plan::Resize([to_height, to_width]),
            1 => Plan::Pool,
            2 => conv(1),
            3 => conv(2),
            _ => Plan::Transposed { channels: [2, 3], to: [2 * height - 1, 2 * width], gain: 1.0 },
        };
        let mut rng = stream(seed, Purpose::Step, 0);
        let net = build(&[plan], &mut rng, &cpu());
        let shape = [2, 2, height, width];
        let x = noise(shape, &mut rng);
        let (y, kept) = net.forward_kept(tensor(x.clone(), &cpu()).reshape(shape));
        let g = noise(y.dims(), &mut rng);
        let back = flat(net.input_gradient(&kept, tensor(g.clone(), &cpu()).reshape(y.dims())));
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let (left, right) = (dot(&flat(y), &g), dot(&x, &back));
        prop_assert!((left - right).abs() < 1e-3 * (1.0 + left.abs()), "{} {}", left, right);
    }
}
