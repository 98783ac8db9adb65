use proptest::prelude::*;
use rand::RngExt;

use super::*;

const ALL: [Packing; 8] = [
    Packing::F32,
    Packing::F16,
    Packing::Bf16,
    Packing::Q8_0,
    Packing::Q4_0,
    Packing::Q4_1,
    Packing::Q4K,
    Packing::Q6K,
];

/// Random bytes whose scales are finite.
fn random(packing: Packing, rows: usize, columns: usize, seed: u64) -> QuantizedMatrix {
    let mut rng = refrain_core::rng::stream(seed, 0);
    let blocks = rows * columns / packing.values();
    let mut bytes = Vec::new();
    for _ in 0..blocks {
        let mut block: Vec<u8> = (0..packing.bytes()).map(|_| rng.random()).collect();
        let mut scale = |at: usize| {
            let value = half::f16::from_f32(rng.random_range(-1.0..1.0));
            block[at..at + 2].copy_from_slice(&value.to_le_bytes());
        };
        match packing {
            Packing::F32 => block = rng.random_range(-1.0f32..1.0).to_le_bytes().to_vec(),
            Packing::Bf16 => {
                block = half::bf16::from_f32(rng.random_range(-1.0..1.0))
                    .to_le_bytes()
                    .to_vec();
            }
            Packing::Q4_1 | Packing::Q4K => [0, 2].into_iter().for_each(scale),
            Packing::Q6K => scale(208),
            _ => scale(0),
        }
        bytes.extend(block);
    }
    QuantizedMatrix::new(packing, rows, columns, bytes).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn products_are_those_of_unpacked_rows(
        kind in 0usize..8, rows in 1usize..40, wide in 1usize..4, n in 0usize..4, seed in any::<u64>(),
    ) {
        let packing = ALL[kind];
        let columns = wide * packing.values().max(32);
        let matrix = random(packing, rows, columns, seed);
        let mut rng = refrain_core::rng::stream(seed, 1);
        let x: Vec<f32> = (0..n * columns).map(|_| rng.random_range(-1.0..1.0)).collect();
        let mut found = vec![9.0; n * rows];
        matrix.multiply(&x, &mut found).unwrap();
        let mut row = vec![0.0; columns];
        for r in 0..rows {
            matrix.row(r, &mut row);
            for (i, x) in x.chunks_exact(columns).enumerate() {
                let products = x.iter().zip(&row).map(|(&a, &b)| f64::from(a) * f64::from(b));
                let (mut sum, mut size) = (0.0, 0.0);
                products.for_each(|p| { sum += p; size += p.abs(); });
                // A vector in 8 bits is off by 1/254 of the largest of 32 values.
                let largest: f64 = row.iter().map(|&v| f64::from(v).abs()).sum::<f64>() / 254.0;
                let error = (f64::from(found[i * rows + r]) - sum).abs();
                let rounded = if packing.values() == 32 { 4e-3 } else { 1e-5 };
                let most = rounded * size + if packing.values() == 32 { largest } else { 1e-6 };
                prop_assert!(error <= most, "{packing:?}: {error} {most}");
            }
        }
    }
}

#[test]
fn vectors_that_are_packed_without_loss_have_exact_products() {
    // Whole numbers with 127 among each 32 are their own codes.
    for packing in [Packing::Q8_0, Packing::Q4_0, Packing::Q4_1] {
        let matrix = random(packing, 20, 96, 3);
        let x: Vec<f32> = (0..96i16)
            .map(|i| f32::from(if i % 32 == 5 { 127 } else { i - 40 }))
            .collect();
        let mut found = vec![0.0; 20];
        matrix.multiply(&x, &mut found).unwrap();
        let mut row = vec![0.0; 96];
        for (r, found) in found.iter().enumerate() {
            matrix.row(r, &mut row);
            let products = x
                .iter()
                .zip(&row)
                .map(|(&a, &b)| f64::from(a) * f64::from(b));
            let (sum, size): (f64, f64) =
                products.fold((0.0, 0.0), |(s, t), p| (s + p, t + p.abs()));
            assert!(
                (f64::from(*found) - sum).abs() <= 1e-6 * size,
                "{packing:?} {found} {sum}"
            );
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    assert!(QuantizedMatrix::new(Packing::Q8_0, 1, 33, vec![0; 34]).is_err());
    assert!(QuantizedMatrix::new(Packing::Q8_0, 2, 32, vec![0; 34]).is_err());
    assert!(QuantizedMatrix::new(Packing::F32, usize::MAX, 4, vec![0; 16]).is_err());
    assert!(QuantizedMatrix::new(Packing::F32, 1, 0, vec![]).is_err());
    let matrix = random(Packing::Q4_0, 2, 32, 1);
    assert!(matrix.multiply(&[0.0; 31], &mut [0.0; 2]).is_err());
    assert!(matrix.multiply(&[0.0; 32], &mut [0.0; 3]).is_err());
}

#[test]
fn every_kernel_is_the_portable_one() {
    use super::kernels::Kernel;
    for packing in [Packing::Q8_0, Packing::Q4_0, Packing::Q4_1] {
        let matrix = random(packing, 37, 160, 5);
        let mut rng = refrain_core::rng::stream(1, 1);
        let mut x: Vec<f32> = (0..TILE * 160)
            .map(|_| rng.random_range(-3.0..3.0))
            .collect();
        x[3] = f32::NAN;
        x[200..232].fill(0.0);
        x[300] = f32::INFINITY;
        // The largest codes of both signs.
        x[320..352].fill(127.0);
        x[352..384].fill(-127.0);
        let x = Activations::new(&x, 160);
        for panel in 0..matrix.panels() {
            let all = |kernel| {
                let mut sums: Vec<Sums> = matrix.products::<TILE>(kernel, panel, &x, 0).into();
                sums.extend(matrix.products::<1>(kernel, panel, &x, 2));
                sums.concat()
            };
            let expected = all(Kernel::Portable);
            assert!(expected.iter().all(|v| v.is_finite()));
            for &kernel in Kernel::all() {
                for (found, expected) in all(kernel).iter().zip(&expected) {
                    let error = (found - expected).abs();
                    assert!(
                        error <= 1e-4 * expected.abs().max(10.0),
                        "{kernel:?} {packing:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn threads_and_numbers_of_vectors_change_nothing() {
    let matrices = [(Packing::Q4_1, 70), (Packing::Q8_0, 16), (Packing::F16, 33)];
    let matrices = matrices.map(|(packing, rows)| random(packing, rows, 64, rows as u64));
    let mut rng = refrain_core::rng::stream(2, 1);
    let x: Vec<f32> = (0..21 * 64).map(|_| rng.random_range(-1.0..1.0)).collect();
    let products = |n: usize, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let mut outs: Vec<Vec<f32>> =
                matrices.iter().map(|m| vec![9.0; n * m.rows()]).collect();
            let mut all: Vec<_> = matrices
                .iter()
                .zip(&mut outs)
                .map(|(m, o)| (m, &mut o[..]))
                .collect();
            multiply_all(&Activations::new(&x[..n * 64], 64), &mut all);
            outs
        })
    };
    let one = products(21, 1);
    for threads in [1, 2, 3] {
        for n in [0, 1, 3, 8, 9, 21] {
            for ((found, one), matrix) in products(n, threads).iter().zip(&one).zip(&matrices) {
                let expected = &one[..n * matrix.rows()];
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() <= 1e-5, "{threads} {n}");
                }
            }
        }
    }
}
