//! What a config may be, and how it stands in a file.

use refrain_core::ModelFile;

use super::{Ngrams, Word2Vec};
use crate::{Error, Result};

impl Word2Vec {
    pub(super) fn validate(&self) -> Result<()> {
        let whole = |field, value: usize, least: usize, most: usize, reason| match (least..=most)
            .contains(&value)
        {
            true => Ok(()),
            false => Err(Error::Config {
                field,
                value: value.to_string(),
                reason,
            }),
        };
        whole("dim", self.dim, 1, 65_536, "choose between 1 and 65536")?;
        whole(
            "window",
            self.window,
            1,
            1 << 20,
            "choose between 1 and 1048576",
        )?;
        whole(
            "negatives",
            self.negatives,
            1,
            65_536,
            "choose between 1 and 65536",
        )?;
        whole(
            "epochs",
            self.epochs,
            1,
            1 << 20,
            "choose between 1 and 1048576",
        )?;
        whole(
            "threads",
            self.threads,
            0,
            1024,
            "choose at most 1024, or 0 for every core",
        )?;
        whole(
            "max_vocabulary",
            self.max_vocabulary,
            2,
            usize::MAX,
            "must be at least 2",
        )?;
        whole(
            "merge_every",
            self.merge_every,
            1,
            usize::MAX,
            "must be at least 1",
        )?;
        whole(
            "batch",
            self.batch,
            1,
            1 << 20,
            "choose between 1 and 1048576",
        )?;
        let real = |field, value: f64, least: f64, reason| match value.is_finite() && value >= least
        {
            true => Ok(()),
            false => Err(Error::Config {
                field,
                value: value.to_string(),
                reason,
            }),
        };
        real(
            "learning_rate",
            self.learning_rate,
            f64::MIN_POSITIVE,
            "must be above 0",
        )?;
        real("subsample", self.subsample, 0.0, "must be 0 or above")?;
        real("power", self.power, 0.0, "must be 0 or above")?;
        self.ngrams.as_ref().map_or(Ok(()), Ngrams::validate)
    }

    /// The fields that JSON need not keep to the last bit, as bits; a resume must.
    pub(super) fn reals(&self) -> Vec<u64> {
        [self.learning_rate, self.subsample, self.power]
            .map(f64::to_bits)
            .to_vec()
    }

    /// The config of a file that holds its [`Word2Vec::reals`] too.
    pub(super) fn from_file(file: &ModelFile) -> Result<Self> {
        let mut config: Self = file.config()?;
        let reals = file.u64("reals")?.expect_shape("reals", &[3])?;
        let fields = [
            &mut config.learning_rate,
            &mut config.subsample,
            &mut config.power,
        ];
        for (field, &bits) in fields.into_iter().zip(reals.data.iter()) {
            *field = f64::from_bits(bits);
        }
        config.validate()?;
        Ok(config)
    }
}
