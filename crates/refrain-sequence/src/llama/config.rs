//! The sizes of a model, and its rotary positions.

use crate::Result;
use crate::gguf::GgufFile;

/// What divides each rotary frequency, in the files of Llama 3.1 and later.
pub(super) const FACTORS: &str = "rope_freqs.weight";

/// Which values of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RotaryPairs {
    /// Neighbours, as llama.cpp arranges Llama's rows.
    Neighbours,
    /// One of the first half with one of the second, as in Qwen2.
    Halves,
}

/// The sizes of a model.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LlamaConfig {
    /// Layers, each attention and feed-forward.
    pub layers: usize,
    /// Attention heads of the queries.
    pub heads: usize,
    /// Heads of keys and values, which divide those of the queries evenly.
    pub shared_heads: usize,
    /// The length of a token's vector.
    pub width: usize,
    /// The length of a head's vectors.
    pub head_width: usize,
    /// The inner width of the feed-forward part.
    pub hidden: usize,
    /// The most tokens the model looks at.
    pub context: usize,
    /// Added to the mean square inside the norm.
    pub norm_epsilon: f32,
    /// The base of the rotary angles.
    pub rotary_base: f64,
    /// How many of a head's values are rotated.
    pub rotated: usize,
    /// Which of them turn together.
    pub rotary_pairs: RotaryPairs,
    /// What the frequency of each pair is divided by, for texts longer than those of the first training, as in
    /// Llama 3.1; empty where all stay.
    pub rotary_factors: Vec<f32>,
    /// How many tokens the model knows.
    pub vocabulary: usize,
}

impl LlamaConfig {
    /// What a file's metadata say, checked.
    pub(super) fn read(file: &GgufFile, vocabulary: usize) -> Result<Self> {
        let architecture = file.text("general.architecture")?;
        let rotary_pairs = match architecture {
            "llama" => RotaryPairs::Neighbours,
            "qwen2" => RotaryPairs::Halves,
            _ => {
                let reason =
                    format_args!("architecture {architecture:?}; llama and qwen2 can be read");
                return Err(file.bad(reason));
            }
        };
        let key = |key: &str| format!("{architecture}.{key}");
        let number = |name: &str| file.number(&key(name));
        let is_there = |name: &str| file.metadata().contains_key(&key(name));
        let or = |name: &str, otherwise: usize| match is_there(name) {
            true => number(name),
            false => Ok(otherwise),
        };
        let (heads, width) = (number("attention.head_count")?, number("embedding_length")?);
        let head_width = or("attention.key_length", width / heads.max(1))?;
        let mut config = Self {
            layers: number("block_count")?,
            heads,
            shared_heads: or("attention.head_count_kv", heads)?,
            width,
            head_width,
            hidden: number("feed_forward_length")?,
            context: number("context_length")?,
            norm_epsilon: file.float(&key("attention.layer_norm_rms_epsilon"))? as f32,
            rotary_base: match is_there("rope.freq_base") {
                true => file.float(&key("rope.freq_base"))?,
                false => 10_000.0,
            },
            rotated: or("rope.dimension_count", head_width)?,
            rotary_pairs,
            rotary_factors: Vec::new(),
            vocabulary,
        };
        config.check().map_err(|reason| file.bad(reason))?;
        config.rotary_factors = config.factors(file, &key("rope.scaling."))?;
        Ok(config)
    }

