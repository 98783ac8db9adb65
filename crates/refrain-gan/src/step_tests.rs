use burn::tensor::TensorData;

use super::*;

fn batch(pixels: Vec<f32>, classes: [f32; 12]) -> Batch {
    let device = refrain_core::device("cpu").unwrap();
    Batch {
        images: Tensor::from_data(TensorData::new(pixels, [6, 2, 1, 2]), &device),
        class: Some(Tensor::from_data(
            TensorData::new(classes.to_vec(), [6, 2, 1, 1]),
            &device,
        )),
    }
}

fn values(tensor: Tensor<4>) -> Vec<f32> {
    let len = tensor.dims().iter().product::<usize>();
    host(tensor.reshape([len])).unwrap()
}

#[test]
fn points_lie_between_real_and_fake_each_pack_by_one_share() {
    let classes = [1.0, 0.0, 0.0, 1.0].repeat(3).try_into().unwrap();
    let real = batch((0..24).map(|i| 1.0 + (i * i % 7) as f32).collect(), classes);
    let fake = batch((0..24).map(|i| -1.0 - (i % 5) as f32).collect(), [0.5; 12]);
    let mut rng = refrain_core::rng::stream(3, 0);
    let points = between(&real, &fake, 2, &mut rng);
    assert_eq!(values(points.class.unwrap()), classes);

    let shares: Vec<f32> = values(points.images)
        .iter()
        .zip(values(real.images).iter().zip(values(fake.images)))
        .map(|(x, (real, fake))| (x - fake) / (real - fake))
        .collect();
    let packs: Vec<&[f32]> = shares.chunks(8).collect(); // two images of four values
    for pack in &packs {
        assert!((0.0..1.0).contains(&pack[0]), "{pack:?}");
        assert!(pack.iter().all(|s| (s - pack[0]).abs() < 1e-5), "{pack:?}");
    }
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        assert!((packs[a][0] - packs[b][0]).abs() > 1e-3, "{packs:?}");
    }
}
