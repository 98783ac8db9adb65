use proptest::prelude::*;

use super::*;

/// A model whose next logits depend only on the last token.
pub(crate) struct Table(pub(crate) Vec<Vec<f32>>);

struct TableState<'a>(&'a Table, usize);

impl LanguageModel for Table {
    fn vocabulary_size(&self) -> usize {
        self.0.len()
    }
    fn context(&self) -> Option<usize> {
        None
    }
    fn start(&self) -> Result<Box<dyn LanguageState + '_>> {
        Ok(Box::new(TableState(self, 0)))
    }
}

impl LanguageState for TableState<'_> {
    fn feed(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.1 += tokens.len();
        Ok(self.0.0[*tokens.last().unwrap() as usize].clone())
    }
    fn position(&self) -> usize {
        self.1
    }
    fn fork<'s>(&self) -> Box<dyn LanguageState + 's>
    where
        Self: 's,
    {
        Box::new(TableState(self.0, self.1))
    }
}

fn one_row(logits: &[f32]) -> Table {
    Table(vec![logits.to_vec(); logits.len()])
}

/// The distribution the sampler should draw from, the slow way: sort, cut, normalise.
fn candidates_reference(sampler: &Sampler, logits: &[f32]) -> Vec<f64> {
    let n = logits.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap().then(a.cmp(&b)));
    let mut out = vec![0.0; n];
    if sampler.temperature == 0.0 {
        out[order[0]] = 1.0;
        return out;
    }
    let weight = |i: usize| (f64::from(logits[i]) / f64::from(sampler.temperature)).exp();
    order.truncate(sampler.top_k.unwrap_or(n));
    if let Some(p) = sampler.typical_p {
        let total: f64 = order.iter().map(|&i| weight(i)).sum();
        let log = |i: usize| (weight(i) / total).ln();
        let entropy: f64 = order.iter().map(|&i| -weight(i) / total * log(i)).sum();
        let mut typical = order.clone();
        typical.sort_by(|&a, &b| {
            (log(a) + entropy)
                .abs()
                .total_cmp(&(log(b) + entropy).abs())
        });
        let (mut reached, mut kept) = (0.0, Vec::new());
        for i in typical {
            if reached < f64::from(p) {
                kept.push(i);
            }
            reached += weight(i) / total;
        }
        order.retain(|i| kept.contains(i));
    }
    let total: f64 = order.iter().map(|&i| weight(i)).sum();
    let (mut reached, best) = (0.0, weight(order[0]));
    for i in order {
        if sampler.top_p.is_some_and(|p| reached >= f64::from(p)) {
            break;
        }
        reached += weight(i) / total;
        if sampler
            .min_p
            .is_none_or(|p| weight(i) >= f64::from(p) * best)
        {
            out[i] = weight(i);
        }
    }
    let sum: f64 = out.iter().sum();
    out.iter_mut().for_each(|x| *x /= sum);
    out
}

proptest! {
    #[test]
    fn candidates_agree_with_the_reference(
        logits in proptest::collection::vec(-6i32..6, 1..20),
        temperature in prop_oneof![Just(0.0f32), 0.2f32..3.0],
        top_k in proptest::option::of(1usize..25),
        top_p in proptest::option::of(0.05f32..1.0),
        min_p in proptest::option::of(0.001f32..1.0),
        typical_p in proptest::option::of(0.05f32..1.0),
    ) {
        // Steps of a half: many ties, and no sums that fall a rounding error apart.
        let logits: Vec<f32> = logits.iter().map(|&x| x as f32 / 2.0).collect();
        let sampler = Sampler { temperature, top_k, top_p, min_p, typical_p, ..Sampler::default() };
        let mut got = vec![0.0; logits.len()];
        for (token, probability) in sampler.candidates(&logits) {
            got[token as usize] = probability;
        }
        let expected = candidates_reference(&sampler, &logits);
        for (a, b) in got.iter().zip(&expected) {
            prop_assert!((a - b).abs() < 1e-9, "{:?} {:?}", got, expected);
        }
    }
}