    /// One divisor for all frequencies, and one for each.
    fn factors(&self, file: &GgufFile, scaling: &str) -> Result<Vec<f32>> {
        let (kind, factor) = (format!("{scaling}type"), format!("{scaling}factor"));
        let told = |key: &str| file.metadata().contains_key(key);
        let number = |key: &str| told(key).then(|| file.float(key)).transpose();
        let older = scaling.replace("scaling.", "scale_linear");
        let attention = number(&format!("{scaling}attn_factor"))?;
        let all = match told(&kind).then(|| file.text(&kind)).transpose()? {
            None | Some("linear") => number(&factor)?.or(number(&older)?).unwrap_or(1.0) as f32,
            Some("none") => 1.0,
            Some(other) => {
                let reason =
                    format_args!("rotary positions are scaled {other:?}; known: linear, none");
                return Err(file.bad(reason));
            }
        };
        if let Some(attention) = attention.filter(|&attention| attention != 1.0) {
            let reason = format_args!("rotary positions scale attention by {attention}; known: 1");
            return Err(file.bad(reason));
        }
        let mut factors = vec![all; self.rotated / 2];
        let each = file.names().any(|name| name == FACTORS);
        if each {
            let own = file.tensor(FACTORS)?.to_f32();
            if own.len() != factors.len() {
                let expected = factors.len();
                let reason = format_args!("{FACTORS} has {} values, not {expected}", own.len());
                return Err(file.bad(reason));
            }
            factors.iter_mut().zip(&own).for_each(|(f, own)| *f *= own);
        }
        match factors.iter().find(|f| !(f.is_finite() && **f > 0.0)) {
            Some(bad) => Err(file.bad(format_args!("a rotary frequency is divided by {bad}"))),
            None if each || all != 1.0 => Ok(factors),
            None => Ok(Vec::new()),
        }
    }

    /// Refuses sizes that no model has, before anything is multiplied.
    fn check(&self) -> Result<(), String> {
        const MOST: usize = 1 << 24;
        for (what, size) in [
            ("layers", self.layers),
            ("heads", self.heads),
            ("heads of keys and values", self.shared_heads),
            ("values in a vector", self.width),
            ("values in a head", self.head_width),
            ("inner values", self.hidden),
            ("tokens of context", self.context),
            ("tokens", self.vocabulary),
        ] {
            if !(1..=MOST).contains(&size) {
                return Err(format!("{size} {what}"));
            }
        }
        if !self.heads.is_multiple_of(self.shared_heads) {
            let (heads, shared) = (self.heads, self.shared_heads);
            return Err(format!("{heads} heads share {shared} unevenly"));
        }
        if !self.rotated.is_multiple_of(2) || self.rotated > self.head_width {
            return Err(format!(
                "{} rotated values of {}",
                self.rotated, self.head_width
            ));
        }
        if !(self.rotary_base > 1.0 && self.rotary_base.is_finite() && self.norm_epsilon >= 0.0) {
            let (base, epsilon) = (self.rotary_base, self.norm_epsilon);
            return Err(format!(
                "a rotary base of {base} and an epsilon of {epsilon}"
            ));
        }
        Ok(())
    }

    /// Cosine and sine of each pair's angle at a position.
    pub(super) fn turns(&self, position: usize) -> Vec<(f32, f32)> {
        let turn = |pair: usize| {
            let power = -2.0 * pair as f64 / self.rotated as f64;
            let factor = self.rotary_factors.get(pair).copied().unwrap_or(1.0);
            let angle = position as f64 * self.rotary_base.powf(power) / f64::from(factor);
            (angle.cos() as f32, angle.sin() as f32)
        };
        (0..self.rotated / 2).map(turn).collect()
    }

    /// Turns the pairs of each head.
    pub(super) fn rotate(&self, rows: &mut [f32], width: usize, turns: &[Vec<(f32, f32)>]) {
        for (row, turns) in rows.chunks_exact_mut(width).zip(turns) {
            for head in row.chunks_exact_mut(self.head_width) {
                match self.rotary_pairs {
                    RotaryPairs::Neighbours => {
                        let (pairs, _) = head.as_chunks_mut::<2>();
                        for ([a, b], &(cos, sin)) in pairs.iter_mut().zip(turns) {
                            (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                        }
                    }
                    RotaryPairs::Halves => {
                        let (first, second) = head.split_at_mut(self.rotated / 2);
                        for ((a, b), &(cos, sin)) in first.iter_mut().zip(second).zip(turns) {
                            (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                        }
                    }
                }
            }
        }
    }
}
