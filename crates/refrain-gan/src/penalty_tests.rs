use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};

use super::*;
use crate::params::{host, map_weights, tensor};
use crate::players::{Discriminator, Judged, Task};
use crate::{
    Activation, Conditional, ConvDiscriminator, DiscriminatorConfig, ImageShape, MlpDiscriminator,
    Output, ResidualDiscriminator,
};

fn taped() -> Device {
    refrain_core::device("cpu").unwrap().autodiff()
}

/// The weights of `tests/golden/penalty.py`.
fn formula(i: usize, len: usize) -> Vec<f32> {
    let value = |j: usize| 0.5 * (1.3 * i as f64 + 0.7 * (j * j) as f64 + 0.2).sin();
    (0..len).map(|j| value(j) as f32).collect()
}

/// The points of `tests/golden/penalty.py`.
fn points(shape: [usize; 4], device: &Device) -> Tensor<4> {
    let value = |j: usize| 0.9 * (0.37 * (j * j) as f64).cos();
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|j| value(j) as f32)
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

struct Case {
    network: DiscriminatorConfig,
    image: [usize; 3],
    classes: Option<Vec<f32>>, // one-hot, two classes
}

impl Case {
    fn new(network: impl Into<DiscriminatorConfig>, image: [usize; 3]) -> Self {
        Self {
            network: network.into(),
            image,
            classes: None,
        }
    }

    fn named(name: &str) -> Self {
        let mlp = |activation| {
            let network = MlpDiscriminator {
                hidden: vec![5, 4],
                activation,
                spectral: false,
            };
            Self::new(network, [2, 1, 1])
        };
        match name {
            "mlp leaky" => mlp(Activation::LeakyRelu { slope: 0.2 }),
            "mlp silu" => mlp(Activation::Silu),
            "mlp tanh" => mlp(Activation::Tanh),
            "mlp sigmoid" => mlp(Activation::Sigmoid),
            "conv" => Self {
                classes: Some(vec![1.0, 0.0, 0.0, 1.0, 0.0, 1.0]),
                ..Self::new(
                    ConvDiscriminator {
                        base: 3,
                        channels: vec![3, 4],
                        ..ConvDiscriminator::default()
                    },
                    [2, 5, 6],
                )
            },
            "conv over time" => Self::new(
                ConvDiscriminator {
                    base: 3,
                    channels: vec![4, 3, 2],
                    ..ConvDiscriminator::default()
                },
                [5, 1, 11],
            ),
            _ => Self::new(
                ResidualDiscriminator {
                    base: 3,
                    channels: vec![2, 3],
                    spectral: false,
                },
                [1, 5, 6],
            ),
        }
    }

    fn build(&self, pac: usize, device: &Device) -> Discriminator {
        let [channels, height, width] = self.image;
        let task = Task {
            image: ImageShape {
                channels,
                height,
                width,
            },
            classes: if self.classes.is_some() { 2 } else { 0 },
            conditional: Conditional::Projection,
            pac,
            output: Output::Any,
        };
        let built = self.network.build(&task, 1, device);
        map_weights(built, |i, old| {
            tensor(formula(i, old.dims()[0]), &old.device())
        })
    }

    fn judge(&self, network: &Discriminator, device: &Device) -> (Judged, usize) {
        let [c, h, w] = self.image;
        let class = self
            .classes
            .clone()
            .map(|values| tensor(values, device).reshape([3, 2, 1, 1]));
        (network.judge(points([3, c, h, w], device), class), 3)
    }
}

/// The gradient for every weight, zero where it has none.
fn gradients(module: &impl Module, gradients: &Gradients) -> Vec<f32> {
    struct All<'a>(&'a Gradients, Vec<f32>);
    impl ModuleVisitor for All<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let len = param.val().dims().iter().product();
            match param.val().grad(self.0) {
                Some(gradient) => self.1.extend(host(gradient.reshape([len])).unwrap()),
                None => self.1.extend(vec![0.0; len]),
            }
        }
    }
    let mut all = All(gradients, Vec::new());
    module.visit(&mut all);
    all.1
}

fn penalty(name: &str, slope: Tensor<2>) -> Tensor<1> {
    match name {
        "r1" => zero_centred(1.0, slope),
        _ => centred(10.0, 1.0, slope),
    }
}

#[test]
fn golden_gradients_of_pytorch() {
    let device = taped();
    let golden = include_str!("../tests/golden/penalty.txt");
    for line in golden.lines() {
        let (title, numbers) = line.split_once(": ").unwrap();
        let (name, kind) = title.split_once(", ").unwrap();
        let golden: Vec<f32> = numbers.split(' ').map(|v| v.parse().unwrap()).collect();
        let case = Case::named(name);
        let network = case.build(1, &device);
        let (judged, packs) = case.judge(&network, &device);
        let value = penalty(kind, network.slope(&judged, 0, packs));
        let found = gradients(&network, &value.backward());
        let mut all = host(value.inner()).unwrap();
        all.extend(found);
        assert_eq!(all.len(), golden.len(), "{title}");
        assert!(
            (all[0] - golden[0]).abs() < 1e-4 * golden[0],
            "{title}: {} {}",
            all[0],
            golden[0]
        );
        let largest = golden[1..].iter().fold(0f32, |m, v| m.max(v.abs()));
        assert!(largest > 1e-3, "{title}: the golden gradient is zero");
        for (i, (a, b)) in all.iter().zip(&golden).enumerate().skip(1) {
            assert!(
                (a - b).abs() < 1e-4 * largest,
                "{title}, weight {i}: {a} {b}"
            );
        }
    }
    assert_eq!(golden.lines().count(), 12);
}

