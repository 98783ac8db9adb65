use std::collections::{HashMap, HashSet};

use super::*;
use crate::bundled::tunes;
use crate::{Columns, FeatureValue, Interactions};

fn small() -> SimulatedLog {
    SimulatedLog {
        listeners: 300,
        plays: 24_000,
        ..SimulatedLog::default()
    }
}

#[test]
fn counts_are_exact_and_times_ordered() {
    let catalogue = tunes().unwrap();
    let config = small();
    let log = config.generate(&catalogue).unwrap();
    assert_eq!((log.plays.len(), log.listeners.len()), (24_000, 300));
    assert_eq!(log.listeners.iter().map(|l| l.plays).sum::<usize>(), 24_000);
    assert!(log.plays.windows(2).all(|w| w[0].time <= w[1].time));
    let mut last: HashMap<u32, (i64, u32)> = HashMap::new();
    let mut seen = HashSet::new();
    let end = config.start + i64::from(config.days) * DAY;
    for play in &log.plays {
        assert!(play.time >= config.start && play.time < end + 2 * DAY);
        if let Some((time, session)) = last.insert(play.listener, (play.time, play.session)) {
            assert!(time < play.time, "two plays of one listener at once");
            // A session is one run of plays of one listener.
            assert!(session == play.session || !seen.contains(&play.session));
            seen.insert(session);
        }
    }
    let sessions = log.sessions();
    assert_eq!(sessions.len(), log.sessions);
    for session in &sessions {
        assert!(!session.is_empty());
        assert!(
            session.windows(2).all(|w| w[0] != w[1]),
            "the same tune twice in a row"
        );
    }
    let mean = 24_000.0 / sessions.len() as f64;
    assert!((4.5..6.5).contains(&mean), "mean session length {mean}");
}

#[test]
fn the_same_seed_gives_the_same_log() {
    let catalogue = tunes().unwrap();
    let one = small().generate(&catalogue).unwrap();
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    assert_eq!(
        one,
        threads.install(|| small().generate(&catalogue)).unwrap()
    );
    let other = SimulatedLog {
        seed: 43,
        ..small()
    }
    .generate(&catalogue)
    .unwrap();
    assert_ne!(one.plays, other.plays);
}

