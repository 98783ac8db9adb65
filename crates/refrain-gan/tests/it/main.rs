//! Training from outside: what a user of the crate relies on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use rand::RngExt;
use refrain_core::{CancelToken, Device, Event, Monitor, rng};
use refrain_gan::metrics::frechet_images;
use refrain_gan::*;

fn cpu() -> Device {
    refrain_core::device("cpu").unwrap()
}

/// Small enough for a test, with every part in play.
fn tiny() -> Gan {
    Gan {
        generator: ConvGenerator {
            noise: 4,
            base_channels: 4,
            channels: vec![4],
            ..Default::default()
        }
        .into(),
        discriminator: ConvDiscriminator {
            channels: vec![4, 6],
            ..Default::default()
        }
        .into(),
        batch: 5,
        epochs: 3,
        ..Gan::default()
    }
}

/// 8×8 images of two classes: a bright half above, or on the left, at random strength.
fn halves(count: usize) -> Images {
    let mut rng = rng::stream(7, 0);
    let mut pixels = Vec::new();
    for i in 0..count {
        let bright = rng.random_range(0.6..1.0f32);
        pixels.extend((0..64).map(|p| {
            let line = if i % 2 == 0 { p / 8 } else { p % 8 };
            if line < 4 { bright } else { 0.1 }
        }));
    }
    let labels = (0..count).map(|i| (i % 2) as u32).collect();
    Images::from_f32(ImageShape::square(1, 8), pixels)
        .unwrap()
        .with_labels(labels, 2)
        .unwrap()
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let images = halves(23);
    let run = |seed| Gan { seed, ..tiny() }.fit(&images, &cpu()).unwrap();
    let (a, b, c) = (run(1), run(1), run(2));
    assert_eq!(a.history(), b.history());
    assert_eq!(a.sample(5, 9).unwrap(), b.sample(5, 9).unwrap());
    assert_ne!(a.sample(5, 9).unwrap(), c.sample(5, 9).unwrap());
    assert_eq!(a.history().len(), 3);
}

#[test]
fn resume_gives_the_bits_of_an_unbroken_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("game.refrain");
    let images = halves(23); // 4 steps an epoch: the cut falls into the second one
    let spectral = ConvDiscriminator {
        channels: vec![4, 6],
        spectral: true,
        ..Default::default()
    };
    let adaptive = Augment {
        chance: Chance::Adaptive {
            target: 0.0,
            ramp: 50,
        },
        ..Augment::default()
    };
    for gan in [
        tiny(),
        Gan {
            discriminator_steps: 2,
            penalty_every: 2,
            ..tiny()
        },
        Gan {
            discriminator: spectral.into(),
            augment: Some(adaptive),
            ..tiny()
        },
        Gan {
            pac: 2,
            conditional: Conditional::None,
            ..tiny()
        },
    ] {
        let mut unbroken = gan.trainer(&images, &cpu()).unwrap();
        let mut before = gan.trainer(&images, &cpu()).unwrap();
        for _ in 0..5 {
            assert_eq!(unbroken.step().unwrap(), before.step().unwrap());
        }
        before.save(&path).unwrap();
        drop(before);
        let mut resumed = Trainer::resume(&path, &images, &cpu()).unwrap();
        assert_eq!(resumed.steps(), 5);
        while unbroken.steps() < unbroken.total_steps() {
            assert_eq!(unbroken.step().unwrap(), resumed.step().unwrap());
        }
        assert_eq!(unbroken.history(), resumed.history());
        let (a, b) = (unbroken.into_model(), resumed.into_model());
        assert_eq!(a.sample(4, 3).unwrap(), b.sample(4, 3).unwrap());
        assert_eq!(a.to_bytes().unwrap(), b.to_bytes().unwrap());
    }
}

#[test]
fn resume_refuses_other_images_and_other_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("game.refrain");
    let images = halves(12);
    let trainer = tiny().trainer(&images, &cpu()).unwrap();
    trainer.save(&path).unwrap();
    let refused = |images: &Images| {
        Trainer::resume(&path, images, &cpu())
            .unwrap_err()
            .to_string()
    };
    assert!(refused(&halves(14)).contains("12 other images"));
    assert!(refused(&images.resized(4, 4).unwrap()).contains("1×8×8"));
    assert!(refused(&images.clone().without_labels()).contains("2 classes"));
    assert!(
        GanModel::load(&path, &cpu())
            .unwrap_err()
            .to_string()
            .contains("gan.checkpoint")
    );
    trainer.model().save(&path).unwrap();
    assert!(Trainer::resume(&path, &images, &cpu()).is_err());
}

