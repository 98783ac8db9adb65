//! Train and test: every way to hold events back.
//!
//! | question | split |
//! |---|---|
//! | how well are missing pairs filled in? | [`random`], or [`random_per_user`] |
//! | what does each listener play next? | [`leave_last_out`] |
//! | what would have happened had we launched on that day? | [`temporal`], [`temporal_at`] |
//! | how well are people served whom the model has never seen? | [`users_holdout`], [`users_holdout_with_history`] |
//! | how sure is the number? | [`k_fold`] |
//!
//! Both sides keep the id tables of the whole log, so a user or an item has the same number in
//! each. No event is on both sides, and none is lost. With a seed, the same log and seed give the
//! same split on every machine.
//!
//! Prefer [`temporal`] for a decision: the others let a model learn from the future.

use rand::RngExt;
use rand::seq::SliceRandom;
use refrain_core::rng;

use crate::{Error, Interactions, Result};

/// Holds back `test_fraction` of all events, drawn at random: exactly the nearest whole number.
///
/// # Errors
/// [`Error::Config`] unless `0 < test_fraction < 1`; [`Error::Split`] when a side would be empty.
pub fn random(
    log: &Interactions,
    test_fraction: f64,
    seed: u64,
) -> Result<(Interactions, Interactions)> {
    check_fraction(test_fraction)?;
    let n = log.len();
    let size = (n as f64 * test_fraction).round() as usize;
    let mut draws = rng::stream(seed, 0);
    // Selection sampling: of `left` events, `wanted` are still to be taken.
    let (mut left, mut wanted) = (n, size);
    let in_test = (0..n).map(|_| {
        let take = draws.random_range(0..left) < wanted;
        left -= 1;
        wanted -= usize::from(take);
        take
    });
    divide("random split", log, &in_test.collect::<Vec<_>>())
}

/// Holds back `test_fraction` of each user's events, drawn at random: the nearest whole number, but
/// never all of them.
///
/// # Errors
/// [`Error::Config`] unless `0 < test_fraction < 1`; [`Error::Split`] when a side would be empty.
pub fn random_per_user(
    log: &Interactions,
    test_fraction: f64,
    seed: u64,
) -> Result<(Interactions, Interactions)> {
    check_fraction(test_fraction)?;
    let mut in_test = Vec::with_capacity(log.len());
    for user in 0..log.n_users() as u32 {
        let n = log.user_items(user).0.len();
        let size = ((n as f64 * test_fraction).round() as usize).min(n.saturating_sub(1));
        let start = in_test.len();
        in_test.resize(start + size, true);
        in_test.resize(start + n, false);
        in_test[start..].shuffle(&mut rng::stream(seed, u64::from(user)));
    }
    divide("random split per user", log, &in_test)
}

/// Holds back each user's last `n` events. Events at equal times count as later the higher their
/// item's number is. A user with `n` events or fewer stays in train as a whole.
///
/// # Errors
/// [`Error::NoTimes`]; [`Error::Config`] for `n` = 0; [`Error::Split`] when a side would be empty.
pub fn leave_last_out(log: &Interactions, n: usize) -> Result<(Interactions, Interactions)> {
    if n == 0 {
        return Err(Error::Config {
            field: "n",
            value: n.to_string(),
            must: "at least 1",
        });
    }
    if !log.has_times() {
        return Err(Error::NoTimes {
            what: "leave_last_out",
        });
    }
    let mut in_test = vec![false; log.len()];
    let mut start = 0;
    let mut latest = Vec::new();
    for user in 0..log.n_users() as u32 {
        let times = log.user_times(user).unwrap_or_default();
        if times.len() > n {
            latest.clear();
            latest.extend(times.iter().enumerate().map(|(i, &time)| (time, i)));
            latest.select_nth_unstable_by(n - 1, |a, b| b.cmp(a));
            latest
                .iter()
                .take(n)
                .for_each(|&(_, i)| in_test[start + i] = true);
        }
        start += times.len();
    }
    divide("leave_last_out", log, &in_test)
}

