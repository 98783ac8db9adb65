//! Noise through the constraint must come out as tunes that add up.

use rand::RngExt;
use refrain_core::rng;

use super::*;
use crate::{Metre, Rhythm};

/// A model that knows nothing: any allowed token, pitches and bar lines a little likelier.
fn wander(header: &[u32], form: Option<Form>, seed: u64) -> Vec<u32> {
    let mut random = rng::stream(seed, 0);
    let mut ids = header.to_vec();
    let mut constraint = Constraint::new(header, form).unwrap();
    while !constraint.is_done() && ids.len() < 1500 {
        let allowed = constraint.allowed();
        let choices: Vec<u32> = (0..allowed.len() as u32)
            .filter(|id| allowed[*id as usize])
            .collect();
        assert!(
            !choices.is_empty(),
            "dead end: {}",
            Tokenizer::default().text(&ids)
        );
        let ending = allowed[Tokenizer::END as usize] && random.random::<f32>() < 0.5;
        let pick = choices[random.random_range(0..choices.len())];
        let id = if ending { Tokenizer::END } else { pick };
        constraint.push(id).unwrap();
        ids.push(id);
    }
    ids
}

#[test]
fn even_noise_makes_strictly_valid_tunes() {
    let t = Tokenizer::default();
    let mut finished = 0;
    for seed in 0..80 {
        let (rhythm, metre, unit) = [
            (Rhythm::Jig, Metre::Time(6, 8), 8),
            (Rhythm::Reel, Metre::Cut, 8),
            (Rhythm::Hornpipe, Metre::Time(2, 4), 16),
            (Rhythm::SlipJig, Metre::Time(9, 8), 8),
        ][seed as usize % 4];
        let header = t
            .header(rhythm, metre, Fraction::new(1, unit), "G".parse().unwrap())
            .unwrap();
        let form = (seed % 5 > 0).then(|| Form {
            sections: 1 + seed as usize % 3,
            bars: 4,
            longer: 1 + seed as usize % 2,
        });
        let ids = wander(&header, form, seed);
        if ids.last() != Some(&Tokenizer::END) {
            continue;
        }
        finished += 1;
        let tune = t.decode(&ids).unwrap();
        let lenient = crate::Validator {
            in_key: 0.0,
            ..crate::Validator::default()
        };
        let report = lenient.check(&tune);
        let ok = report.is_strict()
            && report
                .issues
                .iter()
                .all(|i| !matches!(i, crate::Issue::Tie { .. }));
        assert!(ok, "{:?}\n{}\n{}", report, t.text(&ids), tune.to_abc());
        assert_eq!(Tokenizer::default().encode(&tune).unwrap(), ids);
        if let Some(form) = form {
            let bars = tune.measures().iter().filter(|m| m.is_full()).count();
            assert!(
                bars + 2 * form.sections >= form.sections * form.bars,
                "{}",
                tune.to_abc()
            );
        }
    }
    assert!(finished > 60, "{finished}");
}

#[test]
fn refused_tokens_leave_the_state() {
    let t = Tokenizer::default();
    let header = t
        .header(
            Rhythm::Reel,
            Metre::Cut,
            Fraction::new(1, 8),
            "G".parse().unwrap(),
        )
        .unwrap();
    let mut c = Constraint::new(&header, None).unwrap();
    assert!(c.push(Tokenizer::END).is_err());
    assert!(c.push(9999).is_err());
    c.push(t.id("G").unwrap()).unwrap();
    let mut logits = vec![0.0; t.size()];
    c.mask(&mut logits);
    assert_eq!(logits[t.id("2").unwrap() as usize], 0.0);
    assert_eq!(logits[t.id("16").unwrap() as usize], f32::NEG_INFINITY);
}

#[test]
fn bad_headers_and_forms() {
    let t = Tokenizer::default();
    assert!(Constraint::new(&[t.id("G").unwrap()], None).is_err());
    assert!(Constraint::new(&[1], None).is_err());
    let header = t
        .header(
            Rhythm::Reel,
            Metre::Cut,
            Fraction::new(1, 8),
            "G".parse().unwrap(),
        )
        .unwrap();
    assert!(
        Constraint::new(
            &header,
            Some(Form {
                sections: 0,
                bars: 8,
                longer: 1
            })
        )
        .is_err()
    );
}
