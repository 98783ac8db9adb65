use proptest::prelude::*;
use rand::RngExt;

use super::*;
use crate::kernels::reference::convolution_reference;

fn some() -> impl Strategy<Value = (Convolution, usize)> {
    let window = (1usize..6, 1usize..4, 0usize..3);
    let sizes = (1usize..12, 1usize..20, 1usize..12, 1usize..11);
    (window, sizes, 1usize..40, 0usize..3).prop_filter_map(
        "no window",
        |((kernel, stride, padding), (height, width, channels, filters), images, cut)| {
            let padding = padding.min(kernel - 1);
            let maps = |side: usize| {
                let most = (side + 2 * padding).checked_sub(kernel)? / stride + 1;
                Some(most.saturating_sub(cut).max(1))
            };
            let convolution = Convolution {
                channels,
                filters,
                kernel,
                stride,
                padding,
                image: [height, width],
                maps: [maps(height)?, maps(width)?],
            };
            Some((convolution, images))
        },
    )
}

fn close(got: &[f32], want: &[f64]) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let gap = (f64::from(*got) - want).abs();
        prop_assert!(gap < 1e-4 * (1.0 + want.abs()), "{}: {} {}", i, got, want);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn all_three_are_the_sums_of_the_definition((c, images) in some(), seed in any::<u64>()) {
        let mut rng = crate::rng::stream(seed, 1);
        let mut draw = |n: usize| -> Vec<f32> {
            (0..n).map(|_| rng.random::<f32>() - 0.5).collect()
        };
        let x = draw(images * c.image_len());
        let g = draw(images * c.map_len());
        let w = draw(c.filters * c.channels * c.kernel * c.kernel);
        let (filter_bias, channel_bias) = (draw(c.filters), draw(c.channels));
        let mut maps: Vec<f64> = Vec::new();
        for _ in 0..images {
            for &b in &filter_bias {
                maps.extend(std::iter::repeat_n(f64::from(b), c.maps[0] * c.maps[1]));
            }
        }
        let mut back: Vec<f64> = Vec::new();
        for _ in 0..images {
            for &b in &channel_bias {
                back.extend(std::iter::repeat_n(f64::from(b), c.image[0] * c.image[1]));
            }
        }
        let mut gradient = vec![0.0; w.len()];
        convolution_reference(&c, images, |pixel, weight, map| {
            maps[map] += f64::from(x[pixel]) * f64::from(w[weight]);
            back[pixel] += f64::from(g[map]) * f64::from(w[weight]);
            gradient[weight] += f64::from(g[map]) * f64::from(x[pixel]);
        });
        close(&c.forward(&x, &w, &filter_bias), &maps)?;
        close(&c.transposed(&g, &w, &channel_bias), &back)?;
        close(&c.weight_gradient(&x, &g), &gradient)?;
    }
}

#[test]
fn no_images_give_no_maps_and_no_gradient() {
    let c = Convolution {
        channels: 2,
        filters: 3,
        kernel: 3,
        stride: 1,
        padding: 1,
        image: [4, 4],
        maps: [4, 4],
    };
    assert!(c.forward(&[], &[1.0; 54], &[0.0; 3]).is_empty());
    assert!(c.transposed(&[], &[1.0; 54], &[0.0; 2]).is_empty());
    assert_eq!(c.weight_gradient(&[], &[]), [0.0; 54]);
}

#[test]
fn results_do_not_depend_on_the_threads() {
    let c = Convolution {
        channels: 3,
        filters: 5,
        kernel: 3,
        stride: 2,
        padding: 1,
        image: [20, 21],
        maps: [10, 11],
    };
    let mut rng = crate::rng::stream(3, 1);
    let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random::<f32>() - 0.5).collect() };
    let (x, g) = (draw(33 * c.image_len()), draw(33 * c.map_len()));
    let all = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| {
            let w = c.weight_gradient(&x, &g);
            let bias = [0.1; 5];
            let maps = c.forward(&x, &w, &bias);
            (maps, c.transposed(&g, &w, &bias[..3]), w)
        })
    };
    assert_eq!(all(1), all(3));
}

#[test]
#[should_panic(expected = "weights")]
fn a_slice_of_another_shape_is_refused() {
    let c = Convolution {
        channels: 1,
        filters: 1,
        kernel: 3,
        stride: 1,
        padding: 1,
        image: [4, 4],
        maps: [4, 4],
    };
    c.forward(&[0.0; 16], &[1.0; 8], &[0.0]);
}
