//! An exponential moving average of the generator's weights.
//!
//! ```text
//! average ← d · average + (1 − d) · weights      d = min(decay, (1 + t) / (10 + t))
//! ```
//!
//! The players of a game circle around its solution; their average walks into it (Yazıcı et al. 2019,
//! <https://arxiv.org/abs/1806.04498>). Samples are painted by the average. The shorter memory of the
//! first steps forgets the random start.

use burn::module::Module;

use crate::params::{map_weights, weights};

/// The decay of step `step`, counted from 0.
pub(crate) fn decay(limit: f32, step: u64) -> f32 {
    let step = step as f32;
    limit.min((1.0 + step) / (10.0 + step))
}

/// `average` moved towards `current`.
pub(crate) fn update<M: Module>(average: M, current: &M, decay: f32) -> M {
    let current = weights(current);
    map_weights(average, |i, old| match current.get(i) {
        Some(weight) => old * decay + weight.values.clone() * (1.0 - decay),
        None => old,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::params::{host, tensor};
    use crate::{GeneratorConfig, ImageShape, MlpGenerator};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn is_the_weighted_sum_of_all_it_saw(
            values in prop::collection::vec(-2f32..2.0, 1..12),
            limit in 0f32..0.99,
        ) {
            let device = refrain_core::device("cpu").unwrap();
            let config = GeneratorConfig::from(MlpGenerator {
                noise: 1,
                hidden: vec![],
                ..Default::default()
            });
            let module = config.build(ImageShape::square(1, 2), 0, 1, &device);
            let set = |v: f32| map_weights(module.clone(), |_, old| {
                tensor(vec![v; old.dims()[0]], &device)
            });
            let mut average = set(0.0);
            // By hand: Σ vₜ (1 − dₜ) Π_{s>t} d_s
            let mut expected = 0.0f32;
            for (step, &value) in values.iter().enumerate() {
                let d = decay(limit, step as u64);
                average = update(average, &set(value), d);
                expected = d * expected + (1.0 - d) * value;
            }
            for weight in weights(&average) {
                for got in host(weight.values).unwrap() {
                    prop_assert!((got - expected).abs() < 1e-5);
                }
            }
            let (low, high) = values.iter().fold((0f32, 0f32), |(l, h), &v| (l.min(v), h.max(v)));
            prop_assert!((low - 1e-5..=high + 1e-5).contains(&expected));
        }
    }

    #[test]
    fn memory_grows_to_its_limit() {
        assert_eq!(decay(0.999, 0), 0.1);
        assert!(decay(0.999, 100) < decay(0.999, 1000));
        assert_eq!(decay(0.999, 1_000_000), 0.999);
        assert_eq!(decay(0.0, 50), 0.0);
    }
}