#[test]
fn a_saved_model_paints_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gan.refrain");
    for images in [halves(11), halves(11).without_labels()] {
        let model = Gan {
            epochs: 1,
            ..tiny()
        }
        .fit(&images, &cpu())
        .unwrap();
        model.save(&path).unwrap();
        let read = GanModel::load(&path, &cpu()).unwrap();
        assert_eq!(model.sample(7, 5).unwrap(), read.sample(7, 5).unwrap());
        assert_eq!(
            (model.history(), model.config()),
            (read.history(), read.config())
        );
        assert_eq!(
            (model.classes(), model.shape()),
            (read.classes(), read.shape())
        );
    }
}

#[test]
fn samples_follow_seed_class_and_latent() {
    let images = halves(20);
    let model = Gan {
        epochs: 1,
        ..tiny()
    }
    .fit(&images, &cpu())
    .unwrap();
    let long = model.sample(300, 4).unwrap();
    // To rounding: a matrix product of another height may sum in another order.
    let gap = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| (x - y).abs()).sum::<f32>();
    assert!(gap(long.pixels(), model.sample(3, 4).unwrap().pixels()) < 1e-3);
    assert!(long.labels().unwrap().contains(&0) && long.labels().unwrap().contains(&1));
    assert_eq!(model.sample(0, 4).unwrap().len(), 0);
    assert_eq!(
        model.sample_labels(&[1, 0, 1], 4).unwrap().labels(),
        Some(&[1, 0, 1][..])
    );
    assert!(matches!(model.sample_labels(&[2], 4), Err(Error::Class(_))));

    let sheet = model.sheet(3, 1).unwrap();
    assert_eq!((sheet.len(), model.columns()), (6, 2));
    save_grid(
        &sheet,
        &Grid {
            columns: 2,
            ..Grid::default()
        },
        std::env::temp_dir().join(format!("refrain-gan-{}.png", std::process::id())),
    )
    .unwrap();

    let (a, b) = (
        model.latent(Some(0), 1).unwrap(),
        model.latent(Some(1), 2).unwrap(),
    );
    let walk = model.interpolate(&a, &b, 5).unwrap();
    assert_eq!(walk.len(), 5);
    let ends = model.paint(&[a.clone(), b.clone()]).unwrap();
    assert!(gap(walk.image(0), ends.image(0)) < 1e-3);
    assert!(gap(walk.image(4), ends.image(1)) < 1e-3);
    assert!(matches!(model.latent(None, 1), Err(Error::Class(_))));
    let short = Latent {
        noise: vec![0.0; 3],
        class: vec![1.0, 0.0],
    };
    assert!(matches!(model.paint(&[short]), Err(Error::Shape { .. })));
    let nan = Latent {
        noise: vec![f32::NAN; 4],
        ..a
    };
    assert!(matches!(model.paint(&[nan]), Err(Error::Shape { .. })));
}

#[test]
fn cancel_stops_between_steps_and_training_can_go_on() {
    let images = halves(23);
    let token = CancelToken::new();
    let inner = token.clone();
    let monitor = Monitor::new(move |event: &Event<'_>| {
        if let Event::Advance {
            done: 6, message, ..
        } = event
        {
            assert!(message.contains("D right"), "{message}");
            inner.cancel();
        }
    })
    .with_cancel(token);
    let mut trainer = tiny().trainer(&images, &cpu()).unwrap();
    let error = trainer.run(&monitor).unwrap_err();
    assert!(
        matches!(error, Error::Core(refrain_core::Error::Cancelled { .. })),
        "{error}"
    );
    assert_eq!(trainer.steps(), 6);
    trainer.run(&Monitor::silent()).unwrap();
    let unbroken = tiny().fit(&images, &cpu()).unwrap();
    assert_eq!(trainer.model().history(), unbroken.history());
}

#[test]
fn every_kind_of_image_trains() {
    let shapes = [(3, 5, 5), (1, 28, 28), (2, 1, 1), (3, 6, 9)];
    for (channels, height, width) in shapes {
        let shape = ImageShape {
            channels,
            height,
            width,
        };
        let pixels = (0..7 * shape.len())
            .map(|i| (i % 11) as f32 / 10.0)
            .collect();
        let images = Images::from_f32(shape, pixels).unwrap();
        let mut trainer = tiny().trainer(&images, &cpu()).unwrap();
        trainer.step().unwrap();
        assert_eq!(trainer.sheet(1).unwrap().shape(), shape);
    }
    let none = halves(4).select(&[]);
    assert!(matches!(
        tiny().fit(&none, &cpu()),
        Err(Error::Empty { .. })
    ));
    let single = halves(1);
    tiny().trainer(&single, &cpu()).unwrap().step().unwrap();
}

