use super::low_rank::LowRankTask;
use super::tests::{Bag, Bags, bags, trainer};
use super::*;
use crate::train::tests::unplugged_at;
use crate::{Keep, Lora, LowRank};

const LORA: Lora = Lora {
    rank: 2,
    alpha: 3.0,
};

fn task<'a>(module: &Bags, examples: &'a [Bag]) -> LowRankTask<'a, Bags, [Bag]> {
    let inner =
        ModuleTask::new(&trainer(), module, examples, examples, &Monitor::silent()).unwrap();
    LowRankTask::new(&trainer(), inner, LORA).unwrap()
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let (bags, module) = (bags(8), Bags::new());
    let mut task = task(&module, &bags);
    // B begins as zeros, and then A has no gradient: somewhere else.
    for (i, w) in task.change.parameters.weights.iter_mut().enumerate() {
        *w += 0.3 * ((i * 37 % 11) as f32 / 11.0 - 0.5);
    }
    task.apply().unwrap();
    let weights = task.change.parameters.weights.clone();
    // A head of 8 × 2: A of 2 × 2, B of 8 × 2. The embedding has none.
    assert_eq!(weights.len(), 2 * (8 + 2));
    let all: Vec<&Bag> = bags.iter().collect();
    let loss = task.inner.module.loss(&all, &Learning::default()).unwrap();
    let own = GradientsParams::from_grads(loss.backward(), &task.inner.module);
    task.inner.gradients.accumulate(&task.inner.module, own);
    let gradient = task.take_gradient().unwrap();
    assert!(gradient.iter().any(|g| g.abs() > 0.1));
    for i in 0..weights.len() {
        let mut at = |change: f32| {
            task.change.parameters.weights[i] = weights[i] + change;
            task.apply().unwrap();
            task.change.parameters.weights[i] = weights[i];
            let module = task.inner.module.valid();
            let loss = module.loss(&all, &Learning::default()).unwrap();
            loss.try_into_scalar::<f32>().unwrap()
        };
        let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
        assert!(
            (gradient[i] - slope).abs() < 2e-3 + 0.01 * slope.abs(),
            "{i}: {} {slope}",
            gradient[i]
        );
    }
}

#[test]
fn a_change_of_a_module_is_merged_and_the_given_one_stays() {
    let (bags, module) = (bags(64), Bags::new());
    let (training, validation) = bags.split_at(48);
    let before = adamw::read(&module).unwrap();
    let trainer = Trainer {
        steps: 60,
        keep: Keep::Last,
        ..trainer()
    };
    let trained = trainer
        .fit_module_low_rank(&module, training, validation, &LORA)
        .unwrap();
    assert_eq!(adamw::read(&module).unwrap(), before);
    let merged = trained.model.merge_module(&module).unwrap();
    // The merged module is the one that was judged last.
    let all: Vec<&Bag> = validation.iter().collect();
    let of = |module: &Bags| {
        let loss = module.loss(&all, &Learning::default()).unwrap();
        loss.try_into_scalar::<f32>().unwrap() / all.len() as f32
    };
    let judged = trained.curve.validation.last().unwrap().loss;
    assert!((of(&merged) - judged).abs() < 1e-5);
    assert!(of(&merged) < of(&module) - 0.1, "{judged} {}", of(&module));
    // The head's matrix alone has changed, by something of rank 2.
    let after = adamw::read(&merged).unwrap();
    for entry in entries(&module).list {
        let same = before[entry.range.clone()] == after[entry.range.clone()];
        assert_eq!(same, entry.name != "head.weight", "{}", entry.name);
    }
    let zero = Lora { rank: 0, ..LORA };
    let error = trainer.fit_module_low_rank(&module, training, validation, &zero);
    assert!(error.unwrap_err().to_string().contains("Lora.rank"));
}

#[test]
fn resuming_a_change_is_the_same_as_not_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("change.refrain");
    let (bags, module) = (bags(50), Bags::new());
    let (training, validation) = bags.split_at(40);
    let trainer = Trainer {
        accumulate: 2,
        average: Some(0.9),
        ..trainer()
    };
    let unbroken = trainer
        .fit_module_low_rank(&module, training, validation, &LORA)
        .unwrap();
    let saving = Trainer {
        checkpoint: Some(path.clone()),
        checkpoint_every: 7,
        ..trainer.clone()
    };
    let monitor = unplugged_at(17);
    saving
        .fit_module_low_rank_with(&module, training, validation, &LORA, &monitor)
        .unwrap_err();
    let resume_of = |module: &Bags, lora: &Lora| {
        let monitor = Monitor::silent();
        saving.resume_module_low_rank_with(&path, module, training, validation, lora, &monitor)
    };
    let resume = |lora: &Lora| resume_of(&module, lora);
    // Another base, by one value of the smallest difference.
    let mut values = adamw::read(&module).unwrap();
    values[5] = values[5].next_up();
    let other = resume_of(&with_weights(module.clone(), &values), &LORA).unwrap_err();
    assert!(other.to_string().contains("of another model"), "{other}");
    let resumed = resume(&LORA).unwrap();
    assert_eq!(resumed.curve, unbroken.curve);
    assert_eq!(resumed.model, unbroken.model);
    let other = Lora { alpha: 1.0, ..LORA };
    assert!(resume(&other).unwrap_err().to_string().contains("another"));
    let kept = Trained::from_low_rank_checkpoint(&path).unwrap();
    assert_eq!(
        (kept.model, kept.curve),
        (resumed.model.clone(), resumed.curve)
    );
    // To a file and back.
    resumed.model.save(&path).unwrap();
    assert_eq!(LowRank::load(&path).unwrap(), resumed.model);
}

#[test]
fn a_translator_is_adapted() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/marian");
    let device = refrain_core::device("cpu").unwrap();
    let model = crate::EncoderDecoder::load(folder, &device).unwrap();
    let end = model.config().end;
    let pairs: Vec<crate::Pair> = (0..8)
        .map(|i| crate::Pair {
            source: vec![3 + i % 4, 5, end],
            target: vec![4 + i % 4, 6, end],
        })
        .collect();
    let trainer = Trainer {
        keep: Keep::Last,
        ..trainer()
    };
    let module = model.module(&device);
    let trained = trainer
        .fit_module_low_rank(&module, &pairs, &pairs, &LORA)
        .unwrap();
    let merged = trained.model.merge_module(&module).unwrap();
    let merged = crate::EncoderDecoder::from_module(&merged, &device).unwrap();
    let (before, after) = (model.loss(&pairs).unwrap(), merged.loss(&pairs).unwrap());
    let judged = f64::from(trained.curve.validation.last().unwrap().loss);
    assert!((after - judged).abs() < 1e-4, "{after} {judged}");
    assert!(after < before - 0.5, "{after} {before}");
}