/// Pinned over a catalogue made here, so that it only moves when the generator does.
#[test]
fn plays_are_pinned() {
    let rhythms = ["reel", "jig", "hornpipe", "waltz"];
    let modes = ["major", "dorian", "minor"];
    let catalogue: Vec<TuneRecord> = (0..200_u32)
        .map(|i| TuneRecord {
            id: format!("tune-{i}"),
            number: i,
            title: String::new(),
            book: String::new(),
            rhythm: rhythms[i as usize * i as usize % 4].to_owned(),
            metre: String::new(),
            unit: String::new(),
            key: ["D", "G", "A"][i as usize % 3].to_owned(),
            mode: modes[i as usize / 3 % 3].to_owned(),
            range: (10 + i * 7 % 13) as f32,
            density: 1.0,
            difficulty: (i * 37 % 101) as f32 / 101.0,
            body: String::new(),
        })
        .collect();
    let log = SimulatedLog {
        listeners: 40,
        plays: 3_000,
        seed: 7,
        ..SimulatedLog::default()
    }
    .generate(&catalogue)
    .unwrap();
    // FNV-1a over everything a play is.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for play in &log.plays {
        for value in [
            play.listener.into(),
            play.tune.into(),
            play.session.into(),
            play.time,
        ] {
            for byte in value.to_le_bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    assert_eq!(hash, 0xab4f_754c_6771_5cae, "{hash:#x}");
}

#[test]
fn popularity_and_activity_have_heavy_tails() {
    let catalogue = tunes().unwrap();
    let log = SimulatedLog {
        listeners: 600,
        plays: 60_000,
        ..SimulatedLog::default()
    }
    .generate(&catalogue)
    .unwrap();
    let mut counts = vec![0.0_f64; catalogue.len()];
    log.plays
        .iter()
        .for_each(|p| counts[p.tune as usize] += 1.0);
    counts.sort_by(|a, b| b.total_cmp(a));
    let top: f64 = counts[..counts.len() / 20].iter().sum::<f64>() / 60_000.0;
    assert!(
        (0.2..0.6).contains(&top),
        "the top 5 % have {top} of the plays"
    );
    // Least squares of ln plays on ln rank over ranks 10 to 1000.
    let points: Vec<(f64, f64)> = (10..1_000)
        .map(|r| ((r as f64).ln(), counts[r - 1].max(0.5).ln()))
        .collect();
    let n = points.len() as f64;
    let (mx, my) = (
        points.iter().map(|p| p.0).sum::<f64>() / n,
        points.iter().map(|p| p.1).sum::<f64>() / n,
    );
    let sxy: f64 = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum();
    let sxx: f64 = points.iter().map(|p| (p.0 - mx).powi(2)).sum();
    let syy: f64 = points.iter().map(|p| (p.1 - my).powi(2)).sum();
    let (slope, fit) = (sxy / sxx, sxy * sxy / (sxx * syy));
    assert!(
        (-1.3..-0.4).contains(&slope) && fit > 0.9,
        "slope {slope}, R² {fit}"
    );
    let mut active: Vec<usize> = log.listeners.iter().map(|l| l.plays).collect();
    active.sort_unstable();
    assert!(active[0] >= 5);
    assert!(
        active[599] > 5 * active[300],
        "{} and {}",
        active[599],
        active[300]
    );
}

#[test]
fn plays_show_the_true_tastes() {
    let catalogue = tunes().unwrap();
    let log = small().generate(&catalogue).unwrap();
    let rhythm_of: Vec<usize> = catalogue
        .iter()
        .map(|t| log.rhythms.iter().position(|r| *r == t.rhythm).unwrap())
        .collect();
    let mut total = vec![0.0; log.rhythms.len()];
    let mut own = vec![vec![0.0; log.rhythms.len()]; log.listeners.len()];
    for play in &log.plays {
        let rhythm = rhythm_of[play.tune as usize];
        total[rhythm] += 1.0;
        own[play.listener as usize][rhythm] += 1.0;
    }
    // Among rhythms with enough tunes, is the one a listener likes best played above its share?
    let common: Vec<usize> = (0..log.rhythms.len())
        .filter(|&r| total[r] > 1_000.0)
        .collect();
    assert!(common.len() >= 3, "{:?} {total:?}", log.rhythms);
    let mut above = 0;
    for (listener, own) in log.listeners.iter().zip(&own) {
        let best = common
            .iter()
            .copied()
            .max_by(|&a, &b| listener.taste.rhythms[a].total_cmp(&listener.taste.rhythms[b]))
            .unwrap();
        above += usize::from(own[best] / listener.plays as f64 > total[best] / 24_000.0);
    }
    // Chance would be about half (150, with a deviation of 9).
    assert!(above > 225, "{above} of 300");
}

#[test]
fn sessions_hang_together() {
    let catalogue = tunes().unwrap();
    let log = small().generate(&catalogue).unwrap();
    let same = |a: u32, b: u32| catalogue[a as usize].rhythm == catalogue[b as usize].rhythm;
    let sessions = log.sessions();
    let inside: Vec<bool> = sessions
        .iter()
        .flat_map(|s| s.windows(2))
        .map(|w| same(w[0], w[1]))
        .collect();
    let across: Vec<bool> = sessions
        .windows(2)
        .map(|w| same(w[0][0], w[1][0]))
        .collect();
    let share = |v: &[bool]| v.iter().filter(|&&x| x).count() as f64 / v.len() as f64;
    assert!(
        share(&inside) > share(&across) + 0.2,
        "{} {}",
        share(&inside),
        share(&across)
    );
}

#[test]
fn matrices_keep_every_play() {
    let catalogue = tunes().unwrap();
    let log = small().generate(&catalogue).unwrap();
    let all = log.interactions().unwrap();
    assert_eq!((all.n_users(), all.n_items()), (300, catalogue.len()));
    assert_eq!(
        all.iter().map(|e| f64::from(e.weight)).sum::<f64>(),
        24_000.0
    );
    let (train, test) = log.split(0.2).unwrap();
    assert_eq!(
        train.iter().map(|e| f64::from(e.weight)).sum::<f64>(),
        19_200.0
    );
    assert_eq!(train.len() + test.len(), all.len());
    let first = test.iter().filter_map(|e| e.time).min().unwrap();
    assert!(train.iter().filter_map(|e| e.time).all(|t| t <= first));
    assert!(log.split(0.0).is_err() && log.split(f64::NAN).is_err());
}

#[test]
fn csv_says_it_is_simulated() {
    let log = SimulatedLog {
        listeners: 3,
        plays: 20,
        ..small()
    }
    .generate(&tunes().unwrap())
    .unwrap();
    let mut csv = Vec::new();
    log.write_csv(&mut csv).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].starts_with("# simulated"));
    assert_eq!(lines[1], "listener,tune,time,session");
    assert_eq!(lines.len(), 22);
    assert!(lines[2].starts_with("listener-000"));
}

