use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::Int;
use burn::tensor::activation::log_softmax;
use proptest::prelude::*;

use super::*;
use crate::train::tests::unplugged_at;
use crate::{JsonLines, Keep, Lora, Schedule};

fn cpu() -> Device {
    refrain_core::device("flex").unwrap()
}

/// Bags of words with a class.
pub(super) type Bag = (Vec<u32>, u32);

#[derive(Module, Debug)]
pub(super) struct Bags {
    words: Embedding,
    head: Linear,
}

impl Bags {
    pub(super) fn new() -> Self {
        // The same numbers in every run of the tests.
        let drawn = Self {
            words: EmbeddingConfig::new(12, 8).init(&cpu()),
            head: LinearConfig::new(8, 2).init(&cpu()),
        };
        crate::sentence::seeded(drawn, 1)
    }

    fn scores(&self, batch: &[&Bag], learning: &Learning<'_>) -> Tensor<2> {
        let plain = self.head.weight.val().device().inner();
        let longest = batch.iter().map(|b| b.0.len()).max().unwrap();
        let mut words = Vec::new();
        let mut weights = Vec::new();
        for (bag, _) in batch {
            words.extend(bag.iter().map(|&w| w as i32));
            words.resize(words.len() + longest - bag.len(), 0);
            weights.extend(bag.iter().map(|_| 1.0 / bag.len() as f32));
            weights.resize(weights.len() + longest - bag.len(), 0.0);
        }
        let shape = [batch.len(), longest];
        let words = Tensor::<2, Int>::from_data(TensorData::new(words, shape), &plain);
        let weights =
            Tensor::<3>::from_data(TensorData::new(weights, [batch.len(), longest, 1]), &plain);
        let mean = (self.words.forward(words) * weights)
            .sum_dim(1)
            .squeeze_dim(1);
        self.head.forward(learning.drop(mean, 0.2, 0))
    }
}

impl Learner for Bags {
    type Example = Bag;

    fn length(example: &Bag) -> usize {
        example.0.len()
    }

    fn targets(_: &Bag) -> usize {
        1
    }

    fn loss(&self, batch: &[&Bag], learning: &Learning<'_>) -> Result<Tensor<1>> {
        if let Some((_, class)) = batch.iter().find(|(_, class)| *class > 1) {
            return Err(Error::config("class", class, "0 or 1"));
        }
        let plain = self.head.weight.val().device().inner();
        let classes: Vec<i32> = batch.iter().map(|b| b.1 as i32).collect();
        let classes = TensorData::new(classes, [batch.len(), 1]);
        let classes = Tensor::<2, Int>::from_data(classes, &plain);
        let likely = log_softmax(self.scores(batch, learning), 1);
        Ok(likely.gather(1, classes).sum().neg())
    }

    fn validation_error(&self, examples: &[Bag]) -> Result<Option<f64>> {
        let all: Vec<&Bag> = examples.iter().collect();
        let scores = self.scores(&all, &Learning::default());
        let found = scores.argmax(1).try_into_vec_as::<i32>().unwrap();
        let wrong = found
            .iter()
            .zip(examples)
            .filter(|(f, e)| **f != e.1 as i32);
        Ok(Some(wrong.count() as f64 / examples.len() as f64))
    }
}

/// The class says whether most words are odd.
pub(super) fn bags(count: u32) -> Vec<Bag> {
    (0..count)
        .map(|i| {
            let class = i % 2;
            let words = (0..3 + i % 9).map(|j| (i * 7 + j * 5) % 6 * 2 + class);
            (words.collect(), class)
        })
        .collect()
}

pub(super) fn trainer() -> Trainer {
    Trainer {
        steps: 30,
        batch: 8,
        learning_rate: 0.05,
        warm_up: 3,
        evaluate_every: 5,
        bucket: 2,
        ..Trainer::default()
    }
}

