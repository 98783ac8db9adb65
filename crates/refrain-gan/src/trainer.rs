//! Training step by step.
//!
//! One step: the discriminator sees a batch of real images and a batch painted without gradient, and
//! takes one step (or several); then the generator paints a batch through the discriminator, whose
//! weights are held fixed, and takes one step; then the average follows. Everything drawn at random in
//! a step comes from a stream numbered by the step, so a run resumed from a checkpoint goes on with
//! the bits an unbroken one would have had.

use burn::module::Module;
use rand::seq::SliceRandom;
use refrain_core::{Device, Monitor, Stage};

use crate::adam::AdamState;
use crate::measure::Measure;
use crate::painter::Painter;
use crate::players::{Discriminator, Generator};
use crate::random::{Purpose, stream};
use crate::report::Tally;
use crate::sheets::Book;
use crate::variety::{Reference, Variety};
use crate::{
    Adam, Conditional, EpochReport, Error, Gan, GanModel, Images, Loss, Output, Result, StepReport,
    ema,
};

/// 20 GB with Adam's moments, the average and a gradient: beyond that a configuration is a mistake.
pub(crate) const MOST_WEIGHTS: usize = 1 << 30;

/// A game in progress.
///
/// ```
/// use refrain_core::Monitor;
/// use refrain_gan::{Gan, ImageShape, Images};
/// let device = refrain_core::device("cpu")?;
/// let images = Images::from_f32(ImageShape::square(1, 4), [0.2, 0.8].repeat(64))?;
/// let mut trainer = Gan { epochs: 2, batch: 4, ..Gan::default() }.trainer(&images, &device)?;
/// while let Some(epoch) = trainer.epoch(&Monitor::silent())? {
///     println!("{epoch}");
///     let _sheet = trainer.sheet(4)?; // the same noise every time: watch the images form
/// }
/// let model = trainer.into_model();
/// # assert_eq!(model.history().len(), 2);
/// # Ok::<(), refrain_gan::Error>(())
/// ```
#[derive(Debug)]
pub struct Trainer {
    pub(crate) config: Gan,
    pub(crate) images: Images,
    pub(crate) device: Device, // plain; the networks that learn live on its autodiff twin
    pub(crate) generator: Generator,
    pub(crate) discriminator: Discriminator,
    pub(crate) average: Generator,
    pub(crate) generator_adam: AdamState,
    pub(crate) discriminator_adam: AdamState,
    pub(crate) step: u64,
    pub(crate) tally: Tally,
    pub(crate) history: Vec<EpochReport>,
    pub(crate) chance: f32,   // of each augmentation
    order: (u64, Vec<usize>), // which pass over the images this is the order of
    reference: Reference,
    pub(crate) measures: Vec<Measure>,
    pub(crate) sheets: Option<Book>,
    halfway: bool, // a step has failed before its end
}

impl Trainer {
    pub(crate) fn new(mut config: Gan, images: &Images, device: &Device) -> Result<Self> {
        config.check()?;
        if images.is_empty() {
            return Err(Error::Empty {
                what: "training images",
            });
        }
        let device = device.clone().inner();
        let taped = device.clone().autodiff();
        let (shape, classes) = (images.shape(), config.classes(images));
        let task = config.task(shape, classes);
        for (field, weights) in [
            ("generator", config.generator.weights(shape, classes)),
            ("discriminator", config.discriminator.weights(&task)),
        ] {
            if weights.is_none_or(|weights| weights > MOST_WEIGHTS) {
                let reason = format!("more than {MOST_WEIGHTS} weights for images of {shape}");
                return Err(Error::config(field, reason));
            }
        }
        let generator = config.generator.build(shape, classes, config.seed, &taped);
        let discriminator = config.discriminator.build(&task, config.seed, &taped);
        if discriminator.mixes_batch() && config.penalty.needs_slope() {
            return Err(Error::config(
                "penalty",
                "a discriminator with `batch_spread` judges an image by the others of its batch, so \
                 it has no input gradient for one image: use `Penalty::None` or `WeightClip`",
            ));
        }
        let by_class = classes > 0 && config.conditional == Conditional::Projection;
        if by_class && config.loss == Loss::FeatureMatching {
            return Err(Error::config(
                "loss",
                "feature matching compares features that know no class, so the generator would not \
                 learn the classes: use `Conditional::Auxiliary` or `None`",
            ));
        }
        if config.pac > 1 && classes > 0 {
            return Err(Error::config(
                "pac",
                "packs are judged without classes: set `conditional: Conditional::None`",
            ));
        }
        if config.pac > images.len() {
            let reason = format!(
                "{} images are fewer than a pack of {}",
                images.len(),
                config.pac
            );
            return Err(Error::config("pac", reason));
        }
        if config.generator.output() == Output::Brightness {
            images.expect_brightness()?;
        }
        let images = if classes == 0 {
            images.clone().without_labels()
        } else {
            images.clone()
        };
        let sheets = config.sheets.take();
        let mut trainer = Self {
            average: generator.valid(),
            generator_adam: AdamState::new(config.generator_adam, &generator),
            discriminator_adam: AdamState::new(config.discriminator_adam, &discriminator),
            reference: Reference::new(&images, config.seed)?,
            measures: Vec::new(),
            sheets: None,
            halfway: false,
            chance: config.augment.map_or(0.0, |augment| augment.first_chance()),
            config,
            images,
            device,
            generator,
            discriminator,
            step: 0,
            tally: Tally::default(),
            history: Vec::new(),
            order: (0, Vec::new()),
        };
        trainer.order = (0, trainer.shuffled(0));
        sheets.map_or(Ok(()), |sheets| trainer.keep_sheets(sheets))?;
        Ok(trainer)
    }

