//! The two halves of a training step.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use rand::RngExt;
use refrain_core::rng::Stream;

use crate::loss::class_entropy;
use crate::model::Latent;
use crate::params::{host, map_weights, tensor};
use crate::penalty::{centred, zero_centred};
use crate::players::Judged;
use crate::random::normal;
use crate::{Conditional, Error, ImageShape, Penalty, Result, StepReport, Trainer};

/// Images `[batch, channels, height, width]` and their classes, one-hot `[batch, classes, 1, 1]`, on
/// the plain device.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    images: Tensor<4>,
    class: Option<Tensor<4>>,
}

impl Trainer {
    /// One step of the discriminator. Gives back the real images it saw.
    pub(crate) fn discriminator_step(
        &mut self,
        turn: usize,
        rng: &mut Stream,
        report: &mut StepReport,
    ) -> Result<Batch> {
        let turns = self.config.discriminator_steps;
        let number = self.step * turns as u64 + turn as u64;
        let real = self.real_batch(number);
        let (noise, drawn) = self.draw(rng);
        let class = self.paired(&real).unwrap_or(drawn);
        let fake = Batch {
            images: self.generator.valid().forward(noise, class.clone()),
            class,
        };
        if self.config.discriminator.spectral() {
            self.discriminator.refresh();
        }

        let mut parts = vec![self.seen(&real, rng), self.seen(&fake, rng)];
        let penalised = number.is_multiple_of(self.config.penalty_every);
        if let (Penalty::GradientPenalty { .. }, true) = (self.config.penalty, penalised) {
            parts.push(between(&parts[0], &parts[1], self.config.pac, rng));
        }
        let judged = self.judge_all(parts);
        let packs = self.batch() / self.config.pac;
        let on = |part: usize| judged.logits.clone().narrow(0, part * packs, packs);
        let game = self.config.loss.discriminator(on(0), on(1));
        let mut total = game.clone();
        let mut penalty = None;
        if penalised && let Some(value) = self.penalty(&judged, packs) {
            total = total + value.clone() * self.config.penalty_every as f64;
            penalty = Some(value.inner() * self.config.penalty_every as f64);
        }
        let classes = [Some(&real), Some(&fake)].map(|batch| batch.and_then(|b| b.class.clone()));
        for (part, class) in classes.into_iter().enumerate() {
            if let Some(loss) = self.classify(&judged, part * packs, class) {
                total = total + loss;
            }
        }
        let gradients = GradientsParams::from_grads(total.backward(), &self.discriminator);
        let player = self.discriminator.clone();
        let (player, length) = self.discriminator_adam.step(player, gradients);
        self.discriminator = match self.config.penalty {
            Penalty::WeightClip { limit } => map_weights(player, |_, w| w.clamp(-limit, limit)),
            _ => player,
        };

        let zero = || Tensor::zeros([1], &self.device);
        let told = vec![
            game.inner(),
            penalty.unwrap_or_else(zero),
            length.unwrap_or_else(zero),
            judged.logits.inner().narrow(0, 0, 2 * packs),
        ];
        let told = host(Tensor::cat(told, 0))?;
        let (game, penalty, length, logits) = (told[0], told[1], told[2].sqrt(), &told[3..]);
        self.diverged("discriminator", game + penalty, length, report)?;
        let (on_real, on_fake) = logits.split_at(packs);
        let [real_right, fake_right] = self.config.loss.accuracy(on_real, on_fake);
        if let Some(augment) = &self.config.augment {
            self.chance = augment.next_chance(self.chance, real_right, self.batch());
        }
        let share = 1.0 / turns as f32;
        report.discriminator_loss += game * share;
        report.penalty += penalty * share;
        report.real_accuracy += real_right * share;
        report.fake_accuracy += fake_right * share;
        report.discriminator_gradient += length * share;
        report.chance = self.chance;
        Ok(real)
    }

    /// One step of the generator; `real` are the last images the discriminator saw.
    pub(crate) fn generator_step(
        &mut self,
        real: Option<Batch>,
        rng: &mut Stream,
        report: &mut StepReport,
    ) -> Result<()> {
        let real = real.filter(|_| self.config.loss.compares());
        let paired = real.as_ref().and_then(|real| self.paired(real));
        let real = real
            .map(|real| self.seen(&real, rng))
            .map(|real| self.discriminator.valid().judge(real.images, real.class))
            .map(Judged::autodiff);
        let (noise, drawn) = self.draw(rng);
        let class = paired.unwrap_or(drawn).map(Tensor::autodiff);
        let images = self.generator.forward(noise.autodiff(), class.clone());
        let fake = self.seen(
            &Batch {
                images,
                class: class.clone(),
            },
            rng,
        );
        let judge = self.discriminator.clone().no_grad();
        let judged = judge.judge(fake.images, fake.class);
        let game = self.config.loss.generator(&judged, real.as_ref());
        let total = match self.classify(&judged, 0, class) {
            Some(loss) => game.clone() + loss,
            None => game.clone(),
        };
        let gradients = GradientsParams::from_grads(total.backward(), &self.generator);
        let (player, length) = self.generator_adam.step(self.generator.clone(), gradients);
        self.generator = player;
        let length = length.unwrap_or_else(|| Tensor::zeros([1], &self.device));
        let told = host(Tensor::cat(vec![game.inner(), length], 0))?;
        report.generator_loss = told[0];
        report.generator_gradient = told[1].sqrt();
        self.diverged("generator", told[0], report.generator_gradient, report)
    }

