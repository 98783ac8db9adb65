//! Checkpoints and the files of models.

use super::*;

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
            decay: 0.9,
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