    /// Images per batch: whole packs.
    pub(crate) fn batch(&self) -> usize {
        let most = self.config.batch.min(self.images.len());
        most - most % self.config.pac
    }

    /// Steps in one epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        let batches = self.images.len() / self.batch();
        (batches / self.config.discriminator_steps).max(1) as u64
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Steps to do in all.
    pub fn total_steps(&self) -> u64 {
        self.steps_per_epoch()
            .saturating_mul(self.config.epochs as u64)
    }

    /// The numbers of each finished epoch.
    pub fn history(&self) -> &[EpochReport] {
        &self.history
    }

    /// Trains one step, whether or not the configured epochs are over.
    ///
    /// # Errors
    /// [`Error::Diverged`] when a loss is no longer a number, after which the game is over and cannot be
    /// saved; [`Error::Device`]; and those of a metric ([`Trainer::measure`]).
    pub fn step(&mut self) -> Result<StepReport> {
        self.expect_sound()?;
        let mut rng = stream(self.config.seed, Purpose::Step, self.step);
        let mut report = StepReport {
            step: self.step + 1,
            ..StepReport::default()
        };
        self.halfway = true;
        let share = self.config.rate_share(self.step, self.total_steps());
        let rate = |adam: Adam| (f64::from(adam.rate) * share) as f32;
        self.generator_adam
            .set_rate(rate(self.config.generator_adam));
        self.discriminator_adam
            .set_rate(rate(self.config.discriminator_adam));
        let mut real = None;
        for turn in 0..self.config.discriminator_steps {
            real = Some(self.discriminator_step(turn, &mut rng, &mut report)?);
        }
        self.generator_step(real, &mut rng, &mut report)?;
        let decay = ema::decay(self.config.average, self.step);
        self.average = ema::update(self.average.clone(), &self.generator, decay);
        let ends = (self.step + 1).is_multiple_of(self.steps_per_epoch());
        let variety = ends.then(|| self.variety()).transpose()?;
        self.halfway = false;
        self.step += 1;

        self.tally.add(&report);
        if let Some(variety) = variety {
            self.end_epoch(variety)?;
        }
        Ok(report)
    }

    fn variety(&self) -> Result<Variety> {
        let labels = self.reference.labels();
        let painted = self
            .painter()
            .labelled(labels, self.config.seed, Purpose::Variety)?;
        self.reference.measure(&painted)
    }

    fn end_epoch(&mut self, variety: Variety) -> Result<()> {
        let (loss, before) = (self.config.loss, &self.history);
        let mut epoch = self.tally.epoch(loss, before, variety, self.step);
        self.tally = Tally::default();
        let mut failed = Ok(());
        if !self.measures.is_empty() {
            let model = self.model();
            for measure in &mut self.measures {
                match measure.after(epoch.epoch, &model) {
                    Some(Ok(value)) if !value.is_nan() => {
                        epoch.metrics.insert(measure.name.clone(), value as f32);
                    }
                    Some(Err(error)) => failed = Err(error),
                    _ => {}
                }
            }
        }
        self.history.push(epoch);
        failed.and(self.paint_sheet())
    }

