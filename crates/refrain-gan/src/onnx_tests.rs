//! Exported generators against onnxruntime.

use std::path::{Path, PathBuf};

use super::*;
use crate::painter::Painter;
use crate::{
    ConvGenerator, Gan, GeneratorConfig, Latent, MlpGenerator, Norm, Output, ResidualGenerator,
    Upsample,
};

/// Every kind of layer, at sizes that are no powers of two: name, generator, classes, image.
fn models() -> Vec<(&'static str, GanModel)> {
    let shape = |channels, height, width| ImageShape {
        channels,
        height,
        width,
    };
    let conv = |upsample, norm| -> GeneratorConfig {
        ConvGenerator {
            noise: 5,
            base: 2,
            base_channels: 3,
            channels: vec![4, 2],
            upsample,
            norm,
        }
        .into()
    };
    let silu = MlpGenerator {
        noise: 4,
        hidden: vec![6, 5],
        activation: Activation::Silu,
        norm: Norm::Pixel,
        output: Output::Any,
    };
    let tanh = MlpGenerator {
        noise: 3,
        hidden: vec![4],
        activation: Activation::Tanh,
        ..MlpGenerator::default()
    };
    let residual = ResidualGenerator {
        noise: 4,
        base: 3,
        channels: vec![4, 4, 3],
    };
    let transposed = conv(Upsample::Transposed, Norm::None);
    let resized = conv(Upsample::Resize, Norm::Pixel);
    [
        ("mlp-silu", GeneratorConfig::from(silu), 0, shape(2, 1, 1)),
        ("mlp-tanh", tanh.into(), 2, shape(1, 2, 3)),
        ("conv-resize", resized, 3, shape(3, 11, 7)),
        ("conv-transposed", transposed, 0, shape(1, 11, 7)),
        ("residual", residual.into(), 2, shape(1, 10, 7)),
    ]
    .into_iter()
    .map(|(name, generator, classes, shape)| (name, model(generator, classes, shape)))
    .collect()
}

fn model(generator: GeneratorConfig, classes: usize, shape: ImageShape) -> GanModel {
    let device = refrain_core::device("cpu").unwrap();
    let painter = Painter {
        generator: generator.build(shape, classes, 7, &device),
        noise: generator.noise(),
        shape,
        classes,
        shares: vec![1.0 / classes.max(1) as f32; classes],
        output: generator.output(),
        device,
    };
    let config = Gan {
        generator,
        ..Gan::default()
    };
    GanModel::new(config, painter, Vec::new())
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/onnx")
        .join(name)
}

/// Two latents, as tests/golden/onnx.py has them.
fn latents(model: &GanModel) -> Vec<Latent> {
    let (noise, classes) = (model.config().generator.noise(), model.classes());
    let latent = |i: usize| Latent {
        noise: (i * noise..(i + 1) * noise)
            .map(|k| ((k * 7919 % 101) as f32 - 50.0) / 25.0)
            .collect(),
        class: Latent::one_hot(i as u32, classes),
    };
    vec![latent(0), latent(1)]
}

#[test]
fn onnxruntime_paints_the_same_from_the_file() {
    let anew = std::env::var_os("REFRAIN_ONNX").is_some();
    for (name, model) in models() {
        if anew {
            model.export_onnx(golden(&format!("{name}.onnx"))).unwrap();
        }
        // The file that onnxruntime has read is the one that is written now, weights to rounding.
        let file = std::fs::read(golden(&format!("{name}.onnx"))).unwrap();
        let (old, new) = (onnx_rs::parse(&file).unwrap(), model.onnx_bytes().unwrap());
        let new = onnx_rs::parse(&new).unwrap();
        let (old, new) = (old.graph.unwrap(), new.graph.unwrap());
        assert_eq!((&old.node, &old.input), (&new.node, &new.input), "{name}");
        assert_eq!(old.initializer.len(), new.initializer.len());
        for (a, b) in old.initializer.iter().zip(&new.initializer) {
            assert_eq!(
                (a.name(), a.dims(), a.as_i64()),
                (b.name(), b.dims(), b.as_i64())
            );
            let (a, b) = (
                a.as_f32().unwrap_or_default(),
                b.as_f32().unwrap_or_default(),
            );
            assert!(a.iter().zip(b.iter()).all(|(a, b)| (a - b).abs() < 1e-6));
        }
        // What onnxruntime made of it: tests/golden/onnx.py.
        let text = std::fs::read_to_string(golden(&format!("{name}.txt"))).unwrap();
        let expected: Vec<f32> = text.lines().map(|v| v.parse().unwrap()).collect();
        let painted = model.paint(&latents(&model)).unwrap();
        assert_eq!(painted.pixels().len(), expected.len(), "{name}");
        for (got, expected) in painted.pixels().iter().zip(expected) {
            assert!((got - expected).abs() < 2e-6, "{name}: {got} {expected}");
        }
    }
}
