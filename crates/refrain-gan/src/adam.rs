//! Adam (Kingma and Ba 2015, <https://arxiv.org/abs/1412.6980>).
//!
//! ```text
//! m ← β₁ m + (1 − β₁) g      v ← β₂ v + (1 − β₂) g²
//! w ← w − rate · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
//! ```
//!
//! The formula is burn's, and a test holds the two equal. It stands here because a checkpoint needs
//! the moments as named, checked arrays in a model file; burn hands out its optimizer's state only
//! as bytes keyed by the random ids of one process.
//!
//! **Cost**: two numbers kept per weight, about ten operations per weight and step.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use refrain_core::{ModelFile, ModelWriter};
use serde::{Deserialize, Serialize};

use crate::params::{host, map_weights, tensor, weights};
use crate::{Error, Result};

/// How one network follows its gradients. Give the two networks different rates for the two
/// time-scale rule (Heusel et al. 2017).
#[doc(alias = "TTUR")]
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Adam {
    /// Step size: 0.001 suits small images with a penalty on the slope; 0.0002 is usual for large
    /// networks without.
    pub rate: f32,
    /// Decay of the mean gradient; 0.5 is usual for adversarial games, 0 for fierce ones.
    pub beta_1: f32,
    /// Decay of the mean squared gradient.
    pub beta_2: f32,
    /// Keeps the division finite.
    pub epsilon: f32,
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            rate: 1e-3,
            beta_1: 0.5,
            beta_2: 0.999,
            epsilon: 1e-8,
        }
    }
}

impl Adam {
    pub(crate) fn check(&self, field: &str) -> Result<()> {
        let refuse = |part: &str, value: f32, rule: &str| {
            Err(Error::config(
                &format!("{field}.{part}"),
                format!("{value} is not {rule}"),
            ))
        };
        if !(self.rate.is_finite() && self.rate > 0.0) {
            return refuse("rate", self.rate, "a positive number");
        }
        for (part, beta) in [("beta_1", self.beta_1), ("beta_2", self.beta_2)] {
            if !(0.0..1.0).contains(&beta) {
                return refuse(part, beta, "between 0 and below 1");
            }
        }
        if !(self.epsilon.is_finite() && self.epsilon > 0.0) {
            return refuse("epsilon", self.epsilon, "a positive number");
        }
        Ok(())
    }
}

/// The moments of one network's weights, in the network's order.
#[derive(Debug, Clone)]
pub(crate) struct AdamState {
    config: Adam,
    steps: u64,
    moments: Vec<[Tensor<1>; 2]>,
}

impl AdamState {
    /// The state before the first step.
    pub(crate) fn new(config: Adam, module: &impl Module) -> Self {
        let moments = weights(module)
            .into_iter()
            .map(|weight| [weight.values.zeros_like(), weight.values.zeros_like()])
            .collect();
        Self {
            config,
            steps: 0,
            moments,
        }
    }

    /// Another step size from now on.
    pub(crate) fn set_rate(&mut self, rate: f32) {
        self.config.rate = rate;
    }