#[test]
fn a_penalty_is_neither_constant_nor_without_gradient() {
    let device = taped();
    for name in [
        "mlp leaky",
        "mlp silu",
        "mlp sigmoid",
        "conv",
        "conv over time",
        "residual",
    ] {
        let case = Case::named(name);
        let network = case.build(1, &device);
        let (judged, packs) = case.judge(&network, &device);
        let value = penalty("r1", network.slope(&judged, 0, packs));
        let found = gradients(&network, &value.backward());
        // Every weight of every matrix has a part in the slope; the biases of a network of straight
        // pieces have none.
        let length = found.iter().map(|g| g * g).sum::<f32>().sqrt();
        let value = host(value.inner()).unwrap()[0];
        assert!(length > 0.1 * value, "{name}: {value} {length}");
        // A step down the gradient lowers the penalty by what the gradient says.
        let step = 1e-3 / length;
        let mut start = 0;
        let moved = map_weights(network.clone(), |_, old| {
            let len = old.dims()[0];
            let part = tensor(found[start..start + len].to_vec(), &old.device());
            start += len;
            old - part * step
        });
        let (judged, packs) = case.judge(&moved, &device);
        let lower = host(penalty("r1", moved.slope(&judged, 0, packs)).inner()).unwrap()[0];
        let fell = (value - lower) / (1e-3 * length);
        assert!((0.8..1.2).contains(&fell), "{name}: {value} {lower} {fell}");
    }
}

#[test]
fn a_part_of_a_pass_has_the_slope_of_its_own_pass() {
    let device = taped();
    let case = Case::named("residual");
    let network = case.build(1, &device);
    let x = points([5, 1, 5, 6], &device);
    let flat = |slope: Tensor<2>| {
        let len = slope.dims().iter().product::<usize>();
        host(slope.inner().reshape([len])).unwrap()
    };
    let part = flat(network.slope(&network.judge(x.clone(), None), 2, 3));
    let own = network.judge(x.narrow(0, 2, 3), None);
    for (a, b) in part.iter().zip(flat(network.slope(&own, 0, 3))) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

/// The slope by central differences of the logits' sum, for each value of each image.
fn slope_by_differences(network: &Discriminator, x: &[f32], shape: [usize; 4]) -> Vec<f32> {
    let device = refrain_core::device("cpu").unwrap();
    let sum = |x: Vec<f32>| -> f64 {
        let x = Tensor::from_data(TensorData::new(x, shape), &device);
        let logits = host(network.judge(x, None).logits).unwrap();
        logits.iter().map(|&l| f64::from(l)).sum()
    };
    let step = 2e-3f32;
    let moved = |i: usize, by: f32| {
        let mut x = x.to_vec();
        x[i] += by;
        sum(x)
    };
    (0..x.len())
        .map(|i| ((moved(i, step) - moved(i, -step)) / f64::from(2.0 * step)) as f32)
        .collect()
}

#[test]
fn the_slope_over_time_is_that_of_finite_differences() {
    let case = Case::named("conv over time");
    let (device, shape) = (taped(), [3, 5, 1, 11]);
    let network = case.build(1, &device);
    let (judged, packs) = case.judge(&network, &device);
    let slope = host(network.slope(&judged, 0, packs).inner().reshape([165])).unwrap();
    let x = host(points(shape, &device).inner().reshape([165])).unwrap();
    let expected = slope_by_differences(&network.valid(), &x, shape);
    assert!(expected.iter().any(|v| v.abs() > 0.1));
    let close = |(a, b): (&f32, &f32)| (a - b).abs() < 2e-3 * (1.0 + b.abs());
    // A rectifier's kink may lie within a difference's step.
    let far = slope.iter().zip(&expected).filter(|&pair| !close(pair));
    assert!(far.count() < 4, "{slope:?} {expected:?}");
}

#[test]
fn packs_are_judged_together_and_have_one_slope() {
    let case = Case::named("mlp silu");
    let device = taped();
    let network = case.build(2, &device);
    let shape = [4, 2, 1, 1];
    let x = points(shape, &device);
    let judged = network.judge(x.clone(), None);
    assert_eq!(judged.logits.dims(), [2]);
    let slope = network.slope(&judged, 0, 2);
    assert_eq!(slope.dims(), [2, 4]);
    let slope = host(slope.inner().reshape([8])).unwrap();
    let x = host(x.inner().reshape([8])).unwrap();
    let expected = slope_by_differences(&network.valid(), &x, shape);
    for (a, b) in slope.iter().zip(expected) {
        assert!((a - b).abs() < 2e-3, "{a} {b}");
    }
}

#[test]
fn unusable_settings_name_their_field() {
    for (penalty, message) in [
        (
            Penalty::R1 { gamma: -1.0 },
            "penalty.gamma: -1 is not a positive number",
        ),
        (
            Penalty::R1R2 { gamma: f32::NAN },
            "penalty.gamma: NaN is not a positive number",
        ),
        (
            Penalty::GradientPenalty {
                weight: 10.0,
                target: -1.0,
            },
            "penalty.target: -1 is not a number from 0 up",
        ),
        (
            Penalty::WeightClip { limit: 0.0 },
            "penalty.limit: 0 is not a positive number",
        ),
    ] {
        assert_eq!(penalty.check().unwrap_err().to_string(), message);
    }
    assert!(Penalty::None.check().is_ok() && Penalty::default().check().is_ok());
}
