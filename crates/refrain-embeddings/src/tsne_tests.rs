use rand::RngExt;

use super::*;

fn blocks(count: usize) -> Embeddings {
    let mut rng = refrain_core::rng::stream(3, 4);
    let mut draw =
        |size: f32| -> Vec<f32> { (0..12).map(|_| rng.random_range(-size..size)).collect() };
    let centres: Vec<Vec<f32>> = (0..6).map(|_| draw(1.0)).collect();
    let rows = (0..count).map(|i| {
        let near = draw(0.25);
        let sum = centres[i % 6].iter().zip(near).map(|(a, b)| a + b);
        (format!("b{}w{i}", i % 6), sum.collect::<Vec<f32>>())
    });
    Embeddings::from_vectors(rows).unwrap()
}

#[test]
fn slopes_are_those_of_finite_differences() {
    let words = blocks(24);
    let directions: Vec<f32> = words
        .iter()
        .flat_map(|(_, v)| {
            let mut v = v.to_vec();
            kernels::normalize(&mut v);
            v
        })
        .collect();
    let near = neighbourhoods(&directions, 12, 5.0);
    assert!((near.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    let mut rng = refrain_core::rng::stream(1, 2);
    let mut places: Vec<[f64; 2]> = (0..24)
        .map(|_| [rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0)])
        .collect();
    let (exact, _) = slopes(&near, &places, 1.0);
    for i in 0..24 {
        for d in 0..2 {
            let mut at = |step: f64| {
                places[i][d] += step;
                let found = slopes(&near, &places, 1.0).1;
                places[i][d] -= step;
                found
            };
            let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((slope - exact[i][d]).abs() < 1e-6, "{slope} {:?}", exact[i]);
        }
    }
}

#[test]
fn each_word_has_as_many_neighbours_as_asked() {
    let mut rng = refrain_core::rng::stream(1, 2);
    let mut row: Vec<f32> = (0..200).map(|_| rng.random_range(0.0..4.0)).collect();
    row[7] = f32::INFINITY;
    spread(&mut row, 20.0);
    let entropy: f64 = row
        .iter()
        .filter(|p| **p > 0.0)
        .map(|&p| -f64::from(p) * f64::from(p).ln())
        .sum();
    assert!((entropy.exp() - 20.0).abs() < 0.01 && row[7] == 0.0);
}

#[test]
fn groups_lie_apart() {
    let words = blocks(180);
    let names: Vec<&str> = words.vocabulary().ids().iter().collect();
    let config = Tsne {
        perplexity: 15.0,
        iterations: 400,
    };
    let map = config.fit(&words, &names).unwrap();
    assert_eq!(map, config.fit(&words, &names).unwrap());
    let mut right = 0;
    for (i, place) in map.places.iter().enumerate() {
        let off = |j: usize| -> f32 {
            let other = map.places[j].iter().zip(place);
            other.map(|(a, b)| (a - b).powi(2)).sum()
        };
        let near = (0..180)
            .filter(|&j| j != i)
            .min_by(|&a, &b| off(a).total_cmp(&off(b)));
        right += usize::from(names[near.unwrap()][..2] == names[i][..2]);
    }
    assert!(right >= 175, "{right} of 180");
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    let words = blocks(12);
    let names: Vec<&str> = words.vocabulary().ids().iter().collect();
    let fit = |config: Tsne, names: &[&str]| config.fit(&words, names);
    let some = Tsne {
        perplexity: 2.0,
        iterations: 20,
    };
    assert!(fit(some.clone(), &names).is_ok());
    assert!(
        fit(
            some.clone(),
            &["nobody", "b0w0", "b1w1", "b2w2", "b3w3", "b4w4", "b5w5"]
        )
        .is_err()
    );
    assert!(
        fit(
            Tsne {
                perplexity: 5.0,
                ..some.clone()
            },
            &names
        )
        .is_err()
    );
    assert!(
        fit(
            Tsne {
                perplexity: f64::NAN,
                ..some.clone()
            },
            &names
        )
        .is_err()
    );
    assert!(
        fit(
            Tsne {
                iterations: 0,
                ..some.clone()
            },
            &names
        )
        .is_err()
    );
    let same = Embeddings::from_vectors((0..9).map(|i| (format!("w{i}"), [1.0, 2.0]))).unwrap();
    let names: Vec<&str> = same.vocabulary().ids().iter().collect();
    let map = some.fit(&same, &names).unwrap();
    assert!(map.places.iter().flatten().all(|v| v.is_finite()));
    let monitor = Monitor::silent();
    monitor.cancel_token().cancel();
    assert!(some.fit_with(&same, &names, &monitor).is_err());
}