    /// `module` one step down `gradients`, and the square of their length, `[1]`, if there are any;
    /// weights without a gradient stay.
    pub(crate) fn step<M: Module>(
        &mut self,
        module: M,
        mut gradients: GradientsParams,
    ) -> (M, Option<Tensor<1>>) {
        struct Flatten<'a> {
            gradients: &'a mut GradientsParams,
            flat: Vec<Option<Tensor<1>>>,
        }
        impl ModuleVisitor for Flatten<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let gradient = self.gradients.remove::<D>(param.id);
                self.flat.push(gradient.map(|g| {
                    let len = g.dims().iter().product::<usize>();
                    g.inner().reshape([len])
                }));
            }
        }
        let mut flatten = Flatten {
            gradients: &mut gradients,
            flat: Vec::new(),
        };
        module.visit(&mut flatten);
        let mut flat = flatten.flat;

        self.steps += 1;
        let Adam {
            rate,
            beta_1,
            beta_2,
            epsilon,
        } = self.config;
        let time = self.steps.min(i32::MAX as u64) as i32;
        // f64: 1 − 0.999ᵗ loses its digits in f32 for small t.
        let correct_1 = 1.0 - f64::from(beta_1).powi(time);
        let correct_2 = (1.0 - f64::from(beta_2).powi(time)).sqrt();
        let scale = f64::from(rate) * correct_2 / correct_1;
        let epsilon = f64::from(epsilon) * correct_2;
        let mut squares = Vec::new();
        let module = map_weights(module, |i, weight| {
            let (Some(gradient), Some([m, v])) = (flat[i].take(), self.moments.get_mut(i)) else {
                return weight;
            };
            let square = gradient.clone().square();
            squares.push(square.clone().sum());
            *m = m.clone() * beta_1 + gradient * (1.0 - beta_1);
            *v = v.clone() * beta_2 + square * (1.0 - beta_2);
            weight - m.clone() * scale / (v.clone().sqrt() + epsilon)
        });
        let length = squares.into_iter().reduce(|sum, square| sum + square);
        (module, length)
    }

    /// Adds the state to a file, as `prefix.steps`, `prefix.0.mean`, `prefix.0.square` …
    pub(crate) fn write<'a>(&self, file: ModelWriter<'a>, prefix: &str) -> Result<ModelWriter<'a>> {
        let mut file = file.u64(format!("{prefix}.steps"), &[1], vec![self.steps])?;
        for (i, [m, v]) in self.moments.iter().enumerate() {
            for (part, values) in [("mean", m), ("square", v)] {
                let values = host(values.clone())?;
                file = file.f32(format!("{prefix}.{i}.{part}"), &[values.len()], values)?;
            }
        }
        Ok(file)
    }

    /// Reads what [`AdamState::write`] wrote for a network of the same structure.
    pub(crate) fn read(mut self, file: &ModelFile, prefix: &str, device: &Device) -> Result<Self> {
        let name = format!("{prefix}.steps");
        self.steps = file.u64(&name)?.expect_shape(&name, &[1])?.data[0];
        for (i, pair) in self.moments.iter_mut().enumerate() {
            for (part, values) in ["mean", "square"].into_iter().zip(pair) {
                let name = format!("{prefix}.{i}.{part}");
                let array = file.f32(&name)?.expect_shape(&name, &values.dims())?;
                let least = if part == "square" { 0.0 } else { f32::MIN };
                if let Some(value) = array.data.iter().find(|v| !(least..=f32::MAX).contains(*v)) {
                    return Err(Error::Saved {
                        file: file.origin().to_string(),
                        reason: format!("{name}: {value} cannot be"),
                    });
                }
                *values = tensor(array.data.into_owned(), device);
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use burn::optim::AdamConfig;

    use super::*;
    use crate::Activation;
    use crate::net::Net;
    use crate::plan::{Plan, build};
    use crate::random::{Purpose, normal, stream};

    fn flat(module: &Net) -> Vec<f32> {
        weights(module)
            .into_iter()
            .flat_map(|w| host(w.values).unwrap())
            .collect()
    }

    #[test]
    fn walks_the_same_way_as_burn() {
        let device = refrain_core::device("cpu").unwrap().autodiff();
        let mut rng = stream(1, Purpose::Generator, 0);
        let plans = [
            Plan::dense(3, 4, 1.0, false),
            Plan::Activate(Activation::default()),
            Plan::dense(4, 2, 1.0, false),
        ];
        let mut ours = build(&plans, &mut rng, &device);
        let mut theirs = ours.clone();
        let config = Adam {
            rate: 0.03,
            ..Adam::default()
        };
        let mut adam = AdamState::new(config, &ours);
        let mut reference = AdamConfig::new()
            .with_beta_1(0.5)
            .with_beta_2(0.999)
            .with_epsilon(1e-8)
            .init();
        for _ in 0..20 {
            let x = tensor(normal(&mut rng, 15), &device).reshape([5, 3, 1, 1]);
            let loss = |net: &Net| net.forward(x.clone()).square().mean().backward();
            let gradients = GradientsParams::from_grads(loss(&ours), &ours);
            let length;
            (ours, length) = adam.step(ours, gradients);
            assert!(host(length.unwrap()).unwrap()[0] > 0.0);
            let gradients = GradientsParams::from_grads(loss(&theirs), &theirs);
            theirs = reference.step(0.03, theirs, gradients);
            for (a, b) in flat(&ours).iter().zip(flat(&theirs)) {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
    }

    #[test]
    fn unusable_settings_name_their_field() {
        let error = Adam {
            rate: f32::NAN,
            ..Adam::default()
        }
        .check("generator_adam")
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "generator_adam.rate: NaN is not a positive number"
        );
        assert!(
            Adam {
                beta_1: 1.0,
                ..Adam::default()
            }
            .check("")
            .is_err()
        );
        assert!(
            Adam {
                beta_2: -0.1,
                ..Adam::default()
            }
            .check("")
            .is_err()
        );
        assert!(
            Adam {
                epsilon: 0.0,
                ..Adam::default()
            }
            .check("")
            .is_err()
        );
    }
}