#[test]
fn a_module_learns_and_the_given_one_stays() {
    let (bags, module) = (bags(64), Bags::new());
    let before = adamw::read(&module).unwrap();
    let trained = trainer()
        .fit_module(&module, &bags[..48], &bags[48..])
        .unwrap();
    assert_eq!(adamw::read(&module).unwrap(), before);
    assert_eq!(trained.curve.best_error().unwrap().loss, 0.0);
    assert_eq!(trained.model.validation_error(&bags).unwrap(), Some(0.0));
    assert!(trained.curve.train[0].loss > 0.5);
    assert_eq!(trained.tokens, 30 * 8);
}

#[test]
fn the_weights_of_the_lowest_error_are_kept() {
    let (bags, module) = (bags(64), Bags::new());
    let (training, validation) = bags.split_at(48);
    let fit = |trainer: &Trainer| trainer.fit_module(&module, training, validation).unwrap();
    let trainer = Trainer {
        schedule: Schedule::Constant,
        ..trainer()
    };
    let trained = fit(&trainer);
    // The loss goes on falling after the first validation without an error.
    let first = trained
        .curve
        .errors
        .iter()
        .find(|p| p.loss == 0.0)
        .unwrap()
        .step;
    assert!(first < 30 && trained.curve.best().unwrap().step > first);
    let until = fit(&Trainer {
        steps: first,
        keep: Keep::Last,
        ..trainer
    });
    let weights = |m: &Bags| adamw::read(m).unwrap();
    assert_eq!(weights(&trained.model), weights(&until.model));
}

/// Bags with what validation says of each: something added to its loss, and an error.
#[derive(Module, Debug)]
struct Told {
    bags: Bags,
}

impl Learner for Told {
    type Example = (Bag, f32, Option<f64>);

    fn length(example: &Self::Example) -> usize {
        Bags::length(&example.0)
    }

    fn targets(_: &Self::Example) -> usize {
        1
    }

    fn loss(&self, batch: &[&Self::Example], learning: &Learning<'_>) -> Result<Tensor<1>> {
        let bags: Vec<&Bag> = batch.iter().map(|e| &e.0).collect();
        let loss = self.bags.loss(&bags, learning)?;
        Ok(match learning.dropout {
            Some(_) => loss,
            None => loss + batch.iter().map(|e| e.1).sum::<f32>(),
        })
    }

    fn validation_error(&self, examples: &[Self::Example]) -> Result<Option<f64>> {
        Ok(examples[0].2)
    }
}

#[test]
fn a_validation_that_finds_no_number_ends_the_run() {
    let bags = bags(20);
    let module = Told { bags: Bags::new() };
    let training: Vec<_> = bags.iter().map(|b| (b.clone(), f32::NAN, None)).collect();
    let fit = |added: f32, error: Option<f64>| {
        let held = [(bags[0].clone(), added, error)];
        trainer().fit_module(&module, &training, &held)
    };
    for (added, error) in [
        (f32::NAN, None),
        (f32::NAN, Some(0.5)),
        (f32::INFINITY, None),
        (0.0, Some(f64::NAN)),
        (0.0, Some(f64::INFINITY)),
    ] {
        let told = fit(added, error).unwrap_err();
        assert!(
            told.to_string().starts_with("after 5 steps the validation"),
            "{told}"
        );
        assert!(matches!(told, Error::Validation { step: 5, .. }), "{told}");
    }
    // What is ranked by something else may be impossible.
    for (added, error) in [(0.0, None), (f32::INFINITY, Some(0.5))] {
        assert_eq!(fit(added, error).unwrap().curve.validation.len(), 6);
    }
}

