//! Tests of walks, attributes and inversion.

use proptest::prelude::*;
use refrain_core::{CancelToken, Device, Event};

use super::*;
use crate::{ConvDiscriminator, ConvGenerator, Gan, Norm};

fn cpu() -> Device {
    refrain_core::device("cpu").unwrap()
}

/// An untrained generator: its images differ with the noise all the same.
fn model(classes: usize) -> GanModel {
    let images = Images::from_f32(ImageShape::square(1, 8), vec![0.5; 64 * 4]).unwrap();
    let images = match classes {
        0 => images,
        n => images
            .with_labels((0..4).map(|i| i % n as u32).collect(), n)
            .unwrap(),
    };
    let gan = Gan {
        generator: ConvGenerator {
            noise: 4,
            base_channels: 8,
            channels: vec![8],
            norm: Norm::None,
            ..ConvGenerator::default()
        }
        .into(),
        discriminator: ConvDiscriminator {
            channels: vec![2],
            ..ConvDiscriminator::default()
        }
        .into(),
        ..Gan::default()
    };
    gan.trainer(&images, &cpu()).unwrap().into_model()
}

#[test]
fn inversion_finds_painted_images() {
    for classes in [0, 2] {
        let model = model(classes);
        let images = model.sample(3, 5).unwrap();
        let how = Inversion {
            steps: 150,
            prior: 0.0,
            ..Inversion::default()
        };
        let found = model.invert(&images, &how).unwrap();
        let latents: Vec<Latent> = found.iter().map(|f| f.latent.clone()).collect();
        let again = model.paint(&latents).unwrap();
        for (i, inverted) in found.iter().enumerate() {
            let pairs = again.image(i).iter().zip(images.image(i));
            let error = pairs.map(|(a, b)| (a - b).powi(2)).sum::<f32>() / 64.0;
            // The error told is the error there is, and far below that of another image.
            assert!(
                (error - inverted.error).abs() < 1e-5,
                "{error} {}",
                inverted.error
            );
            let other = images.image(i).iter().zip(images.image((i + 1) % 3));
            let other = other.map(|(a, b)| (a - b).powi(2)).sum::<f32>() / 64.0;
            assert!(
                inverted.error < 0.02 * other,
                "{classes}: {} {other}",
                inverted.error
            );
        }
        assert_eq!(found, model.invert(&images, &how).unwrap());
    }
}

#[test]
fn more_starts_and_steps_are_no_worse() {
    let model = model(0);
    let images = model.sample(2, 9).unwrap();
    let error = |starts, steps| {
        let how = Inversion {
            starts,
            steps,
            ..Inversion::default()
        };
        model
            .invert(&images, &how)
            .unwrap()
            .iter()
            .map(|f| f.error)
            .sum::<f32>()
    };
    assert!(error(1, 60) < error(1, 1));
    assert!(error(5, 20) <= error(1, 20) + 1e-6);
}