#[test]
fn csv_reads_back_as_the_same_log() {
    let log = small().generate(&tunes().unwrap()).unwrap();
    let mut csv = Vec::new();
    log.write_csv(&mut csv).unwrap();
    let read =
        Interactions::from_csv_reader(&csv[..], "simulated.csv", &Columns::default()).unwrap();
    let made = log.interactions().unwrap();
    assert_eq!(
        (read.n_users(), read.len(), read.has_times()),
        (300, made.len(), true)
    );
    for event in read.iter() {
        let user = made
            .users()
            .get(read.users().name(event.user).unwrap())
            .unwrap();
        let item = made
            .items()
            .get(read.items().name(event.item).unwrap())
            .unwrap();
        let (items, plays) = made.user_items(user);
        assert_eq!(plays[items.binary_search(&item).unwrap()], event.weight);
    }
}

#[test]
fn features_follow_the_listeners() {
    let log = small().generate(&tunes().unwrap()).unwrap();
    let features = log.features().unwrap();
    assert_eq!(features.len(), 300);
    let listener = &log.listeners[17];
    assert_eq!(features.ids().name(17), Some("listener-0018"));
    assert_eq!(
        features.value(17, "instrument"),
        Some(FeatureValue::Category(listener.instrument))
    );
}

#[test]
fn bad_settings_are_named() {
    let catalogue = tunes().unwrap();
    let wrong = [
        SimulatedLog {
            listeners: 0,
            ..small()
        },
        SimulatedLog {
            plays: 100,
            ..small()
        },
        SimulatedLog { days: 0, ..small() },
        SimulatedLog {
            start: i64::MAX,
            ..small()
        },
        SimulatedLog {
            session_length: f64::NAN,
            ..small()
        },
        SimulatedLog {
            sets: 0.8,
            ..small()
        },
        SimulatedLog {
            drift: -1.0,
            ..small()
        },
        SimulatedLog {
            popularity: f64::INFINITY,
            ..small()
        },
    ];
    for config in wrong {
        assert!(
            matches!(config.generate(&catalogue), Err(Error::Config { .. })),
            "{config:?}"
        );
    }
    assert!(matches!(small().generate(&[]), Err(Error::Empty { .. })));
    // One tune only: nothing to choose, but no panic.
    let one = SimulatedLog {
        listeners: 2,
        plays: 30,
        ..small()
    }
    .generate(&catalogue[..1])
    .unwrap();
    assert!(one.plays.iter().all(|p| p.tune == 0));
    let mut spoilt = catalogue[..3].to_vec();
    spoilt[1].range = f32::NAN;
    assert!(matches!(
        small().generate(&spoilt),
        Err(Error::Feature { .. })
    ));
}