/// Holds back the latest `test_fraction` of the whole log. Train ends before test begins: events at
/// one time are never divided, so the cut is the one between two times that comes nearest to the
/// fraction (the later one, if two are as near).
///
/// # Errors
/// [`Error::NoTimes`]; [`Error::Config`] unless `0 < test_fraction < 1`; [`Error::Split`] when all
/// events have one time.
pub fn temporal(log: &Interactions, test_fraction: f64) -> Result<(Interactions, Interactions)> {
    check_fraction(test_fraction)?;
    let Some(times) = log.times() else {
        return Err(Error::NoTimes { what: "temporal" });
    };
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let n = sorted.len();
    let ideal = n - (n as f64 * test_fraction).round() as usize;
    // The cuts on both sides of the ideal one; a cut at `c` keeps sorted[..c] in train.
    let at = sorted
        .get(ideal.min(n.saturating_sub(1)))
        .copied()
        .unwrap_or_default();
    let before = sorted.partition_point(|&time| time < at);
    let after = sorted.partition_point(|&time| time <= at);
    let cut = [after, before]
        .into_iter()
        .filter(|&cut| cut > 0 && cut < n)
        .min_by_key(|&cut| cut.abs_diff(ideal));
    match cut.and_then(|cut| sorted.get(cut)) {
        Some(&time) => temporal_at(log, time),
        None => Err(Error::Split {
            split: "temporal",
            reason: format!("{n} events do not have two different times"),
        }),
    }
}

/// Holds back every event at `time` or later.
///
/// # Errors
/// [`Error::NoTimes`]; [`Error::Split`] when a side would be empty.
pub fn temporal_at(log: &Interactions, time: i64) -> Result<(Interactions, Interactions)> {
    let times = log.times().ok_or(Error::NoTimes {
        what: "temporal_at",
    })?;
    divide(
        "temporal",
        log,
        &times.iter().map(|&t| t >= time).collect::<Vec<_>>(),
    )
}

/// Holds back every event of `fraction` of the users (of those who have events; at least one),
/// drawn at random. Train knows nothing of them.
///
/// # Errors
/// [`Error::Config`] unless `0 < fraction < 1`; [`Error::Split`] when a side would be empty.
pub fn users_holdout(
    log: &Interactions,
    fraction: f64,
    seed: u64,
) -> Result<(Interactions, Interactions)> {
    let held = held_users(log, fraction, seed)?;
    let in_test: Vec<bool> = log.iter().map(|event| held[event.user as usize]).collect();
    divide("users_holdout", log, &in_test)
}

/// What [`users_holdout_with_history`] gives.
#[derive(Debug, Clone)]
pub struct Holdout {
    /// Everything of the other users: what to fit on.
    pub train: Interactions,
    /// Some events of the users held back: what the fitted model is told about them.
    pub history: Interactions,
    /// Their other events: what it should foresee.
    pub test: Interactions,
}

/// As [`users_holdout`], with the events of the users held back divided once more: `hidden` of each
/// one's events are to be foreseen from the others (the latest ones if the log has times, else a
/// random choice). A user with one event has it in `history`.
///
/// # Errors
/// [`Error::Config`] unless both fractions are between 0 and 1; [`Error::Split`] when a part would
/// be empty.
pub fn users_holdout_with_history(
    log: &Interactions,
    fraction: f64,
    hidden: f64,
    seed: u64,
) -> Result<Holdout> {
    check_fraction(hidden)?;
    let (train, held) = users_holdout(log, fraction, seed)?;
    if !held.has_times() {
        let (history, test) = random_per_user(&held, hidden, rng::stream(seed, 1).random())?;
        return Ok(Holdout {
            train,
            history,
            test,
        });
    }
    let mut in_test = Vec::with_capacity(held.len());
    for user in 0..held.n_users() as u32 {
        let times = held.user_times(user).unwrap_or_default();
        let n = times.len();
        let size = ((n as f64 * hidden).round() as usize).min(n.saturating_sub(1));
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_unstable_by_key(|&i| (times[i], i));
        let start = in_test.len();
        in_test.resize(start + n, false);
        order
            .iter()
            .skip(n - size)
            .for_each(|&i| in_test[start + i] = true);
    }
    let (history, test) = divide("users_holdout_with_history", &held, &in_test)?;
    Ok(Holdout {
        train,
        history,
        test,
    })
}

