//! Neural sequential models on burn.

mod bert4rec;
mod body;
mod checkpoint;
mod engine;
mod fit;
mod gru;
mod gru4rec;
mod leaves;
mod model;
mod objective;
mod pool;
mod sasrec;
mod slices;
mod table;
#[cfg(test)]
mod tests;
mod training;
mod two_tower;
#[cfg(test)]
mod two_tower_tests;

pub use bert4rec::Bert4Rec;
pub use gru4rec::Gru4Rec;
pub(crate) use model::READER;
pub use model::{NextItemModel, Settings};
pub use sasrec::{Order, SasRec};
pub use training::{NextItemLoss, Training};
pub use two_tower::TwoTower;

use refrain_sequence::parts::Layers;
use refrain_sequence::{Biases, FeedForward, Norm, Positions, TransformerConfig};

use body::Body;

use crate::{Error, Result};

/// The layers of a transformer.
struct Shape {
    name: &'static str,
    width: usize,
    layers: usize,
    heads: usize,
    context: usize,
    dropout: f32,
    order: Order,
    causal: bool,
    feed_forward: FeedForward,
}

impl Shape {
    fn body(&self) -> Result<Body> {
        let config = TransformerConfig {
            layers: self.layers,
            heads: self.heads,
            head_width: None,
            key_value_heads: None,
            window: None,
            rotary_scaling: None,
            width: self.width,
            context: self.context,
            hidden: None,
            dropout: self.dropout,
            positions: match self.order {
                Order::Learned => Positions::Learned,
                Order::Rotary => Positions::Rotary { base: 10_000.0 },
            },
            norm: Norm::Layer,
            norm_epsilon: 1e-5,
            feed_forward: self.feed_forward,
            bias: Biases::All,
            tied: true,
        };
        match Layers::new(&config, self.causal) {
            Ok(layers) => Ok(Body::Attention(Box::new(layers))),
            Err(refrain_sequence::Error::Config {
                field,
                value,
                expected,
            }) => Err(Error::Config {
                model: self.name,
                field: field.strip_prefix("TransformerConfig.").unwrap_or(field),
                value,
                expected,
            }),
            Err(error) => Err(body::device_error(error)),
        }
    }
}
