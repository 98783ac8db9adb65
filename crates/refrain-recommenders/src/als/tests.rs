use super::*;
use crate::Recommender;

crate::conformance!(default, personal, |log| Als { factors: 8, ..Als::default() }.fit(log));