#[test]
fn draws_follow_the_distribution() {
    let logits = [1.0f32, 0.0, -1.0, 2.0, 0.5];
    let model = one_row(&logits);
    for sampler in [
        Sampler {
            max_tokens: 20_000,
            ..Sampler::default()
        },
        Sampler {
            max_tokens: 20_000,
            temperature: 0.5,
            top_k: Some(3),
            ..Sampler::default()
        },
        Sampler {
            max_tokens: 20_000,
            top_p: Some(0.8),
            seed: 3,
            ..Sampler::default()
        },
    ] {
        let generated = sampler.generate(&model, &[0]).unwrap();
        assert_eq!(
            (generated.tokens.len(), generated.finish),
            (20_000, Finish::Length)
        );
        let expected = candidates_reference(&sampler, &logits);
        for (token, &p) in expected.iter().enumerate() {
            let count = generated
                .tokens
                .iter()
                .filter(|&&t| t as usize == token)
                .count();
            let share = count as f64 / 20_000.0;
            // Five standard deviations.
            let tolerance = 5.0 * (p * (1.0 - p) / 20_000.0).sqrt();
            assert!(
                (share - p).abs() <= tolerance,
                "token {token}: {share} for {p}"
            );
        }
        // The log-probabilities are the model's own.
        let sum: f32 = logits.iter().map(|x| x.exp()).sum();
        for (&t, &l) in generated.tokens.iter().zip(&generated.log_probabilities) {
            assert!((l - (logits[t as usize].exp() / sum).ln()).abs() < 1e-5);
        }
    }
}

#[test]
fn greedy_stop_and_penalty() {
    // 0 → 1 → 2 → 0 …
    let next = |i: usize| {
        (0..3)
            .map(|j| if j == (i + 1) % 3 { 3.0 } else { -1.0 })
            .collect()
    };
    let model = Table((0..3).map(next).collect());
    let greedy = Sampler {
        temperature: 0.0,
        max_tokens: 7,
        ..Sampler::default()
    };
    assert_eq!(
        greedy.generate(&model, &[0]).unwrap().tokens,
        [1, 2, 0, 1, 2, 0, 1]
    );
    let stopping = Sampler {
        stop: vec![0],
        ..greedy.clone()
    };
    let generated = stopping.generate(&model, &[0]).unwrap();
    assert_eq!(
        (generated.tokens.as_slice(), generated.finish),
        ([1, 2, 0].as_slice(), Finish::Stop)
    );
    assert!(
        Sampler {
            max_tokens: 0,
            ..greedy.clone()
        }
        .generate(&model, &[0])
        .unwrap()
        .tokens
        .is_empty()
    );

    // 3 / 4 stays above -1 · 4: a penalty alone never makes the impossible likely …
    let penalised = Sampler {
        repetition_penalty: 4.0,
        ..greedy.clone()
    };
    assert_eq!(
        penalised.generate(&model, &[0]).unwrap().tokens[..3],
        [1, 2, 0]
    );
    // … and it turns a close race.
    let model = one_row(&[1.0, 0.9]);
    let penalised = Sampler {
        repetition_penalty: 1.3,
        repetition_window: Some(1),
        ..greedy
    };
    assert_eq!(
        penalised.generate(&model, &[0]).unwrap().tokens,
        [1, 0, 1, 0, 1, 0, 1]
    );
}

#[test]
fn biases_and_penalties_change_the_logits() {
    let sampler = Sampler {
        presence_penalty: 0.5,
        frequency_penalty: 0.25,
        repetition_penalty: 2.0,
        logit_bias: vec![(0, 1.0), (3, f32::NEG_INFINITY), (1, -1.0)],
        ..Sampler::default()
    };
    let mut logits = [1.0, 3.0, -1.0, 9.0, 4.0];
    sampler.penalise(&[1, 2, 1, 1], &mut logits);
    // (3 − 1) / 2 − .5 − 3 · .25, −1 · 2 − .5 − .25
    assert_eq!(logits, [2.0, -0.25, -2.75, f32::NEG_INFINITY, 4.0]);
    let windowed = Sampler {
        repetition_window: Some(1),
        logit_bias: Vec::new(),
        ..sampler
    };
    let mut logits = [1.0, 3.0, -1.0, 9.0, 4.0];
    windowed.penalise(&[2, 1, 1], &mut logits);
    assert_eq!(logits, [1.0, 0.75, -1.0, 9.0, 4.0]);
}

