//! One listener's plays: sessions in time, each with a theme.

use super::draw::Draw;
use super::taste::{Chances, Taste};
use super::world::{COMPANIONS, World};
use super::{DAY, SimulatedLog};

/// Days after which a taste has moved.
const QUARTER: i64 = 91 * DAY;
/// Chance that the next tune has another rhythm than the session so far.
const CHANGE: f64 = 0.12;
/// Of the exploring plays, the part that ignores even fame.
const BLIND: f64 = 0.25;
/// Chance to move a session from a working day to another day.
const WEEKEND: f64 = 0.35;
/// How often a session starts in each hour of the day: work, then the evening.
const HOURS: [f64; 24] = [
    2.0, 1.0, 0.5, 0.2, 0.2, 0.3, 0.6, 1.2, 1.6, 1.4, 1.4, 1.6, 2.2, 2.0, 1.6, 1.6, 2.0, 3.0, 4.5,
    6.0, 7.0, 7.0, 5.5, 3.5,
];

/// A play before it is numbered.
pub(super) struct RawPlay {
    pub(super) tune: u32,
    pub(super) session: u32,
    /// Seconds after the start of the log.
    pub(super) time: i64,
}

/// All plays of one listener, in time. `taste` is left as it is at the end.
pub(super) fn listen(
    config: &SimulatedLog,
    world: &World,
    draw: &mut Draw,
    taste: &mut Taste,
    plays: usize,
) -> Vec<RawPlay> {
    let lengths = session_lengths(draw, config, plays);
    let starts = session_starts(draw, config, lengths.len());
    let mut events: Vec<RawPlay> = Vec::with_capacity(plays);
    let (mut quarter, mut clock) = (0, 0);
    let mut chances = Chances::new(world, taste, config);
    for (session, (&length, &start)) in lengths.iter().zip(&starts).enumerate() {
        let moved = quarter < start / QUARTER;
        while quarter < start / QUARTER {
            taste.drift(draw, config);
            quarter += 1;
        }
        if moved {
            chances = Chances::new(world, taste, config);
        }
        // A session never begins before the last one is over.
        clock = start.max(clock + 1_800);
        let mut theme = chances.rhythm(draw);
        let first = events.len();
        for _ in 0..length {
            let tune = next_tune(
                config, world, draw, &chances, &mut theme, &events, first, clock,
            );
            events.push(RawPlay {
                tune,
                session: session as u32,
                time: clock,
            });
            clock += 100 + draw.below(140) as i64;
        }
    }
    events
}

#[allow(clippy::too_many_arguments)] // one call site; a struct would only rename the locals
fn next_tune(
    config: &SimulatedLog,
    world: &World,
    draw: &mut Draw,
    chances: &Chances,
    theme: &mut usize,
    events: &[RawPlay],
    first: usize,
    now: i64,
) -> u32 {
    let session = events.get(first..).unwrap_or_default();
    for _ in 0..12 {
        let kind = draw.unit();
        let last = session.last().map(|play| &world.tunes[play.tune as usize]);
        let tune = if kind < config.exploration {
            if draw.chance(BLIND) {
                draw.below(world.tunes.len()) as u32
            } else {
                draw.weighted(&world.fame, 0.0) as u32
            }
        } else if let (true, Some(last)) = (kind < config.exploration + config.sets, last) {
            let which = draw.unit();
            let place = COMPANIONS.iter().position(|&c| which < c).unwrap_or(0);
            let Some(&next) = last.companions.get(place) else {
                continue;
            };
            next
        } else if kind < config.exploration + config.sets + config.replays && first > 0 {
            events[draw.below(first)].tune
        } else {
            if draw.chance(CHANGE) {
                *theme = chances.rhythm(draw);
            }
            chances.tune(draw, world, *theme)
        };
        let new = session.iter().all(|play| play.tune != tune);
        if new && world.tunes[tune as usize].appeared <= now {
            return tune;
        }
    }
    // Nothing fits (a tiny catalogue, a long session): the most famous tune not played just now.
    let last = session.last().map(|play| play.tune);
    world
        .old
        .iter()
        .copied()
        .find(|&tune| Some(tune) != last)
        .unwrap_or_default()
}

fn session_lengths(draw: &mut Draw, config: &SimulatedLog, plays: usize) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut left = plays;
    while left > 0 {
        let length = draw.geometric(config.session_length).min(left).min(60);
        lengths.push(length);
        left -= length;
    }
    lengths
}

/// Sorted seconds after the start of the log: a listener joins some day and may leave some day.
fn session_starts(draw: &mut Draw, config: &SimulatedLog, count: usize) -> Vec<i64> {
    let days = f64::from(config.days);
    // At most about four sessions a day, so that they fit.
    let needed = (count as f64 * 0.25 + 1.0).min(days);
    let joined = if draw.chance(0.4) {
        0.0
    } else {
        (0.9 * days * draw.unit()).min(days - needed)
    };
    let stays = needed + (days - joined - needed) * draw.unit();
    let left = if draw.chance(0.6) {
        days
    } else {
        joined + stays
    };
    let hours = super::world::running(HOURS.into_iter());
    let mut starts: Vec<i64> = (0..count)
        .map(|_| {
            let mut day = (joined + (left - joined) * draw.unit()) as i64;
            let weekday = (day + config.start.div_euclid(DAY) + 4).rem_euclid(7); // 0 = Sunday
            if (1..=4).contains(&weekday) && draw.chance(WEEKEND) {
                day = (joined + (left - joined) * draw.unit()) as i64;
            }
            let hour = draw.weighted(&hours, 0.0) as i64;
            day * DAY + hour * 3_600 + draw.below(3_600) as i64
        })
        .collect();
    starts.sort_unstable();
    starts
}