    fn diverged(
        &self,
        network: &'static str,
        loss: f32,
        gradient: f32,
        report: &StepReport,
    ) -> Result<()> {
        match loss.is_finite() && gradient.is_finite() {
            true => Ok(()),
            false => Err(Error::Diverged {
                step: report.step,
                network,
                loss,
                gradient,
            }),
        }
    }

    /// The classes that fakes are painted in, where each is held against one real image or lies at the
    /// other end of a line from it: what the discriminator thinks of a class must not decide a pair.
    fn paired(&self, real: &Batch) -> Option<Option<Tensor<4>>> {
        let line = matches!(self.config.penalty, Penalty::GradientPenalty { .. });
        (line || self.config.loss.compares()).then(|| real.class.clone())
    }

    /// Judges all parts in one pass, or one by one where the images of a batch matter to each other.
    fn judge_all(&self, parts: Vec<Batch>) -> Judged {
        let judge = |batch: Batch| {
            let class = batch.class.map(Tensor::autodiff);
            self.discriminator.judge(batch.images.autodiff(), class)
        };
        if self.discriminator.mixes_batch() {
            return Judged::cat(parts.into_iter().map(judge).collect());
        }
        let class: Vec<_> = parts.iter().filter_map(|part| part.class.clone()).collect();
        judge(Batch {
            images: Tensor::cat(parts.into_iter().map(|part| part.images).collect(), 0),
            class: (!class.is_empty()).then(|| Tensor::cat(class, 0)),
        })
    }

    /// The configured penalty on the slope, `[1]`; the parts of `judged` are `packs` each.
    fn penalty(&self, judged: &Judged, packs: usize) -> Option<Tensor<1>> {
        let slope = |start, count| self.discriminator.slope(judged, start, count);
        match self.config.penalty {
            Penalty::None | Penalty::WeightClip { .. } => None,
            Penalty::R1 { gamma } => Some(zero_centred(gamma, slope(0, packs))),
            // The mean over both halves is half the sum of their means.
            Penalty::R1R2 { gamma } => Some(zero_centred(2.0 * gamma, slope(0, 2 * packs))),
            Penalty::GradientPenalty { weight, target } => {
                Some(centred(weight, target, slope(2 * packs, packs)))
            }
        }
    }

    /// The auxiliary classifier's loss on the images of `class` from `start` on, if there is one.
    fn classify(
        &self,
        judged: &Judged,
        start: usize,
        class: Option<Tensor<4>>,
    ) -> Option<Tensor<1>> {
        let Conditional::Auxiliary { weight } = self.config.conditional else {
            return None;
        };
        let (logits, class) = (judged.classes.clone()?, class?);
        let [count, classes, _, _] = class.dims();
        let class = class.reshape([count, classes]);
        let class = if class.is_autodiff() {
            class
        } else {
            class.autodiff()
        };
        Some(class_entropy(logits.narrow(0, start, count), class) * weight)
    }

    /// A batch as the discriminator is shown it.
    fn seen(&self, batch: &Batch, rng: &mut Stream) -> Batch {
        let images = batch.images.clone();
        Batch {
            images: match &self.config.augment {
                Some(augment) => augment.apply(images, self.chance, rng),
                None => images,
            },
            class: batch.class.clone(),
        }
    }

    fn real_batch(&mut self, number: u64) -> Batch {
        let real = self.real(number);
        let ImageShape {
            channels,
            height,
            width,
        } = real.shape();
        let pixels = tensor(real.pixels().to_vec(), &self.device);
        Batch {
            images: pixels.reshape([real.len(), channels, height, width]),
            class: real.labels().map(|labels| self.one_hot(labels)),
        }
    }

    /// Noise `[batch, noise, 1, 1]` and classes, as common as among the real images.
    fn draw(&self, rng: &mut Stream) -> (Tensor<4>, Option<Tensor<4>>) {
        let (batch, noise) = (self.batch(), self.config.generator.noise());
        let values = normal(rng, batch * noise);
        let labels: Option<Vec<u32>> = self.images.labels().map(|labels| {
            (0..batch)
                .map(|_| labels[rng.random_range(0..labels.len())])
                .collect()
        });
        let noise = tensor(values, &self.device).reshape([batch, noise, 1, 1]);
        (noise, labels.map(|labels| self.one_hot(&labels)))
    }

    fn one_hot(&self, labels: &[u32]) -> Tensor<4> {
        let latents = labels.iter().map(|&l| Latent::one_hot(l, self.classes()));
        let flat: Vec<f32> = latents.flatten().collect();
        tensor(flat, &self.device).reshape([labels.len(), self.classes(), 1, 1])
    }
}

/// Points on the way from real images to fakes, under the real images' classes; those of a pack are
/// equally far.
fn between(real: &Batch, fake: &Batch, pac: usize, rng: &mut Stream) -> Batch {
    let batch = real.images.dims()[0];
    let shares = (0..batch / pac).map(|_| rng.random::<f32>());
    let share: Vec<f32> = shares.flat_map(|u| std::iter::repeat_n(u, pac)).collect();
    let share = tensor(share, &real.images.device()).reshape([batch, 1, 1, 1]);
    let gap = real.images.clone() - fake.images.clone();
    Batch {
        images: fake.images.clone() + gap * share,
        class: real.class.clone(),
    }
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
