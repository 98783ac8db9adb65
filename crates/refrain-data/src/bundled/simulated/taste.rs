//! What a listener likes, and how that moves.

use super::draw::{Draw, exp};
use super::world::World;
use super::{FLAVOURS, SimulatedLog};

/// Instruments: players of the same one lean the same way.
pub(super) const INSTRUMENTS: [&str; 7] = [
    "accordion",
    "banjo",
    "concertina",
    "fiddle",
    "flute",
    "pipes",
    "whistle",
];

/// Number of circles: people who play together come to like the same flavours.
pub(super) const CIRCLES: usize = 16;

/// Spread of the leanings that an instrument's players share, and of each player's own.
const SHARED: f64 = 1.2;
const OWN_RHYTHM: f64 = 0.35;
const OWN_MODE: f64 = 0.25;
const OWN_RANGE: f64 = 0.5;
/// How far from the wanted range and difficulty (in standard deviations) a tune may be.
const RANGE_WIDTH: f64 = 2.0;
const DIFFICULTY_WIDTH: f64 = 1.2;
/// Strength of the hidden flavours, and the part of its variance that a circle shares.
const FLAVOUR: f64 = 2.0;
const CIRCLE: f64 = 0.9;

/// What a listener likes: the truth behind the plays, which no model gets to see.
#[derive(Debug, Clone, PartialEq)]
pub struct Taste {
    /// Liking of each rhythm of [`Simulation::rhythms`](super::Simulation::rhythms); 0 is neutral.
    pub rhythms: Vec<f64>,
    /// Liking of each mode of [`Simulation::modes`](super::Simulation::modes).
    pub modes: Vec<f64>,
    /// The range liked best, in standard deviations of the catalogue from its mean.
    pub range: f64,
    /// The difficulty liked best, likewise.
    pub difficulty: f64,
    /// Direction in the space of hidden flavours, which no column of the catalogue shows.
    pub flavours: Vec<f64>,
}

/// What the players of one instrument have in common.
pub(super) struct Instrument {
    name: &'static str,
    rhythms: Vec<f64>,
    modes: Vec<f64>,
    range: f64,
}

impl Instrument {
    fn new(draw: &mut Draw, world: &World, name: &'static str) -> Self {
        Self {
            name,
            rhythms: world
                .rhythms
                .iter()
                .map(|_| SHARED * draw.normal())
                .collect(),
            modes: world.modes.iter().map(|_| SHARED * draw.normal()).collect(),
            range: SHARED * draw.normal(),
        }
    }
}

/// What listeners have in common with others.
pub(super) struct Society {
    instruments: Vec<Instrument>,
    circles: Vec<[f64; FLAVOURS]>,
}

impl Society {
    pub(super) fn new(draw: &mut Draw, world: &World) -> Self {
        let instruments = INSTRUMENTS
            .iter()
            .map(|name| Instrument::new(draw, world, name))
            .collect();
        Self {
            instruments,
            circles: (0..CIRCLES).map(|_| draw.normals()).collect(),
        }
    }

    /// A listener's instrument, circle and taste at the start.
    pub(super) fn member(&self, draw: &mut Draw) -> (&'static str, usize, Taste) {
        let instrument = &self.instruments[draw.below(self.instruments.len())];
        let circle = draw.below(self.circles.len());
        let scale = FLAVOUR / (FLAVOURS as f64).sqrt();
        let flavours = self.circles[circle]
            .iter()
            .map(|c| scale * (CIRCLE.sqrt() * c + (1.0 - CIRCLE).sqrt() * draw.normal()))
            .collect();
        let mut around = |likings: &[f64], spread: f64| {
            likings.iter().map(|l| l + spread * draw.normal()).collect()
        };
        let taste = Taste {
            rhythms: around(&instrument.rhythms, OWN_RHYTHM),
            modes: around(&instrument.modes, OWN_MODE),
            range: instrument.range + OWN_RANGE * draw.normal(),
            difficulty: draw.normal() - 0.3,
            flavours,
        };
        (instrument.name, circle, taste)
    }
}

impl Taste {
    /// One quarter of a year later: rhythms wander, and practice asks for harder tunes.
    pub(super) fn drift(&mut self, draw: &mut Draw, config: &SimulatedLog) {
        for liking in &mut self.rhythms {
            *liking += config.drift * draw.normal();
        }
        self.difficulty += 0.4 * config.drift * draw.unit();
    }

    /// How much the listener likes each tune, fame included, in the world's order.
    fn utilities(&self, world: &World, config: &SimulatedLog) -> Vec<f64> {
        let columns = &world.columns;
        let mut utilities = vec![0.0; world.order.len()];
        for (rhythm, group) in world.groups.iter().enumerate() {
            let liking = self.rhythms.get(rhythm).copied().unwrap_or_default();
            utilities[group.clone()]
                .iter_mut()
                .for_each(|u| *u = liking);
        }
        for (u, &mode) in utilities.iter_mut().zip(&columns.mode) {
            *u += self.modes[mode as usize];
        }
        let (range, difficulty) = (self.range, self.difficulty);
        for ((u, x), d) in utilities
            .iter_mut()
            .zip(&columns.range)
            .zip(&columns.difficulty)
        {
            let x = (x - range) / RANGE_WIDTH;
            let d = (d - difficulty) / DIFFICULTY_WIDTH;
            *u -= 0.5 * (x * x + d * d);
        }
        for (&liking, flavour) in self.flavours.iter().zip(&columns.flavours) {
            utilities
                .iter_mut()
                .zip(flavour)
                .for_each(|(u, q)| *u += liking * q);
        }
        for (u, fame) in utilities.iter_mut().zip(&columns.log_fame) {
            *u = config.taste * *u + fame;
        }
        utilities
    }
}

/// The chances of a taste: running totals of `exp(ln fame + utility)` in the world's order.
pub(super) struct Chances {
    totals: Vec<f64>,
    /// Running totals over the rhythms.
    rhythms: Vec<f64>,
}

impl Chances {
    pub(super) fn new(world: &World, taste: &Taste, config: &SimulatedLog) -> Self {
        let mut totals = taste.utilities(world, config);
        totals.iter_mut().for_each(|u| *u = exp(*u));
        let mut sum = 0.0;
        for total in &mut totals {
            sum += *total;
            *total = sum;
        }
        let rhythms = world.groups.iter().map(|g| totals[g.end - 1]).collect();
        Self { totals, rhythms }
    }

    pub(super) fn rhythm(&self, draw: &mut Draw) -> usize {
        draw.weighted(&self.rhythms, 0.0)
    }

    pub(super) fn tune(&self, draw: &mut Draw, world: &World, rhythm: usize) -> u32 {
        let group = world.groups[rhythm].clone();
        let before = if rhythm == 0 {
            0.0
        } else {
            self.rhythms[rhythm - 1]
        };
        world.order[group.start + draw.weighted(&self.totals[group], before)]
    }
}