#[test]
fn resuming_a_module_is_the_same_as_not_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bags.refrain");
    let (bags, module) = (bags(50), Bags::new());
    let (training, validation) = bags.split_at(40);
    let trainer = Trainer {
        accumulate: 2,
        average: Some(0.9),
        label_smoothing: 0.1,
        ..trainer()
    };
    let unbroken = trainer.fit_module(&module, training, validation).unwrap();
    let saving = Trainer {
        checkpoint: Some(path.clone()),
        checkpoint_every: 7,
        ..trainer.clone()
    };
    let monitor = unplugged_at(17);
    let error = saving.fit_module_with(&module, training, validation, &monitor);
    assert!(error.unwrap_err().to_string().contains("cancelled"));
    let resume = |trainer: &Trainer, module: &Bags, training: &[Bag]| {
        trainer.resume_module_with(&path, module, training, validation, &Monitor::silent())
    };
    // A module with other weights will do: they come from the checkpoint.
    let resumed = resume(&saving, &Bags::new(), training).unwrap();
    assert_eq!(resumed.curve, unbroken.curve);
    let weights = |m: &Bags| adamw::read(m).unwrap();
    assert_eq!(weights(&resumed.model), weights(&unbroken.model));

    let other = Trainer {
        seed: 5,
        ..saving.clone()
    };
    let refused = |result: Result<Trained<Bags>>| result.unwrap_err().to_string();
    assert!(refused(resume(&other, &module, training)).contains("other settings"));
    assert!(refused(resume(&saving, &module, &training[1..])).contains("other examples"));
    let wider = Bags {
        head: LinearConfig::new(8, 3).init(&cpu()),
        ..module.clone()
    };
    assert!(refused(resume(&saving, &wider, training)).contains("another kind"));

    // What it kept at its end is what it returned.
    let kept = Trained::from_module_checkpoint(&path, &module).unwrap();
    assert_eq!(weights(&kept.model), weights(&unbroken.model));
    assert_eq!(kept.curve, unbroken.curve);
    assert_eq!((kept.tokens, resumed.tokens), (30 * 2 * 8, unbroken.tokens));
    let error = refused(Trained::from_module_checkpoint(&path, &wider));
    assert!(error.contains("another kind"), "{error}");
    let told = Told { bags: module };
    let error = Trained::from_module_checkpoint(&path, &told).unwrap_err();
    assert!(
        error.to_string().contains("holds a model of kind"),
        "{error}"
    );
}

/// A file with these lines, and the bags in it; a bag of no words is refused.
fn lines<'a>(folder: &Path, text: &str) -> Result<JsonLines<'a, Bag>> {
    let path = folder.join("bags.jsonl");
    std::fs::write(&path, text).unwrap();
    JsonLines::open(path, |(words, class): (Vec<u32>, u32)| {
        match words.is_empty() {
            true => Err(Error::config("words", "empty", "at least one")),
            false => Ok((words, class)),
        }
    })
}

#[test]
fn examples_in_a_file_teach_what_those_in_memory_do() {
    let folder = tempfile::tempdir().unwrap();
    let (bags, module) = (bags(50), Bags::new());
    let (training, validation) = bags.split_at(40);
    // As another program may write them: a mark at the beginning, empty lines, both ends of lines.
    let mut text = String::from("\u{feff}\n");
    for (i, (words, class)) in training.iter().enumerate() {
        let end = ["\n", "\r\n", "\n \t\n"][i % 3];
        text += &format!("[{words:?}, {class}]{end}");
    }
    let file = lines(folder.path(), text.trim_end()).unwrap();
    assert_eq!(file.count(), 40);
    let trainer = trainer();
    let ours = trainer.fit_module(&module, &file, validation).unwrap();
    let theirs = trainer.fit_module(&module, training, validation).unwrap();
    assert_eq!(ours.curve, theirs.curve);
    let weights = |m: &Bags| adamw::read(m).unwrap();
    assert_eq!(weights(&ours.model), weights(&theirs.model));
    // So does a low-rank change.
    let ours = trainer.fit_module_low_rank(&module, &file, validation, &Lora::default());
    let theirs = trainer.fit_module_low_rank(&module, training, validation, &Lora::default());
    assert_eq!(ours.unwrap().curve, theirs.unwrap().curve);
}