/// The eight modes of the classic ring, and points around them.
fn ring(count: usize) -> ([[f32; 2]; 8], Images) {
    let mut rng = rng::stream(3, 0);
    let modes = std::array::from_fn(|i| {
        let angle = i as f32 * std::f32::consts::FRAC_PI_4;
        [angle.cos(), angle.sin()]
    });
    let mut points = Vec::new();
    for _ in 0..count {
        let mode = modes[rng.random_range(0..8)];
        points.extend(mode.map(|v| v + rng.random_range(-0.03..0.03f32)));
    }
    let shape = ImageShape {
        channels: 2,
        height: 1,
        width: 1,
    };
    (modes, Images::values(shape, points).unwrap())
}

#[test]
fn training_moves_the_generator_onto_the_ring() {
    let (modes, points) = ring(512);
    let gan = Gan {
        generator: MlpGenerator {
            noise: 2,
            hidden: vec![32, 32],
            output: Output::Any,
            ..Default::default()
        }
        .into(),
        discriminator: MlpDiscriminator {
            hidden: vec![32, 32],
            ..Default::default()
        }
        .into(),
        epochs: 100,
        ..Gan::default()
    };
    let trainer = gan.trainer(&points, &cpu()).unwrap();
    let before = trainer.model().sample(512, 1).unwrap();
    let after = gan.fit(&points, &cpu()).unwrap().sample(512, 1).unwrap();
    let distance = |set: &Images| frechet_images(set, &points).unwrap();
    let (was, is) = (distance(&before), distance(&after));
    assert!(is < 0.1 * was, "{was} {is}");
    let near = |mode: &[f32; 2], p: &[f32]| (p[0] - mode[0]).hypot(p[1] - mode[1]) < 0.2;
    let covered = modes.iter().filter(|mode| {
        let count = (0..after.len())
            .filter(|&i| near(mode, after.image(i)))
            .count();
        count >= 5
    });
    let covered = covered.count();
    assert!(covered >= 7, "{covered} of 8 modes");
    // Points are not clamped to brightness.
    assert!(after.pixels().iter().any(|&v| v < -0.5));
}

#[test]
fn every_combination_of_network_loss_and_penalty_trains() {
    let images = halves(12);
    let residual = |spectral| ResidualDiscriminator {
        channels: vec![4, 4],
        spectral,
        ..Default::default()
    };
    let mlp = MlpDiscriminator {
        hidden: vec![6],
        ..Default::default()
    };
    let networks: [(GeneratorConfig, DiscriminatorConfig); 3] = [
        (
            MlpGenerator {
                hidden: vec![6],
                ..Default::default()
            }
            .into(),
            mlp.into(),
        ),
        (tiny().generator, tiny().discriminator),
        (
            ResidualGenerator {
                channels: vec![4, 4],
                ..Default::default()
            }
            .into(),
            residual(false).into(),
        ),
    ];
    let losses = [
        Loss::NonSaturating { real_target: 0.9 },
        Loss::Minimax,
        Loss::LeastSquares,
        Loss::Hinge,
        Loss::Wasserstein,
        Loss::Relativistic,
        Loss::FeatureMatching,
    ];
    let penalties = [
        Penalty::None,
        Penalty::R1 { gamma: 0.1 },
        Penalty::R1R2 { gamma: 0.1 },
        Penalty::GradientPenalty {
            weight: 10.0,
            target: 1.0,
        },
        Penalty::WeightClip { limit: 0.05 },
    ];
    for (i, (generator, discriminator)) in networks.into_iter().enumerate() {
        for (j, loss) in losses.into_iter().enumerate() {
            let penalty = penalties[(i + j) % 5];
            let conditional = match (i + j) % 3 {
                0 => Conditional::None,
                1 => Conditional::Projection,
                _ => Conditional::Auxiliary { weight: 1.0 },
            };
            let gan = Gan {
                generator: generator.clone(),
                discriminator: discriminator.clone(),
                loss,
                penalty,
                conditional,
                augment: (j % 2 == 0).then(Augment::default),
                batch: 6,
                ..Gan::default()
            };
            let mut trainer = gan.trainer(&images, &cpu()).unwrap();
            for _ in 0..2 {
                let report = trainer.step().unwrap();
                assert!(report.discriminator_gradient > 0.0, "{gan:?}");
                let slope = !matches!(penalty, Penalty::None | Penalty::WeightClip { .. });
                assert_eq!(report.penalty > 0.0, slope, "{gan:?}");
                // A minimax generator may start out starved, but not quite.
                assert!(report.generator_gradient > 0.0, "{gan:?}");
            }
        }
    }
    let mut spectral = Gan {
        discriminator: residual(true).into(),
        loss: Loss::Hinge,
        penalty: Penalty::None,
        ..tiny()
    };
    spectral.trainer(&images, &cpu()).unwrap().step().unwrap();
    spectral.penalty = Penalty::R1 { gamma: 1.0 };
    spectral.trainer(&images, &cpu()).unwrap().step().unwrap();
}