#[test]
fn inversion_refuses_and_is_cancelled() {
    let plain = model(0);
    let images = plain.sample(1, 1).unwrap();
    let small = images.resized(4, 4).unwrap();
    assert!(matches!(
        plain.invert(&small, &Inversion::default()),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        model(2).invert(&images, &Inversion::default()),
        Err(Error::Class(_))
    ));
    let wrong = images.clone().with_labels(vec![2], 3).unwrap();
    assert!(matches!(
        model(2).invert(&wrong, &Inversion::default()),
        Err(Error::Class(_))
    ));
    for bad in [
        Inversion {
            starts: 0,
            ..Inversion::default()
        },
        Inversion {
            steps: usize::MAX,
            ..Inversion::default()
        },
        Inversion {
            rate: 0.0,
            ..Inversion::default()
        },
        Inversion {
            prior: f32::NAN,
            ..Inversion::default()
        },
    ] {
        assert!(matches!(
            plain.invert(&images, &bad),
            Err(Error::Config { .. })
        ));
    }
    let token = CancelToken::new();
    let inner = token.clone();
    let monitor = Monitor::new(move |event: &Event<'_>| {
        if let Event::Advance { done: 3, .. } = event {
            inner.cancel();
        }
    });
    let stopped = plain.invert_with(&images, &Inversion::default(), &monitor.with_cancel(token));
    assert!(matches!(
        stopped,
        Err(Error::Core(refrain_core::Error::Cancelled { .. }))
    ));
    assert!(
        plain
            .invert(&images.select(&[]), &Inversion::default())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn truncation_narrows_the_images() {
    let model = model(2);
    let spread = |images: &Images| {
        let size = images.shape().len();
        let mean = |p: usize| {
            (0..images.len()).map(|i| images.image(i)[p]).sum::<f32>() / images.len() as f32
        };
        let means: Vec<f32> = (0..size).map(mean).collect();
        images
            .pixels()
            .chunks(size)
            .flatten()
            .zip(means.iter().cycle())
            .map(|(v, m)| (v - m).powi(2))
            .sum::<f32>()
    };
    let full = model.sample(200, 3).unwrap();
    let wide = model.sample_truncated(200, 100.0, 3).unwrap();
    assert_eq!(wide.labels(), full.labels());
    assert!(
        wide.pixels()
            .iter()
            .zip(full.pixels())
            .all(|(a, b)| (a - b).abs() < 1e-5)
    );
    let narrow = model.sample_truncated(200, 0.3, 3).unwrap();
    assert!(
        spread(&narrow) < 0.6 * spread(&full),
        "{} {}",
        spread(&narrow),
        spread(&full)
    );
    assert_eq!(narrow, model.sample_truncated(200, 0.3, 3).unwrap());
    assert_eq!(model.sample_truncated(2, 1e-30, 3).unwrap().len(), 2);
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert!(matches!(
            model.sample_truncated(1, bad, 1),
            Err(Error::Config { .. })
        ));
    }
}

#[test]
fn straight_walks_and_attributes() {
    let model = model(2);
    let (a, b) = (
        model.latent(Some(0), 1).unwrap(),
        model.latent(Some(1), 2).unwrap(),
    );
    let walk = model.interpolate_straight(&a, &b, 3).unwrap();
    let ends = model.paint(&[a.clone(), b.clone()]).unwrap();
    let gap = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| (x - y).abs()).sum::<f32>();
    assert!(gap(walk.image(0), ends.image(0)) < 1e-3 && gap(walk.image(2), ends.image(1)) < 1e-3);
    let direction = Latent::direction(&[b.clone(), b.clone()], std::slice::from_ref(&a)).unwrap();
    let moved = a.moved(&direction, 1.0).unwrap();
    assert!(gap(&moved.noise, &b.noise) < 1e-5 && gap(&moved.class, &b.class) < 1e-6);
    assert!(matches!(Latent::mean(&[]), Err(Error::Empty { .. })));
    let short = Latent {
        noise: vec![1.0],
        class: vec![],
    };
    assert!(matches!(
        Latent::mean(&[a.clone(), short.clone()]),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(a.moved(&short, 1.0), Err(Error::Shape { .. })));
}

proptest! {
    #[test]
    fn a_straight_line_is_straight(
        a in prop::collection::vec(-3f32..3.0, 6), b in prop::collection::vec(-3f32..3.0, 6),
        t in 0f32..1.0,
    ) {
        let latent = |noise: &Vec<f32>| Latent { noise: noise.clone(), class: vec![] };
        let point = latent(&a).straight(&latent(&b), t);
        for ((p, x), y) in point.noise.iter().zip(&a).zip(&b) {
            prop_assert!((p - (x + t * (y - x))).abs() < 1e-5);
        }
        // The middle is the mean.
        let mean = Latent::mean(&[latent(&a), latent(&b)]).unwrap();
        let half = latent(&a).straight(&latent(&b), 0.5);
        prop_assert!(mean.noise.iter().zip(&half.noise).all(|(x, y)| (x - y).abs() < 1e-5));
    }
}