    /// Refuses a game in which a step failed: its weights may be no numbers, and its random numbers
    /// would not be those of an unbroken run.
    pub(crate) fn expect_sound(&self) -> Result<()> {
        match self.halfway {
            false => Ok(()),
            true => Err(Error::Broken {
                step: self.step + 1,
            }),
        }
    }

    /// Trains to the end of the current epoch; `None` when the configured epochs are over.
    ///
    /// # Errors
    /// As [`Trainer::step`], and [`refrain_core::Error::Cancelled`], after which training can go on
    /// or be saved. An epoch whose last step is done is reported, and the next call is cancelled.
    pub fn epoch(&mut self, monitor: &Monitor) -> Result<Option<EpochReport>> {
        if self.step >= self.total_steps() {
            return Ok(None);
        }
        let left = self.steps_per_epoch() - self.step % self.steps_per_epoch();
        let stage = monitor.start(format!("gan epoch {}", self.history.len() + 1), Some(left));
        self.epoch_in(&stage)
    }

    /// Trains until the configured epochs are over.
    ///
    /// # Errors
    /// As [`Trainer::epoch`].
    pub fn run(&mut self, monitor: &Monitor) -> Result<()> {
        let stage = monitor.start("gan", Some(self.total_steps()));
        stage.advance(self.step.min(self.total_steps()), "")?;
        while self.step < self.total_steps() {
            self.epoch_in(&stage)?;
        }
        Ok(())
    }

    fn epoch_in(&mut self, stage: &Stage) -> Result<Option<EpochReport>> {
        loop {
            stage.check()?;
            let report = self.step()?;
            let last = self.history.last().and_then(|epoch| epoch.alarms.first());
            let told = match last {
                Some(alarm) => stage.advance(1, format_args!("{report}; {}", alarm.cause())),
                None => stage.advance(1, report),
            };
            if self.step.is_multiple_of(self.steps_per_epoch()) {
                return Ok(self.history.last().cloned());
            }
            told?;
        }
    }

    /// What the averaged generator paints now from noise that is the same at every call: `rows` rows
    /// of eight images, or of one image per class.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn sheet(&self, rows: usize) -> Result<Images> {
        self.painter().sheet(rows, self.config.seed, Purpose::Sheet)
    }

    /// The model as it is now.
    pub fn model(&self) -> GanModel {
        GanModel::new(self.config.clone(), self.painter(), self.history.clone())
    }

    /// The model, when nothing more is to be learnt.
    pub fn into_model(self) -> GanModel {
        self.model()
    }

    pub(crate) fn painter(&self) -> Painter {
        Painter {
            shares: class_shares(&self.images),
            generator: self.average.clone(),
            noise: self.config.generator.noise(),
            shape: self.images.shape(),
            classes: self.classes(),
            output: self.config.generator.output(),
            device: self.device.clone(),
        }
    }

    pub(crate) fn classes(&self) -> usize {
        self.images.classes()
    }

    fn shuffled(&self, pass: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.images.len()).collect();
        order.shuffle(&mut stream(self.config.seed, Purpose::Order, pass));
        order
    }

    /// The images of batch number `number`, counted from the first step on.
    pub(crate) fn real(&mut self, number: u64) -> Images {
        let per_pass = (self.images.len() / self.batch()) as u64;
        let (pass, at) = (number / per_pass, (number % per_pass) as usize);
        if self.order.0 != pass {
            self.order = (pass, self.shuffled(pass));
        }
        self.images
            .select(&self.order.1[at * self.batch()..(at + 1) * self.batch()])
    }
}

/// How common each class is; empty without labels.
fn class_shares(images: &Images) -> Vec<f32> {
    let mut counts = vec![0usize; images.classes()];
    for &label in images.labels().unwrap_or(&[]) {
        if let Some(count) = counts.get_mut(label as usize) {
            *count += 1;
        }
    }
    let share = |count| count as f32 / images.len().max(1) as f32;
    counts.into_iter().map(share).collect()
}

#[cfg(test)]
#[path = "trainer_tests.rs"]
mod tests;
