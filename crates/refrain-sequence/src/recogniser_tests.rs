use super::*;

fn model(stack: usize) -> Recogniser {
    let config = RecogniserConfig {
        frame: 3,
        stack,
        hidden: 5,
        layers: 2,
        ..RecogniserConfig::default()
    };
    let device = refrain_core::device("cpu").unwrap();
    Recogniser::new(&config, ["a", "b"], &device).unwrap()
}

fn frames(count: usize) -> Vec<f32> {
    (0..3 * count)
        .map(|i| ((i * i) as f32 * 0.7).sin())
        .collect()
}

/// What stands beside a recording in its batch changes nothing.
#[test]
fn a_recording_alone_is_heard_as_in_a_batch() {
    let model = model(2);
    let recordings = [frames(9), frames(1), frames(30), frames(14)];
    let all: Vec<&[f32]> = recordings.iter().map(Vec::as_slice).collect();
    let together = model.recognise(&all).unwrap();
    for (recording, together) in all.iter().zip(&together) {
        let alone = &model.recognise(&[recording]).unwrap()[0];
        assert_eq!(alone.0, together.0);
        assert!(
            (alone.1 - together.1).abs() < 1e-4,
            "{alone:?} {together:?}"
        );
    }
}

/// Louder by a factor is a constant on the logarithm: it must not matter.
#[test]
fn each_value_has_mean_0_and_deviation_1() {
    let model = model(1);
    let heard = model.listen(&frames(40)).unwrap();
    for band in 0..3 {
        let own = || heard.values.iter().skip(band).step_by(3);
        let mean = own().sum::<f32>() / 40.0;
        let square = own().map(|x| x * x).sum::<f32>() / 40.0;
        assert!(
            mean.abs() < 1e-5 && (square - 1.0).abs() < 1e-2,
            "{mean} {square}"
        );
    }
    let louder: Vec<f32> = frames(40).iter().map(|x| x + 3.0).collect();
    let louder = model.listen(&louder).unwrap();
    for (a, b) in heard.values.iter().zip(&louder.values) {
        assert!((a - b).abs() < 1e-4);
    }
}

#[test]
fn all_values_together_keep_the_spectrum() {
    let config = RecogniserConfig {
        each_band: false,
        ..model(1).config().clone()
    };
    let device = refrain_core::device("cpu").unwrap();
    let model = Recogniser::new(&config, ["a", "b"], &device).unwrap();
    // The first band is always twice as loud as the second, by the logarithm.
    let frames: Vec<f32> = (0..30)
        .flat_map(|i| [i as f32, i as f32 - 2.0, 0.0])
        .collect();
    let heard = model.listen(&frames).unwrap().values;
    let mean = heard.iter().sum::<f32>() / 90.0;
    let square = heard.iter().map(|x| x * x).sum::<f32>() / 90.0;
    assert!(mean.abs() < 1e-5 && (square - 1.0).abs() < 1e-2);
    let apart = heard[0] - heard[1];
    assert!(apart > 0.1);
    for frame in heard.chunks_exact(3) {
        assert!((frame[0] - frame[1] - apart).abs() < 1e-4);
    }
}

/// Masks are stretches of whole bands and whole steps, at most as wide as told, the same for the
/// same draw, and more than none.
#[test]
fn masks_hide_stretches_of_bands_and_of_steps() {
    let config = RecogniserConfig {
        frame: 20,
        stack: 2,
        hidden: 4,
        masks: 1,
        ..RecogniserConfig::default()
    };
    let device = refrain_core::device("cpu").unwrap();
    let model = Recogniser::new(&config, ["a"], &device).unwrap();
    let mut all_hidden = 0;
    for number in 0..50 {
        let mut values = vec![1.0f32; 24 * 40];
        model.mask(&mut values, rng::stream(3, number));
        let shown: Vec<bool> = values.iter().map(|&x| x == 1.0).collect();
        let steps: Vec<usize> = (0..24)
            .filter(|s| shown[s * 40..(s + 1) * 40].iter().all(|x| !x))
            .collect();
        let bands: Vec<usize> = (0..20)
            .filter(|b| shown.iter().skip(*b).step_by(20).all(|x| !x))
            .collect();
        for (hidden, most) in [(&steps, 3), (&bands, 5)] {
            assert!(hidden.len() <= most);
            assert!(hidden.windows(2).all(|pair| pair[1] == pair[0] + 1));
        }
        for (i, shown) in shown.iter().enumerate() {
            let hidden = steps.contains(&(i / 40)) || bands.contains(&(i % 20));
            assert_eq!(*shown, !hidden);
        }
        all_hidden += steps.len() + bands.len();
        let mut again = vec![1.0f32; 24 * 40];
        model.mask(&mut again, rng::stream(3, number));
        assert_eq!(values, again);
    }
    assert!(all_hidden > 100, "{all_hidden}"); // 200 are expected
    model.mask(&mut [], rng::stream(3, 0)); // nothing to hide
}

#[test]
fn models_come_back_from_their_files() {
    let own = model(2);
    let bytes = own.to_bytes().unwrap();
    let device = refrain_core::device("cpu").unwrap();
    let read = Recogniser::from_bytes(bytes.clone(), &device).unwrap();
    let recording = frames(12);
    let heard = own.recognise(&[&recording]).unwrap();
    assert_eq!(read.recognise(&[&recording]).unwrap(), heard);
    for cut in (0..bytes.len()).step_by(101) {
        assert!(Recogniser::from_bytes(bytes[..cut].to_vec(), &device).is_err());
    }
    for config in [
        RecogniserConfig {
            hidden: 16_384,
            ..own.config().clone()
        },
        RecogniserConfig {
            layers: 16_000,
            ..own.config().clone()
        },
    ] {
        let tables = [("labels", &*own.labels)];
        let bytes = file::write(KIND, &config, &tables, &own, |f| Ok(f.to_bytes()?));
        assert!(Recogniser::from_bytes(bytes.unwrap(), &device).is_err());
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let model = model(2);
    let none: [&str; 0] = [];
    assert!(model.example(&frames(4), &["a", "b"]).is_ok());
    let error = model.example(&frames(4), &["a", "a"]).unwrap_err();
    let expected = "steps of a recording for its labels: needs at least 3, found 2";
    assert_eq!(error.to_string(), expected);
    assert!(model.example(&frames(4), &["c"]).is_err());
    assert!(model.example(&[0.0; 4], &none).is_err());
    assert!(model.example(&[], &none).is_err());
    assert!(model.example(&[f32::NAN; 3], &none).is_err());
    let device = refrain_core::device("cpu").unwrap();
    assert!(Recogniser::new(model.config(), ["a", "a"], &device).is_err());
    assert!(Recogniser::new(model.config(), none, &device).is_err());
}
