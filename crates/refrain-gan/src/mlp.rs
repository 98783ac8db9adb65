//! Generator and discriminator of matrices alone: for points and other short vectors, and as the
//! plainest of baselines for images.

use serde::{Deserialize, Serialize};

use crate::conv::Norm;
use crate::plan::Plan;
use crate::players::{Trunk, width};
use crate::{Activation, ImageShape, Result};

/// What the generator's last layer ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Output {
    /// `σ`: brightness between 0 and 1.
    #[default]
    Brightness,
    /// Nothing: any number. For data made with [`Images::values`](crate::Images::values); the
    /// discriminator sees the numbers as they are, so bring them near −1..1.
    Any,
}

/// Noise → (matrix, activation) … → matrix → image.
///
/// [`Gan::points`](crate::Gan::points) is set up for points in the plane; with other layers:
/// ```
/// use refrain_gan::{Gan, MlpGenerator, Output};
/// let hidden = vec![64, 64];
/// let gan = Gan {
///     generator: MlpGenerator { noise: 2, hidden, output: Output::Any, ..Default::default() }.into(),
///     ..Gan::points()
/// };
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MlpGenerator {
    /// Numbers of noise per image.
    pub noise: usize,
    /// Numbers in each hidden layer.
    pub hidden: Vec<usize>,
    /// What follows each hidden matrix.
    pub activation: Activation,
    /// What follows that.
    pub norm: Norm,
    /// What the last layer ends in.
    pub output: Output,
}

impl Default for MlpGenerator {
    fn default() -> Self {
        Self {
            noise: 64,
            hidden: vec![128, 128, 128],
            activation: Activation::default(),
            norm: Norm::None,
            output: Output::Brightness,
        }
    }
}

impl MlpGenerator {
    pub(crate) fn check(&self) -> Result<()> {
        width("generator.noise", self.noise)?;
        self.activation.check("generator.activation")?;
        self.hidden
            .iter()
            .try_for_each(|&n| width("generator.hidden", n))
    }

    pub(crate) fn plans(&self, image: ImageShape, mut inputs: usize, mut gain: f32) -> Vec<Plan> {
        let mut plans = Vec::new();
        for &next in &self.hidden {
            let gain = std::mem::replace(&mut gain, 1.0) * self.activation.gain();
            plans.push(Plan::dense(inputs, next, gain, false));
            plans.push(Plan::Activate(self.activation));
            if self.norm == Norm::Pixel {
                plans.push(Plan::PixelNorm);
            }
            inputs = next;
        }
        plans.push(Plan::Dense {
            inputs,
            to: image,
            gain,
            spectral: false,
        });
        if self.output == Output::Brightness {
            plans.push(Plan::Activate(Activation::Sigmoid));
        }
        plans
    }
}

/// Image → (matrix, activation) … → features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MlpDiscriminator {
    /// Numbers in each hidden layer.
    pub hidden: Vec<usize>,
    /// What follows each hidden matrix.
    pub activation: Activation,
    /// Whether every layer's matrix is divided by its largest singular value (Miyato et al. 2018).
    pub spectral: bool,
}

impl Default for MlpDiscriminator {
    fn default() -> Self {
        Self {
            hidden: vec![128, 128, 128],
            activation: Activation::default(),
            spectral: false,
        }
    }
}

impl MlpDiscriminator {
    pub(crate) fn check(&self) -> Result<()> {
        self.activation.check("discriminator.activation")?;
        self.hidden
            .iter()
            .try_for_each(|&n| width("discriminator.hidden", n))
    }

    pub(crate) fn trunk(&self, image: ImageShape) -> Trunk {
        let mut plans = Vec::new();
        let mut features = image;
        for &next in &self.hidden {
            let gain = self.activation.gain();
            plans.push(Plan::dense(features.len(), next, gain, self.spectral));
            plans.push(Plan::Activate(self.activation));
            features = ImageShape {
                channels: next,
                height: 1,
                width: 1,
            };
        }
        Trunk { plans, features }
    }
}