/// Divides all events into `k` parts of nearly equal size at random; each part is the test side of
/// one pair.
///
/// # Errors
/// [`Error::Config`] unless `2 ≤ k ≤ events`.
pub fn k_fold(
    log: &Interactions,
    k: usize,
    seed: u64,
) -> Result<Vec<(Interactions, Interactions)>> {
    if k < 2 || k > log.len() || u32::try_from(k).is_err() {
        return Err(Error::Config {
            field: "k",
            value: format!("{k} for {} events", log.len()),
            must: "at least 2 and at most the number of events",
        });
    }
    let mut fold: Vec<u32> = (0..log.len()).map(|i| (i % k) as u32).collect();
    fold.shuffle(&mut rng::stream(seed, 0));
    (0..k as u32)
        .map(|test| {
            divide(
                "k_fold",
                log,
                &fold.iter().map(|&f| f == test).collect::<Vec<_>>(),
            )
        })
        .collect()
}

fn check_fraction(fraction: f64) -> Result<()> {
    match fraction > 0.0 && fraction < 1.0 {
        true => Ok(()),
        false => Err(Error::Config {
            field: "fraction",
            value: fraction.to_string(),
            must: "between 0 and 1, both excluded",
        }),
    }
}

fn held_users(log: &Interactions, fraction: f64, seed: u64) -> Result<Vec<bool>> {
    check_fraction(fraction)?;
    let counts = log.user_counts();
    let mut active: Vec<usize> = (0..counts.len()).filter(|&user| counts[user] > 0).collect();
    active.shuffle(&mut rng::stream(seed, 0));
    let size = ((active.len() as f64 * fraction).round() as usize).max(1);
    let mut held = vec![false; counts.len()];
    active.iter().take(size).for_each(|&user| held[user] = true);
    Ok(held)
}

