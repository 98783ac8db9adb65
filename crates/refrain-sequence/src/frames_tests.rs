use super::*;
use crate::Trainer;

fn device() -> Device {
    refrain_core::device("cpu").unwrap()
}

fn small(cell: Cell) -> FrameModel {
    let config = FrameConfig {
        keys: 3,
        cell,
        layers: 2,
        hidden: 4,
        dropout: 0.3,
    };
    FrameModel::new(&config, 5, &device()).unwrap()
}

#[test]
fn the_loss_is_that_of_the_published_formula_whatever_is_padded() {
    for cell in [Cell::Elman, Cell::Gru, Cell::Lstm] {
        let model = small(cell);
        let pieces = [
            Frames(vec![vec![0, 2], vec![], vec![1], vec![0, 1, 2]]),
            Frames(vec![vec![1], vec![2]]),
            Frames(vec![vec![1]]), // nothing to foretell
        ];
        // -ln p, frame by frame and key by key, in double precision.
        let (mut sum, mut count) = (0.0, 0);
        for piece in &pieces {
            for t in 1..piece.0.len() {
                let (logits, _) = model.read(&piece.0[..t], None).unwrap();
                for (key, &z) in (0..).zip(&logits) {
                    let p = 1.0 / (1.0 + (-f64::from(z)).exp());
                    let sounds = piece.0[t].contains(&key);
                    sum -= if sounds { p } else { 1.0 - p }.ln();
                }
                count += 1;
            }
        }
        let loss = model.loss_per_frame(&pieces).unwrap();
        assert!((loss - sum / f64::from(count)).abs() < 1e-5, "{loss}");
        let batch: Vec<&Frames> = pieces[..2].iter().collect();
        let together = model.loss(&batch, &Learning::default()).unwrap();
        let together = f64::from(together.into_scalar::<f32>());
        assert!((together - sum).abs() < 1e-4, "{together} for {sum}");
        let nothing = model.loss(&[&pieces[2], &pieces[2]], &Learning::default());
        assert_eq!(nothing.unwrap().into_scalar::<f32>(), 0.0);
        let smoothed = Learning {
            label_smoothing: 0.1,
            ..Learning::default()
        };
        let told = model.loss(&batch, &smoothed).unwrap_err().to_string();
        assert!(told.contains("Trainer.label_smoothing is 0.1"), "{told}");
    }
}

#[test]
fn it_learns_a_round_and_continues_it() {
    let round = |from: usize| {
        let chords = [vec![0, 4, 7], vec![2, 5, 9], vec![7, 11]];
        Frames((from..from + 14).map(|t| chords[t % 3].clone()).collect())
    };
    let config = FrameConfig {
        keys: 12,
        cell: Cell::Gru,
        hidden: 16,
        dropout: 0.1,
        ..FrameConfig::default()
    };
    let model = FrameModel::new(&config, 1, &device()).unwrap();
    let trainer = Trainer {
        steps: 120,
        batch: 3,
        learning_rate: 3e-2,
        warm_up: 5,
        ..Trainer::default()
    };
    let pieces = [round(0), round(1), round(2)];
    let before = model.loss_per_frame(&pieces).unwrap();
    let trained = trainer.fit_module(&model, &pieces, &pieces).unwrap();
    let after = trained.model.loss_per_frame(&pieces).unwrap();
    assert!(after < before / 20.0, "{before} {after}");
    assert!((f64::from(trained.curve.best().unwrap().loss) - after).abs() < 1e-4);
    let written = trained.model.generate(&round(0), 5, 0.2, 3).unwrap();
    assert_eq!(written, round(2).0[..5]);
    let again = trained.model.generate(&round(0), 5, 0.2, 3).unwrap();
    assert_eq!(written, again);
}

#[test]
fn what_cannot_be_is_refused() {
    let model = small(Cell::Lstm);
    let outside = Frames(vec![vec![0], vec![3]]);
    let error = model
        .loss_per_frame(std::slice::from_ref(&outside))
        .unwrap_err();
    assert!(error.to_string().contains("token 3"), "{error}");
    assert!(model.generate(&outside, 1, 1.0, 0).is_err());
    assert!(model.loss_per_frame(&[]).is_err());
    assert!(model.loss_per_frame(&[Frames(vec![vec![0]])]).is_err());
    assert!(model.generate(&Frames::default(), 1, 1.0, 0).is_err());
    for temperature in [0.0, -1.0, f32::NAN] {
        assert!(
            model
                .generate(&Frames(vec![vec![]]), 1, temperature, 0)
                .is_err()
        );
    }
    for config in [
        FrameConfig {
            keys: 0,
            ..FrameConfig::default()
        },
        FrameConfig {
            hidden: 0,
            ..FrameConfig::default()
        },
        FrameConfig {
            dropout: 1.0,
            ..FrameConfig::default()
        },
    ] {
        assert!(FrameModel::new(&config, 0, &device()).is_err());
    }
    assert_eq!(Frames(vec![vec![]]).range(), None);
    assert_eq!(outside.range(), Some((0, 3)));
    assert_eq!(Frames(vec![vec![u32::MAX]]).transposed(1), None);
}

#[test]
fn a_saved_model_comes_back_and_damage_is_an_error() {
    let own = small(Cell::Gru);
    let bytes = own.to_bytes().unwrap();
    let back = FrameModel::from_bytes(bytes.clone(), &device()).unwrap();
    let piece = Frames(vec![vec![0, 2], vec![], vec![1]]);
    assert_eq!(
        own.read(&piece.0, None).unwrap().0,
        back.read(&piece.0, None).unwrap().0
    );
    assert_eq!(back.config(), own.config());
    for cut in (0..bytes.len()).step_by(7) {
        assert!(FrameModel::from_bytes(bytes[..cut].to_vec(), &device()).is_err());
    }
    // A config that claims more than the file holds.
    for config in [
        FrameConfig {
            hidden: 1 << 19,
            ..own.config.clone()
        },
        FrameConfig {
            layers: 1 << 19,
            ..own.config.clone()
        },
        FrameConfig {
            keys: 4096,
            ..own.config.clone()
        },
    ] {
        let bytes = file::write(KIND, &config, &[], &own, |f| Ok(f.to_bytes()?)).unwrap();
        assert!(
            FrameModel::from_bytes(bytes, &device()).is_err(),
            "{config:?}"
        );
    }
}