#[test]
fn a_line_that_is_no_example_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let told = |text: &str| {
        let file = lines(folder.path(), text).unwrap();
        let result = trainer().fit_module(&Bags::new(), &file, &[]);
        result.unwrap_err().to_string()
    };
    for text in ["", "\n\n", "\u{feff}"] {
        assert!(told(text).contains("examples with targets"), "{text:?}");
    }
    for (text, expected) in [
        ("[[1], 0]\n\n[[1], -1]\n", "bags.jsonl, line 3: column "),
        ("[[1], 0]\n[[1], 0", "line 2: column 7: EOF"),
        ("[[1], 0]\n[[], 0]", "line 2: words is empty"),
        (
            "[[1], 0] [[1], 0]",
            "line 1: column 10: trailing characters",
        ),
    ] {
        let error = told(text);
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains(" at line"), "{error}");
    }
    let nowhere = JsonLines::open(folder.path().join("no"), |bag: Bag| Ok(bag));
    assert!(nowhere.unwrap_err().to_string().contains("no: "));
    let file = lines(folder.path(), "[[1], 0]").unwrap();
    assert!(file.example(1).is_err() && file.example(usize::MAX).is_err());
}

#[test]
fn reading_many_examples_is_told_and_can_be_stopped() {
    let bags = vec![(vec![1], 0); MANY + 1];
    let seen = std::sync::Arc::new(std::sync::Mutex::new(0));
    let counted = seen.clone();
    let monitor = Monitor::new(move |event: &refrain_core::Event<'_>| {
        if let refrain_core::Event::Advance { done, .. } = event {
            *counted.lock().unwrap() = *done;
        }
    });
    assert!(Read::all::<Bags, _>(&bags, &monitor).unwrap().targets > MANY);
    assert!(*seen.lock().unwrap() > MANY as u64 - 1024);
    monitor.cancel_token().cancel();
    let error = Read::all::<Bags, _>(&bags, &monitor).err().unwrap();
    assert!(error.to_string().contains("read examples"));
}

#[test]
fn frozen_parameters_stay() {
    let (bags, mut module) = (bags(40), Bags::new());
    module.words = module.words.no_grad();
    let trained = trainer().fit_module(&module, &bags, &[]).unwrap().model;
    let values = |e: &Embedding| e.weight.val().try_into_vec_as::<f32>().unwrap();
    assert_eq!(values(&trained.words), values(&module.words));
    let bias = |m: &Bags| {
        let bias = m.head.bias.as_ref().unwrap().val();
        bias.try_into_vec_as::<f32>().unwrap()
    };
    assert_ne!(bias(&trained), bias(&module));
}

#[test]
fn roles_and_names_of_parameters() {
    let entries = entries(&Bags::new()).list;
    let told: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.role)).collect();
    let expected = [
        ("words", Role::Embedding),
        ("head", Role::Matrix),
        ("head", Role::Vector),
    ];
    for ((name, role), (begins, expected)) in told.iter().zip(expected) {
        assert!(name.starts_with(begins), "{name}");
        assert_eq!(*role, expected, "{name}");
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let (bags, module) = (bags(20), Bags::new());
    let told = |trainer: &Trainer, examples: &[Bag]| {
        let result = trainer.fit_module(&module, examples, &[]);
        result.unwrap_err().to_string()
    };
    assert!(told(&trainer(), &[]).contains("examples"));
    let frozen = trainer().fit_module(&module.clone().no_grad(), &bags, &[]);
    assert!(frozen.unwrap_err().to_string().contains("no parameter"));
    let wrong = vec![(vec![1], 7); 3];
    assert!(told(&trainer(), &wrong).contains("class is 7"));
    let wild = Trainer {
        learning_rate: 1e30,
        clip: None,
        warm_up: 0,
        ..trainer()
    };
    let error = told(&wild, &bags);
    assert!(error.contains("on training examples "), "{error}");
    for (field, trainer) in [
        (
            "Trainer.bucket",
            Trainer {
                bucket: 0,
                ..trainer()
            },
        ),
        (
            "Trainer.average",
            Trainer {
                average: Some(1.0),
                ..trainer()
            },
        ),
        (
            "Trainer.label_smoothing",
            Trainer {
                label_smoothing: 1.0,
                ..trainer()
            },
        ),
    ] {
        assert!(told(&trainer, &bags).contains(field));
    }
}

