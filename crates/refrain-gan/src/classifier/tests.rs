use super::*;

fn cpu() -> Device {
    refrain_core::device("cpu").unwrap()
}

fn digits() -> Images {
    let digits = refrain_data::bundled::digits().unwrap();
    let pixels: Vec<f32> = digits
        .images
        .iter()
        .flatten()
        .map(|&v| f32::from(v))
        .collect();
    let labels = digits.labels.iter().map(|&l| u32::from(l)).collect();
    let images = Images::scaled(ImageShape::square(1, 8), &pixels, 16.0).unwrap();
    images.with_labels(labels, 10).unwrap()
}

#[test]
fn held_out_digits_are_read() {
    let (train, held_out) = digits().split(0.25, 3).unwrap();
    let config = ImageClassifier {
        epochs: 6,
        ..ImageClassifier::default()
    };
    let model = config.fit(&train, &cpu()).unwrap();
    let accuracy = model.accuracy(&held_out).unwrap();
    assert!(accuracy > 0.95, "{accuracy}");

    // Through a file: the same bits.
    let read = ImageClassifierModel::from_bytes(model.to_bytes().unwrap(), &cpu()).unwrap();
    assert_eq!(
        read.probabilities(&held_out).unwrap(),
        model.probabilities(&held_out).unwrap()
    );
    assert_eq!(
        (read.config(), read.shape(), read.classes()),
        (model.config(), model.shape(), 10)
    );

    // Stacked digits: the modes are the labels, as often as three digits in a row are read right.
    let stacked = held_out.stacked(200, 5).unwrap();
    let modes = model.modes(&stacked).unwrap();
    let labels = stacked.labels().unwrap();
    let right = modes
        .iter()
        .zip(labels)
        .filter(|(m, l)| **m == **l as usize)
        .count();
    assert!(right > 170, "{right} of 200");
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let images = digits().select(&(0..200).collect::<Vec<_>>());
    let config = ImageClassifier {
        channels: vec![4],
        features: 8,
        epochs: 1,
        ..Default::default()
    };
    let run = |seed| {
        let model = ImageClassifier {
            seed,
            ..config.clone()
        }
        .fit(&images, &cpu())
        .unwrap();
        model.features(&images).unwrap()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn weights_are_counted_and_shapes_checked() {
    for (channels, height, width) in [(1, 8, 8), (3, 5, 9), (2, 1, 1)] {
        let shape = ImageShape {
            channels,
            height,
            width,
        };
        for layers in [vec![], vec![3], vec![2, 4, 5]] {
            let config = ImageClassifier {
                channels: layers,
                features: 3,
                ..Default::default()
            };
            let net = config.build(shape, 4, &cpu());
            assert_eq!(config.weights(shape, 4), Some(net.num_params()));
            let ones = Tensor::<4>::ones([2, channels, height, width], &cpu());
            assert_eq!(net.forward(ones).0.dims(), [2, 4]);
        }
    }
}

#[test]
fn bad_input_is_refused() {
    let images = digits().select(&[0, 1, 2, 3]);
    let config = ImageClassifier {
        channels: vec![2],
        features: 2,
        epochs: 1,
        ..Default::default()
    };
    let plain = images.clone().without_labels();
    assert!(matches!(config.fit(&plain, &cpu()), Err(Error::Class(_))));
    assert!(matches!(
        config.fit(&images.select(&[]), &cpu()),
        Err(Error::Empty { .. })
    ));
    for bad in [
        ImageClassifier {
            rate: f64::NAN,
            ..config.clone()
        },
        ImageClassifier {
            features: 0,
            ..config.clone()
        },
        ImageClassifier {
            channels: vec![usize::MAX],
            ..config.clone()
        },
        ImageClassifier {
            shift: usize::MAX,
            ..config.clone()
        },
    ] {
        assert!(matches!(
            bad.fit(&images, &cpu()),
            Err(Error::Config { .. })
        ));
    }
    let model = config.fit(&images, &cpu()).unwrap();
    let small = images.resized(4, 4).unwrap();
    assert!(matches!(model.features(&small), Err(Error::Shape { .. })));
    assert!(matches!(model.modes(&small), Err(Error::Shape { .. })));
    assert!(matches!(model.accuracy(&plain), Err(Error::Class(_))));
    assert!(model.features(&images.select(&[])).unwrap().is_empty());
    let mut bytes = model.to_bytes().unwrap();
    bytes.truncate(bytes.len() - 9);
    assert!(ImageClassifierModel::from_bytes(bytes, &cpu()).is_err());
}

#[test]
fn shifting_moves_pixels() {
    let shape = ImageShape {
        channels: 1,
        height: 2,
        width: 3,
    };
    let image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let moved = |down, right| {
        let mut out = Vec::new();
        shifted(&image, shape, down, right, &mut out);
        out
    };
    assert_eq!(moved(0, 0), image);
    assert_eq!(moved(1, 0), [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
    assert_eq!(moved(0, -1), [2.0, 3.0, 0.0, 5.0, 6.0, 0.0]);
    assert_eq!(moved(9, 9), [0.0; 6]);
}
