//! Tests of sets of images.

use proptest::prelude::*;

use super::*;

fn grey(size: usize, pixels: Vec<f32>) -> Result<Images> {
    Images::from_f32(ImageShape::square(1, size), pixels)
}

#[test]
fn bad_values_name_their_place() {
    let error = grey(2, vec![0.0, 0.1, 0.2, 0.3, 0.0, f32::NAN, 0.0, 0.0]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "image 1, value 1: NaN is not between 0 and 1"
    );
    for bad in [-0.1, 1.5, f32::INFINITY] {
        assert!(matches!(grey(1, vec![bad]), Err(Error::Pixel { .. })));
    }
}

#[test]
fn bad_shapes_are_refused() {
    assert!(matches!(grey(2, vec![]), Err(Error::Empty { .. })));
    assert!(matches!(grey(2, vec![0.0; 5]), Err(Error::Shape { .. })));
    assert!(matches!(grey(0, vec![0.0; 4]), Err(Error::Shape { .. })));
    let huge = ImageShape::square(3, usize::MAX / 2);
    assert!(matches!(
        Images::from_f32(huge, vec![0.0; 3]),
        Err(Error::Shape { .. })
    ));
    let one = grey(1, vec![0.5]).unwrap();
    assert!(matches!(
        one.clone().with_labels(vec![0, 1], 2),
        Err(Error::Shape { .. })
    ));
    let error = one.with_labels(vec![2], 2).unwrap_err();
    assert_eq!(
        error.to_string(),
        "image 0: label 2 is not below the number of classes, 2"
    );
}

#[test]
fn bytes_are_turned_channel_first() {
    let shape = ImageShape {
        channels: 3,
        height: 1,
        width: 2,
    };
    let images = Images::from_u8(shape, &[255, 0, 51, 0, 255, 102]).unwrap();
    assert_eq!(images.image(0), [1.0, 0.0, 0.0, 1.0, 0.2, 0.4]);
}

#[test]
fn split_shares_nothing_and_loses_nothing() {
    let values: Vec<f32> = (0..50).map(|i| i as f32 / 50.0).collect();
    let images = grey(1, values.clone()).unwrap();
    let (train, held_out) = images.split(0.3, 4).unwrap();
    assert_eq!(held_out.len(), 15);
    let mut all: Vec<f32> = train
        .pixels()
        .iter()
        .chain(held_out.pixels())
        .copied()
        .collect();
    all.sort_by(f32::total_cmp);
    assert_eq!(all, values);
    assert_eq!(images.split(0.3, 4).unwrap().0, train);
    assert_ne!(images.split(0.3, 5).unwrap().0, train);
    assert!(images.split(0.0, 1).is_err() && images.split(1.0, 1).is_err());
    assert!(images.split(f64::NAN, 1).is_err());
}

#[test]
fn resize_keeps_flat_images_and_its_own_size() {
    let flat = grey(3, vec![0.25; 9]).unwrap();
    assert!(
        flat.resized(7, 5)
            .unwrap()
            .pixels()
            .iter()
            .all(|v| (v - 0.25).abs() < 1e-6)
    );
    let ramp = grey(2, vec![0.0, 1.0, 0.0, 1.0]).unwrap();
    assert_eq!(ramp.resized(2, 2).unwrap(), ramp);
    assert_eq!(ramp.resized(1, 4).unwrap().image(0), [0.0, 0.25, 0.75, 1.0]);
    assert!(ramp.resized(0, 4).is_err());
}

proptest! {
    #[test]
    fn select_keeps_labels_with_their_images(
        labels in prop::collection::vec(0u32..5, 1..20),
        picks in prop::collection::vec(0usize..25, 0..30),
    ) {
        let pixels = labels.iter().map(|&l| l as f32 / 4.0).collect();
        let images = grey(1, pixels).unwrap().with_labels(labels.clone(), 5).unwrap();
        let some = images.select(&picks);
        prop_assert_eq!(some.len(), picks.iter().filter(|&&i| i < labels.len()).count());
        for (i, &label) in some.labels().unwrap().iter().enumerate() {
            prop_assert_eq!(some.image(i)[0], label as f32 / 4.0);
        }
    }
}

#[test]
fn stacks_hold_three_of_the_images() {
    let values: Vec<f32> = (0..10).map(|i| i as f32 / 10.0).collect();
    let digits = grey(1, values)
        .unwrap()
        .with_labels((0..10).collect(), 10)
        .unwrap();
    let stacked = digits.stacked(6000, 2).unwrap();
    assert_eq!((stacked.len(), stacked.classes()), (6000, 1000));
    let labels = stacked.labels().unwrap();
    for (i, &label) in labels.iter().enumerate() {
        let written = stacked
            .image(i)
            .iter()
            .fold(0, |n, v| 10 * n + (v * 10.0).round() as u32);
        assert_eq!(written, label);
    }
    // Of 1,000 modes drawn 6,000 times, e⁻⁶ are missed: 2.5.
    let found: std::collections::HashSet<_> = labels.iter().collect();
    assert!((985..=1000).contains(&found.len()), "{}", found.len());
    assert_eq!(stacked, digits.stacked(6000, 2).unwrap());
    assert!(
        digits
            .clone()
            .without_labels()
            .stacked(3, 1)
            .unwrap()
            .labels()
            .is_none()
    );
    assert!(matches!(stacked.stacked(3, 1), Err(Error::Shape { .. })));
    assert!(matches!(
        digits.select(&[]).stacked(3, 1),
        Err(Error::Empty { .. })
    ));
}