/// The two sides, given which events (in the order of `iter`) are in test.
fn divide(
    split: &'static str,
    log: &Interactions,
    in_test: &[bool],
) -> Result<(Interactions, Interactions)> {
    let tests = in_test.iter().filter(|&&t| t).count();
    for (side, count) in [("test", tests), ("train", log.len() - tests)] {
        if count == 0 {
            let reason = format!("{side} would be empty ({} events in all)", log.len());
            return Err(Error::Split { split, reason });
        }
    }
    let side = |wanted: bool| {
        let mut at = in_test.iter();
        log.filter(|_| at.next() == Some(&wanted))
    };
    Ok((side(false)?, side(true)?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn made(events: &[(u8, u8, i8)], timed: bool) -> Interactions {
        let mut builder = Interactions::builder();
        for &(u, i, t) in events {
            let time = timed.then_some(i64::from(t));
            builder.push(u32::from(u), u32::from(i), 1.0, time).unwrap();
        }
        builder.build().unwrap()
    }

    fn pairs(log: &Interactions) -> BTreeSet<(u32, u32, Option<i64>)> {
        log.iter().map(|e| (e.user, e.item, e.time)).collect()
    }

    /// No event on two sides, none lost, the same tables.
    fn check_parts(log: &Interactions, parts: &[&Interactions]) {
        let mut all = BTreeSet::new();
        for part in parts {
            assert!(!part.is_empty());
            assert!(std::ptr::eq(part.users(), log.users()));
            assert!(std::ptr::eq(part.items(), log.items()));
            for event in pairs(part) {
                assert!(all.insert(event), "{event:?} is on two sides");
            }
        }
        assert_eq!(all, pairs(log));
    }

    /// The split has both sides whole, or says why it cannot be made.
    fn check(log: &Interactions, split: Result<(Interactions, Interactions)>) {
        match split {
            Ok((train, test)) => check_parts(log, &[&train, &test]),
            Err(Error::Split { .. } | Error::Config { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }

    proptest! {
        #[test]
        fn sides_share_nothing_and_lose_nothing(
            events in proptest::collection::vec((0u8..9, 0u8..15, -4i8..4), 1..120),
            fraction in 0.01f64..0.99, hidden in 0.01f64..0.99, seed in any::<u64>(),
            n in 1usize..4, k in 2usize..6, timed in any::<bool>(),
        ) {
            let log = made(&events, timed);
            check(&log, random(&log, fraction, seed));
            check(&log, random_per_user(&log, fraction, seed));
            check(&log, users_holdout(&log, fraction, seed));
            if let Ok((train, test)) = users_holdout(&log, fraction, seed) {
                for (a, b) in train.user_counts().iter().zip(test.user_counts()) {
                    prop_assert!(*a == 0 || b == 0);
                }
            }
            if let Ok(Holdout { train, history, test }) =
                users_holdout_with_history(&log, fraction, hidden, seed)
            {
                check_parts(&log, &[&train, &history, &test]);
                for (h, t) in history.user_counts().iter().zip(test.user_counts()) {
                    prop_assert!(t == 0 || *h > 0, "a target without a history");
                }
            }
            match k_fold(&log, k, seed) {
                Ok(folds) => {
                    let tests: Vec<_> = folds.iter().map(|(_, test)| test).collect();
                    check_parts(&log, &tests);
                    for (train, test) in &folds {
                        check_parts(&log, &[train, test]);
                        prop_assert!(test.len().abs_diff(log.len() / k) <= 1);
                    }
                }
                Err(_) => prop_assert!(log.len() < k),
            }
            if !timed {
                let expected = matches!(temporal(&log, fraction), Err(Error::NoTimes { .. }))
                    && matches!(leave_last_out(&log, n), Err(Error::NoTimes { .. }));
                prop_assert!(expected);
                return Ok(());
            }
            check(&log, temporal(&log, fraction));
            if let Ok((train, test)) = temporal(&log, fraction) {
                prop_assert!(train.times().unwrap().iter().max() < test.times().unwrap().iter().min());
            }
            check(&log, leave_last_out(&log, n));
            if let Ok((train, test)) = leave_last_out(&log, n) {
                for user in 0..log.n_users() as u32 {
                    let held = test.user_items(user).0.len();
                    prop_assert_eq!(held, if log.user_items(user).0.len() > n { n } else { 0 });
                    let last = |log: &Interactions| -> Vec<(i64, u32)> {
                        let times = log.user_times(user).unwrap().iter().copied();
                        times.zip(log.user_items(user).0.iter().copied()).collect()
                    };
                    if held > 0 {
                        prop_assert!(last(&train).iter().max() < last(&test).iter().min());
                    }
                }
            }
        }
    }

    #[test]
    fn sizes_and_seeds() {
        let events: Vec<_> = (0..10u8)
            .flat_map(|u| (0..10u8).map(move |i| (u, i, 0)))
            .collect();
        let log = made(&events, false);
        let (train, test) = random(&log, 0.2, 1).unwrap();
        assert_eq!((train.len(), test.len()), (80, 20));
        assert_eq!(random(&log, 0.2, 1).unwrap().1, test);
        assert_ne!(random(&log, 0.2, 2).unwrap().1, test);
        let (_, test) = random_per_user(&log, 0.2, 1).unwrap();
        assert_eq!(test.user_counts(), [2; 10]);
        let (_, test) = users_holdout(&log, 0.3, 1).unwrap();
        assert_eq!(test.len(), 30);
    }

    #[test]
    fn ties_in_time_have_a_rule() {
        // One time for all of a user's events: the highest item number is the last.
        let log = made(&[(0, 0, 5), (0, 1, 5), (0, 2, 5), (1, 0, 1)], true);
        let (train, test) = leave_last_out(&log, 1).unwrap();
        assert_eq!(
            test.iter().map(|e| (e.user, e.item)).collect::<Vec<_>>(),
            [(0, 2)]
        );
        assert_eq!(train.user_items(1).0, [0]);
        // Times 1 5 5 5: half and half is impossible, the only cut is after the 1.
        let (train, test) = temporal(&log, 0.5).unwrap();
        assert_eq!((train.len(), test.len()), (1, 3));
        let same = made(&[(0, 0, 5), (0, 1, 5)], true);
        let error = temporal(&same, 0.5).unwrap_err();
        assert_eq!(
            error.to_string(),
            "temporal: 2 events do not have two different times"
        );
    }

    #[test]
    fn settings_are_checked() {
        let log = made(&[(0, 0, 5), (0, 1, 5)], true);
        for bad in [0.0, 1.0, -0.1, f64::NAN] {
            assert!(matches!(random(&log, bad, 0), Err(Error::Config { .. })));
            assert!(matches!(temporal(&log, bad), Err(Error::Config { .. })));
        }
        assert!(matches!(leave_last_out(&log, 0), Err(Error::Config { .. })));
        assert!(matches!(k_fold(&log, 3, 0), Err(Error::Config { .. })));
    }
}