proptest! {
    #[test]
    fn dropping_goes_by_the_example_not_by_its_place(
        numbers in proptest::collection::vec(0u64..9, 1..6),
        site in 0usize..3,
    ) {
        let x = Tensor::<3>::ones([numbers.len(), 2, 5], &cpu());
        let drop = |numbers: &[u64], x: Tensor<3>| {
            let draw = DropoutDraw { seed: 4, sequences: numbers };
            let learning = Learning { dropout: Some(draw), ..Learning::default() };
            learning.drop(x, 0.5, site).try_into_vec_as::<f32>().unwrap()
        };
        let all = drop(&numbers, x);
        for (i, &number) in numbers.iter().enumerate() {
            let alone = drop(&[number], Tensor::ones([1, 2, 5], &cpu()));
            prop_assert_eq!(&all[i * 10..(i + 1) * 10], alone.as_slice());
        }
    }
}

/// What is computed again is what was forgotten; and each parameter is told so, as long as the run lasts.
#[test]
fn gradient_checkpointing_changes_only_rounding() {
    struct All(Option<GradientCheckpointingStrategy>, usize);
    impl ModuleVisitor for All {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            assert_eq!(param.val().gradient_checkpointing_strategy(), self.0);
            self.1 += usize::from(param.val().is_require_grad());
        }
    }
    let (bags, module) = (bags(40), Bags::new());
    let (training, validation) = bags.split_at(30);
    let frozen = Bags {
        words: module.words.clone().no_grad(),
        head: module.head.clone(),
    };
    for (module, learning) in [(module, 3), (frozen, 2)] {
        let run = |compute| {
            let trainer = Trainer {
                compute,
                average: Some(0.5),
                ..trainer()
            };
            let fit = || trainer.fit_module(&module, training, validation).unwrap();
            let adapt =
                trainer.fit_module_low_rank(&module, training, validation, &Lora::default());
            let curves = [fit().curve, adapt.unwrap().curve];
            curves.map(|curve| [curve.train, curve.validation].concat())
        };
        let (plain, again) = (Compute::Program, Compute::CheckpointedProgram);
        let points = [run(plain).concat(), run(again).concat()];
        assert_eq!(points[0].len(), 2 * (30 + 6));
        for (a, b) in points[0].iter().zip(&points[1]) {
            assert!((a.loss - b.loss).abs() < 1e-5, "{a:?} {b:?}");
        }

        let trainer = Trainer {
            compute: again,
            ..trainer()
        };
        let silent = Monitor::silent();
        let mut task = ModuleTask::new(&trainer, &module, training, validation, &silent).unwrap();
        for step in 0..2 {
            task.learn(&trainer, step).unwrap();
            task.update(&trainer.update_at(step)).unwrap();
            let mut all = All(Some(GradientCheckpointingStrategy::Balanced), 0);
            task.module.visit(&mut all);
            assert_eq!(all.1, learning);
            let weights = task.weights().unwrap();
            task.replace(&weights);
        }
    }
}

#[test]
fn nothing_is_dropped_outside_of_training() {
    let x = Tensor::<2>::ones([3, 7], &cpu());
    let kept = Learning::default().drop(x, 0.9, 0);
    assert_eq!(kept.try_into_vec_as::<f32>().unwrap(), [1.0; 21]);
}