#[test]
fn alternatives_batches_prompts_and_the_best_of_many() {
    let logits = [0.3f32, 0.1, 0.2, 0.0];
    let model = one_row(&logits);
    let sampler = Sampler {
        max_tokens: 12,
        alternatives: 2,
        stop_sequences: vec![vec![3, 3], vec![]],
        ..Sampler::default()
    };
    let sum: f32 = logits.iter().map(|x| x.exp()).sum();
    let text = sampler.generate(&model, &[3]).unwrap();
    for told in &text.alternatives {
        assert_eq!((told.len(), told[0].0, told[1].0), (2, 0, 2));
        assert!((told[1].1 - (0.2f32.exp() / sum).ln()).abs() < 1e-6);
    }
    let many = sampler.generate_many(&model, &[0], 40).unwrap();
    for text in &many {
        let end = text.tokens.windows(2).position(|pair| pair == [3, 3]);
        assert_eq!(end.is_some(), text.finish == Finish::Stop);
        assert!(end.is_none_or(|at| at + 2 == text.tokens.len()));
    }
    assert!(many.iter().any(|text| text.finish == Finish::Stop));
    let best = sampler.best_of(&model, &[0], 40).unwrap();
    let highest = many.iter().map(Generated::mean_log_probability);
    assert_eq!(
        best.mean_log_probability(),
        highest.reduce(f32::max).unwrap()
    );
    assert!(sampler.best_of(&model, &[0], 0).is_err());

    let prompts = [vec![0], vec![1, 2, 3], vec![2]];
    let batch = sampler.generate_batch(&model, &prompts).unwrap();
    for (prompt, text) in prompts.iter().zip(batch) {
        assert_eq!(text, sampler.generate(&model, prompt).unwrap());
    }
    assert!(sampler.generate_batch(&model, &[vec![0], vec![9]]).is_err());

    let mut prompt = Prompt::read(&model, &[1]).unwrap();
    prompt.push(&[2, 3]).unwrap();
    assert!(prompt.push(&[4]).is_err());
    assert_eq!(prompt.tokens(), [1, 2, 3]);
    for _ in 0..2 {
        let text = sampler.continue_prompt(&prompt).unwrap().finish().unwrap();
        assert_eq!(text, sampler.generate(&model, &[1, 2, 3]).unwrap());
    }
}

#[test]
fn seeds_streams_and_filters() {
    let model = one_row(&[0.3, 0.1, 0.2, 0.0]);
    let sampler = Sampler {
        max_tokens: 30,
        seed: 5,
        ..Sampler::default()
    };
    let one = sampler.generate(&model, &[0]).unwrap();
    assert_eq!(one, sampler.generate(&model, &[0]).unwrap());
    assert_ne!(
        one,
        Sampler {
            seed: 6,
            ..sampler.clone()
        }
        .generate(&model, &[0])
        .unwrap()
    );
    let many = sampler.generate_many(&model, &[0], 3).unwrap();
    assert_eq!(many[0], one);
    assert_ne!(many[1], many[2]);
    let streamed: Vec<u32> = sampler
        .stream(&model, &[0])
        .unwrap()
        .map(|t| t.unwrap().token)
        .collect();
    assert_eq!(streamed, one.tokens);

    let mut seen = 0;
    let filtered = sampler
        .generate_with(&model, &[0, 1], |text, logits| {
            seen = text.len();
            logits[text.len() % 4] = f32::NEG_INFINITY;
        })
        .unwrap();
    for (i, &token) in filtered.tokens.iter().enumerate() {
        assert_ne!(token as usize, (i + 2) % 4);
    }
    assert_eq!(seen, 31);
    let none = sampler.generate_with(&model, &[0], |_, logits| logits.fill(f32::NEG_INFINITY));
    assert_eq!(
        none.unwrap_err().to_string(),
        "position 1: every token has been ruled out"
    );
}

