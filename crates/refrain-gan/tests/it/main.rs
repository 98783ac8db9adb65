//! Training from outside: what a user of the crate relies on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod files;
mod refusals;
mod sheets;

use std::sync::{Arc, Mutex};

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
        tempfile::tempdir().unwrap().path().join("sheet.png"),
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
fn an_epoch_cancelled_at_its_last_step_is_reported() {
    let images = halves(23); // 4 steps an epoch
    let token = CancelToken::new();
    let inner = token.clone();
    let monitor = Monitor::new(move |event: &Event<'_>| {
        if let Event::Advance { done: 4, .. } = event {
            inner.cancel();
        }
    })
    .with_cancel(token);
    let cancelled =
        |error: Error| matches!(error, Error::Core(refrain_core::Error::Cancelled { .. }));
    let mut trainer = tiny().trainer(&images, &cpu()).unwrap();
    let report = trainer.epoch(&monitor).unwrap().unwrap();
    assert_eq!((report.epoch, trainer.steps()), (1, 4));
    assert!(cancelled(trainer.epoch(&monitor).unwrap_err()));
    assert!(cancelled(trainer.run(&monitor).unwrap_err()));
    assert_eq!(trainer.steps(), 4);
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
    let trained = gan.fit(&points, &cpu()).unwrap();
    let after = trained.sample(512, 1).unwrap();
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
    let last = trained.history().last().unwrap();
    assert!(last.alarms.is_empty(), "{last}");
    assert_eq!((last.modes, last.modes_in_data), (8, 8), "{last}");
    // Points are not clamped to brightness.
    assert!(after.pixels().iter().any(|&v| v < -0.5));
}

#[test]
fn a_generator_that_stays_on_one_mode_raises_the_alarm() {
    let (_, points) = ring(512);
    let mut gan = Gan {
        generator: MlpGenerator {
            noise: 2,
            hidden: vec![4],
            output: Output::Any,
            ..Default::default()
        }
        .into(),
        discriminator: MlpDiscriminator {
            hidden: vec![4],
            ..Default::default()
        }
        .into(),
        epochs: 11,
        ..Gan::default()
    };
    gan.generator_adam.rate = 1e-9;
    let model = gan.fit(&points.select(&[0; 64]), &cpu()).unwrap();
    assert!(
        model.history()[10].modes_in_data == 1,
        "one point has one mode"
    );
    let told = Arc::new(Mutex::new(Vec::new()));
    let messages = told.clone();
    let monitor = Monitor::new(move |event: &Event<'_>| {
        if let Event::Advance { message, .. } = event {
            messages.lock().unwrap().push(message.to_string());
        }
    });
    let model = gan.fit_with(&points, &cpu(), &monitor).unwrap();
    let [.., before, last] = model.history() else {
        panic!("eleven epochs")
    };
    assert!(before.alarms.is_empty());
    let lost =
        |alarm: &Alarm| matches!(alarm, Alarm::ModesLost { lost, modes } if lost * 4 > *modes);
    assert!(last.alarms.iter().any(lost), "{last}");
    assert!(last.to_string().contains("kinds of real image"), "{last}");
    // Those who look at the bar alone hear of it, too.
    let told = told.lock().unwrap();
    let first = last.alarms[0].to_string();
    let (cause, _) = first.split_once(':').unwrap();
    let heard = told.iter().filter(|message| message.ends_with(cause));
    assert_eq!(heard.count(), 1, "{told:?}"); // the eleventh epoch's last step
    assert!(told.last().is_some_and(|message| message.ends_with(cause)));
}

#[test]
fn metrics_are_measured_saved_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("game.refrain");
    let images = halves(23);
    let mut trainer = tiny().trainer(&images, &cpu()).unwrap();
    let mut calls = 0.0;
    trainer
        .measure("calls", 2, move |model| {
            calls += 1.0;
            Ok(calls + model.sample(1, 1)?.len() as f64)
        })
        .unwrap();
    let epoch = trainer.steps_per_epoch();
    trainer
        .measure("late", 3, |model| {
            model.sample_labels(&[9], 1)?; // no such class
            Ok(0.0)
        })
        .unwrap();
    for (name, every) in [("calls", 1), ("", 1), ("two\nlines", 1), ("never", 0)] {
        let refused = trainer.measure(name, every, |_| Ok(0.0)).unwrap_err();
        assert!(matches!(refused, Error::Config { .. }), "{refused}");
    }
    // The metric's own error comes back, and training can go on.
    let error = trainer.run(&Monitor::silent()).unwrap_err();
    assert!(matches!(error, Error::Class(_)), "{error}");
    assert_eq!((trainer.steps(), trainer.history().len()), (3 * epoch, 3));
    trainer.step().unwrap();
    trainer.save(&path).unwrap();
    let resumed = Trainer::resume(&path, &images, &cpu()).unwrap();
    assert_eq!(resumed.history(), trainer.history());
    let model = resumed.into_model();
    let measured: Vec<Option<f32>> = model
        .history()
        .iter()
        .map(|e| e.metrics.get("calls").copied())
        .collect();
    assert_eq!(measured, [None, Some(2.0), None]);
    assert!(model.curves().contains("calls"));
    let read = GanModel::from_bytes(model.to_bytes().unwrap(), &cpu()).unwrap();
    assert_eq!(read.history(), model.history());
}