#[test]
fn what_cannot_be_is_refused_before_training() {
    let images = halves(12);
    let refused = |gan: Gan| gan.trainer(&images, &cpu()).unwrap_err().to_string();
    let mixing = ConvDiscriminator {
        channels: vec![4],
        batch_spread: true,
        ..Default::default()
    };
    let mut gan = Gan {
        discriminator: mixing.into(),
        ..tiny()
    };
    let message = refused(gan.clone());
    assert!(
        message.starts_with("penalty: ") && message.contains("batch_spread"),
        "{message}"
    );
    gan.penalty = Penalty::None;
    gan.trainer(&images, &cpu()).unwrap().step().unwrap();
    assert!(refused(Gan { pac: 2, ..tiny() }).contains("conditional"));
    let packs = Gan {
        pac: 16,
        batch: 16,
        conditional: Conditional::None,
        ..tiny()
    };
    assert!(refused(packs).contains("12 images"));
    let values = Images::values(ImageShape::square(1, 2), vec![0.0, 1.0, 2.0, 0.5]).unwrap();
    let error = tiny().trainer(&values, &cpu()).unwrap_err();
    assert!(matches!(error, Error::Pixel { position: 2, .. }), "{error}");
    assert!(Images::values(ImageShape::square(1, 1), vec![f32::NAN]).is_err());
}

#[test]
fn the_lazy_penalty_counts_for_the_steps_it_leaves_out() {
    let images = halves(12);
    let gan = Gan {
        penalty_every: 3,
        ..tiny()
    };
    let mut trainer = gan.trainer(&images, &cpu()).unwrap();
    let penalties: Vec<bool> = (0..6)
        .map(|_| trainer.step().unwrap().penalty > 0.0)
        .collect();
    assert_eq!(penalties, [true, false, false, true, false, false]);
    // Its weight: with the same weights and batch, thrice the penalty's part of the gradient.
    let length = |penalty_every| {
        let gan = Gan {
            penalty_every,
            penalty: Penalty::R1 { gamma: 1e6 },
            ..tiny()
        };
        gan.trainer(&images, &cpu())
            .unwrap()
            .step()
            .unwrap()
            .discriminator_gradient
    };
    let ratio = length(3) / length(1);
    assert!((ratio - 3.0).abs() < 0.01, "{ratio}");
}

#[test]
fn the_file_of_a_model_is_a_safetensors_file_with_the_documented_names() {
    let model = Gan {
        epochs: 1,
        ..tiny()
    }
    .fit(&halves(11), &cpu())
    .unwrap();
    let file = refrain_core::ModelFile::from_bytes(model.to_bytes().unwrap()).unwrap();
    let names: Vec<&str> = file.names().collect();
    for name in [
        "generator.net.layers.0.weight",
        "generator.net.layers.0.bias",
        "history",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    let dense = file.f32("generator.net.layers.0.weight").unwrap();
    assert_eq!(dense.data.len(), (4 + 2) * 4 * 4 * 4);
}

#[test]
fn divergence_is_an_error() {
    let images = halves(10);
    let adam = Adam {
        rate: 1e30,
        ..Adam::default()
    };
    let gan = Gan {
        generator_adam: adam,
        discriminator_adam: adam,
        epochs: 9,
        ..tiny()
    };
    let error = gan.fit(&images, &cpu()).unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
    assert!(error.to_string().contains("_adam.rate"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn broken_files_are_errors(
        cut in 0usize..4000,
        flips in prop::collection::vec((0usize..4000, any::<u8>()), 0..4),
    ) {
        use std::sync::OnceLock;
        static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
        let bytes = BYTES.get_or_init(|| {
            let gan = Gan { epochs: 1, ..tiny() };
            gan.trainer(&halves(5), &cpu()).unwrap().model().to_bytes().unwrap()
        });
        let mut broken = bytes.clone();
        for (at, value) in flips {
            let at = at % broken.len();
            broken[at] = value;
        }
        if cut < broken.len() {
            broken.truncate(broken.len() - cut);
        }
        // Any answer but a panic; a changed weight is still a model.
        if let Ok(model) = GanModel::from_bytes(broken, &cpu()) {
            model.sample(1, 1).unwrap();
        }
    }
}