#[test]
fn impossible_settings_are_refused() {
    let model = one_row(&[0.0, 1.0]);
    let default = Sampler::default;
    for (sampler, word) in [
        (
            Sampler {
                temperature: -1.0,
                ..default()
            },
            "temperature",
        ),
        (
            Sampler {
                temperature: f32::NAN,
                ..default()
            },
            "temperature",
        ),
        (
            Sampler {
                top_k: Some(0),
                ..default()
            },
            "top_k",
        ),
        (
            Sampler {
                top_p: Some(0.0),
                ..default()
            },
            "top_p",
        ),
        (
            Sampler {
                top_p: Some(1.5),
                ..default()
            },
            "top_p",
        ),
        (
            Sampler {
                repetition_penalty: 0.0,
                ..default()
            },
            "repetition_penalty",
        ),
        (
            Sampler {
                min_p: Some(f32::NAN),
                ..default()
            },
            "min_p",
        ),
        (
            Sampler {
                typical_p: Some(2.0),
                ..default()
            },
            "typical_p",
        ),
        (
            Sampler {
                presence_penalty: f32::INFINITY,
                ..default()
            },
            "presence_penalty",
        ),
        (
            Sampler {
                frequency_penalty: f32::NAN,
                ..default()
            },
            "frequency_penalty",
        ),
        (
            Sampler {
                logit_bias: vec![(0, f32::NAN)],
                ..default()
            },
            "logit_bias",
        ),
        (
            Sampler {
                logit_bias: vec![(2, 0.0)],
                ..default()
            },
            "logit_bias",
        ),
    ] {
        let error = sampler.generate(&model, &[0]).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert!(default().generate(&model, &[]).is_err());
    assert!(default().generate(&model, &[2]).is_err());
    // NaN logits are never drawn.
    let model = one_row(&[f32::NAN, 1.0, f32::NAN]);
    let generated = Sampler {
        max_tokens: 50,
        ..default()
    }
    .generate(&model, &[1])
    .unwrap();
    assert!(generated.tokens.iter().all(|&t| t == 1));
}

#[test]
fn a_full_context_ends_the_text_where_that_is_asked_for() {
    let config = crate::TransformerConfig {
        layers: 1,
        heads: 1,
        width: 8,
        context: 12,
        ..Default::default()
    };
    let names = crate::Vocabulary::numbered(9).unwrap();
    let device = refrain_core::device("cpu").unwrap();
    let model = crate::Transformer::new(&config, names, 3, &device).unwrap();
    let sampler = Sampler {
        max_tokens: 30,
        when_full: WhenFull::Stop,
        ..Sampler::default()
    };
    let slide = Sampler {
        when_full: WhenFull::Slide,
        ..sampler.clone()
    };
    for prompt in [1, 7, 11, 12, 20] {
        let prompt = vec![2; prompt];
        let text = sampler.generate(&model, &prompt).unwrap();
        assert_eq!(text.tokens.len(), 12_usize.saturating_sub(prompt.len()));
        assert_eq!(text.finish, Finish::Context);
        let (guessed, _) = sampler
            .generate_with_draft(&model, &model, &prompt, 4)
            .unwrap();
        assert_eq!(guessed, text);
        let longer = slide.generate(&model, &prompt).unwrap();
        assert_eq!((longer.tokens.len(), longer.finish), (30, Finish::Length));
        assert_eq!(longer.tokens[..text.tokens.len()], text.tokens);
    }
    // Another reason that comes first is told.
    let short = Sampler {
        max_tokens: 3,
        ..sampler.clone()
    };
    assert_eq!(short.generate(&model, &[2]).unwrap().finish, Finish::Length);
    // A model without a context has none to fill.
    let table = Table(vec![vec![0.0; 3]; 3]);
    let text = sampler.generate(&table, &[0]).unwrap();
    assert_eq!((text.tokens.len(), text.finish), (30, Finish::Length));
}