#[test]
fn a_class_is_painted_when_it_is_asked_for() {
    // A bright left half, or a bright right one.
    let pixels: Vec<f32> = (0..64 * 16)
        .map(|i| match (i % 4 < 2) == (i / 16 % 2 == 0) {
            true => 0.8 + 0.01 * (i / 16 % 16) as f32,
            false => 0.1,
        })
        .collect();
    let labels = (0..64).map(|i| i % 2).collect();
    let images = Images::from_f32(ImageShape::square(1, 4), pixels).unwrap();
    let images = images.with_labels(labels, 2).unwrap();
    for conditional in [
        Conditional::Projection,
        Conditional::Auxiliary { weight: 1.0 },
    ] {
        let gan = Gan {
            generator: MlpGenerator {
                noise: 4,
                hidden: vec![32, 32],
                ..Default::default()
            }
            .into(),
            discriminator: MlpDiscriminator {
                hidden: vec![32, 32],
                ..Default::default()
            }
            .into(),
            conditional,
            batch: 16,
            epochs: 120,
            ..Gan::default()
        };
        let model = gan.fit(&images, &cpu()).unwrap();
        for class in 0..2 {
            let painted = model.sample_labels(&[class; 40], 1).unwrap();
            let half = |left: bool| {
                let own = painted.pixels().iter().enumerate();
                let own = own.filter(|(i, _)| (i % 4 < 2) == left);
                own.map(|(_, v)| v).sum::<f32>() / 320.0
            };
            let (bright, dark) = (half(class == 0), half(class == 1));
            assert!(
                bright > dark + 0.3,
                "{conditional:?}, class {class}: {bright} {dark}"
            );
        }
    }
}

#[test]
fn classes_are_drawn_as_common_as_they_were() {
    let images = halves(20);
    let some: Vec<usize> = (0..20).filter(|i| i % 2 == 0 || i % 8 == 1).collect();
    let images = images.select(&some); // ten of one class, three of the other
    let shapes = |model: &GanModel| {
        let labels = model.sample(2000, 3).unwrap().labels().unwrap().to_vec();
        labels.iter().filter(|&&l| l == 1).count() as f64 / 2000.0
    };
    let gan = Gan {
        epochs: 1,
        ..tiny()
    };
    let model = gan.fit(&images, &cpu()).unwrap();
    assert_eq!(model.class_shares(), [10.0 / 13.0, 3.0 / 13.0]);
    assert!((shapes(&model) - 3.0 / 13.0).abs() < 0.03);
    let read = GanModel::from_bytes(model.to_bytes().unwrap(), &cpu()).unwrap();
    assert_eq!(read.class_shares(), model.class_shares());
    assert_eq!(read.sample(30, 1).unwrap(), model.sample(30, 1).unwrap());
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
    for at in 0..3 * 7 * 5 {
        let ((generator, discriminator), loss) = (&networks[at / 35], losses[at / 5 % 7]);
        let penalty = penalties[at % 5];
        let conditional = match at % 3 {
            0 => Conditional::None,
            1 if loss != Loss::FeatureMatching => Conditional::Projection,
            _ => Conditional::Auxiliary { weight: 1.0 },
        };
        if (loss, penalty) == (Loss::Wasserstein, Penalty::None) {
            continue; // refused
        }
        let gan = Gan {
            generator: generator.clone(),
            discriminator: discriminator.clone(),
            loss,
            penalty,
            conditional,
            augment: (at % 2 == 0).then(Augment::default),
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
fn values_beyond_0_to_1_survive_resizing_and_stacking() {
    let points = Images::values(ImageShape::square(1, 2), vec![-3.0, 5.0, -3.0, 5.0]).unwrap();
    let larger = points.resized(4, 4).unwrap();
    assert_eq!((larger.image(0)[0], larger.image(0)[3]), (-3.0, 5.0));
    assert_eq!(
        points.stacked(1, 1).unwrap().image(0)[4..8],
        [-3.0, 5.0, -3.0, 5.0]
    );
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
    let first = |penalty_every| {
        let gan = Gan {
            penalty_every,
            penalty: Penalty::R1 { gamma: 1e6 },
            ..tiny()
        };
        gan.trainer(&images, &cpu()).unwrap().step().unwrap()
    };
    let (lazy, always) = (first(3), first(1));
    let ratio = lazy.discriminator_gradient / always.discriminator_gradient;
    assert!((ratio - 3.0).abs() < 0.01, "{ratio}");
    let told = lazy.penalty / always.penalty;
    assert!((told - 3.0).abs() < 1e-3, "{told}");
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
