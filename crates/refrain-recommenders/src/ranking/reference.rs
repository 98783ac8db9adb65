//! One epoch by the book: the same arrangement and the same draws as the engine, plain loops on rows
//! of their own, AdaGrad and all, one task after the other.

use rand::RngExt;
use refrain_core::rng::{self, Stream};

use super::engine::{KNOWN, Plan, Positives, Settings, Tables, rate, run_epoch};
use super::negatives::Table;
use super::objective::{Objective, hinge, log_loss, rank_weight};
use super::step::EPSILON;
use super::{Negatives, Optimizer};

struct Slow<'a> {
    settings: &'a Settings,
    rate: f32,
    users: Vec<Vec<f32>>,
    items: Vec<Vec<f32>>,
    bias: Vec<f32>,
    user_squares: Vec<f32>,
    item_squares: Vec<[f32; 2]>,
}

impl Slow<'_> {
    fn score(&self, u: usize, i: usize) -> f32 {
        dot(&self.users[u], &self.items[i]) + self.bias[i]
    }

    /// The size of a row's step after this gradient.
    fn adapt(&self, square: &mut f32, gradient: &[f32]) -> f32 {
        match self.settings.optimizer {
            Optimizer::Sgd => self.rate,
            Optimizer::AdaGrad => {
                *square += dot(gradient, gradient) / gradient.len() as f32;
                self.rate / (*square + EPSILON).sqrt()
            }
        }
    }

    /// A step on rows whose score has these slopes: `(item, slope)`.
    fn step(&mut self, u: usize, slopes: &[(usize, f32)]) {
        let decay = self.settings.regularization;
        let f = self.settings.factors;
        let p = self.users[u].clone();
        let mut of_user = vec![0.0; f];
        for &(i, slope) in slopes {
            for (sum, q) in of_user.iter_mut().zip(&self.items[i]) {
                *sum += slope * q;
            }
            let of_item: Vec<f32> = p.iter().map(|p| slope * p).collect();
            let [mut row, mut own] = self.item_squares[i];
            let (size, of_bias) = (
                self.adapt(&mut row, &of_item),
                self.adapt(&mut own, &[slope]),
            );
            self.item_squares[i] = [row, own];
            for (q, gradient) in self.items[i].iter_mut().zip(&of_item) {
                *q += size * gradient - (size * decay).min(1.0) * *q;
            }
            self.bias[i] += of_bias * slope - (of_bias * decay).min(1.0) * self.bias[i];
        }
        let mut square = self.user_squares[u];
        let size = self.adapt(&mut square, &of_user);
        self.user_squares[u] = square;
        for (value, gradient) in self.users[u].iter_mut().zip(&of_user) {
            *value += size * gradient - (size * decay).min(1.0) * *value;
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// What [`run_epoch`] does.
fn epoch_reference(
    settings: &Settings,
    positives: &Positives,
    tables: &mut Tables,
    plan: &mut Plan,
    epoch: usize,
) -> f64 {
    plan.deal(positives, settings.seed, epoch);
    let (f, stride, n) = (tables.factors, tables.stride(), tables.bias.len());
    let rows = |table: &[f32]| table.chunks(stride).map(|row| row[..f].to_vec()).collect();
    let mut slow = Slow {
        settings,
        rate: rate(settings, epoch),
        users: rows(&tables.users),
        items: rows(&tables.items),
        bias: tables.bias.clone(),
        user_squares: tables.user_squares.clone(),
        item_squares: tables.item_squares.clone(),
    };
    let counts = vec![1; n];
    let mut sum = 0.0;
    for turn in 0..plan.blocks() {
        for b in 0..plan.blocks() {
            let at = (b + turn) % plan.blocks();
            let block = plan.order.chunks(plan.block).nth(at).unwrap_or_default();
            let first = if b == 0 { 0 } else { plan.user_ends[b - 1] };
            let draws = Table::new(&settings.negatives, block, &counts);
            let mut rng = plan.stream(settings.seed, epoch, turn, b);
            let pairs = plan.buckets[b][at].clone();
            for &(user, place) in &pairs {
                if place & KNOWN != 0 {
                    continue;
                }
                let user = first + user as usize;
                let item = |place: u32| block[(place & !KNOWN) as usize] as usize;
                let had = |place: u32| {
                    positives
                        .of(user)
                        .iter()
                        .any(|&i| (i & !KNOWN) as usize == item(place))
                };
                let negative = |slow: &Slow<'_>, rng: &mut Stream| {
                    let first = (0..16).map(|_| draws.any(rng)).find(|&place| !had(place))?;
                    let Negatives::Hardest { of } = settings.negatives else {
                        return Some(item(first));
                    };
                    let mut best = item(first);
                    for _ in 1..of {
                        let other = draws.any(rng);
                        if !had(other) && slow.score(user, item(other)) > slow.score(user, best) {
                            best = item(other);
                        }
                    }
                    Some(best)
                };
                let mut i = item(place);
                match settings.objective {
                    Objective::Bpr => {
                        if let Some(j) = negative(&slow, &mut rng) {
                            let (loss, slope) = log_loss(slow.score(user, i) - slow.score(user, j));
                            sum += f64::from(loss);
                            slow.step(user, &[(i, slope), (j, -slope)]);
                        }
                    }
                    Objective::Warp { trials } | Objective::KosWarp { trials, .. } => {
                        if let Objective::KosWarp { k, of, .. } = settings.objective {
                            let own: Vec<_> = pairs
                                .iter()
                                .filter(|pair| first + pair.0 as usize == user)
                                .collect();
                            let mut drawn = Vec::new();
                            for _ in 0..of {
                                let at = (u64::from(rng.random::<u32>()) * own.len() as u64) >> 32;
                                let place = own[at as usize].1;
                                if place & KNOWN == 0 {
                                    drawn.push((slow.score(user, item(place)), place));
                                }
                            }
                            drawn.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                            if !drawn.is_empty() {
                                i = item(drawn[(k as usize).min(drawn.len()) - 1].1);
                            }
                        }
                        for draw in 1..=trials {
                            let other = draws.any(&mut rng);
                            let j = item(other);
                            let x = slow.score(user, i) - slow.score(user, j);
                            if !had(other) && x < 1.0 {
                                let (loss, slope) = hinge(x, rank_weight(n, draw));
                                sum += f64::from(loss);
                                slow.step(user, &[(i, slope), (j, -slope)]);
                                break;
                            }
                        }
                    }
                    Objective::Logistic { negatives } => {
                        let mut point = |slow: &mut Slow<'_>, i: usize, sign: f32| {
                            let (loss, slope) = log_loss(sign * slow.score(user, i));
                            sum += f64::from(loss);
                            slow.step(user, &[(i, sign * slope)]);
                        };
                        point(&mut slow, i, 1.0);
                        for _ in 0..negatives {
                            if let Some(j) = negative(&slow, &mut rng) {
                                point(&mut slow, j, -1.0);
                            }
                        }
                    }
                }
            }
        }
    }
    for (to, from) in tables.users.chunks_mut(stride).zip(slow.users) {
        to[..f].copy_from_slice(&from);
    }
    for (to, from) in tables.items.chunks_mut(stride).zip(slow.items) {
        to[..f].copy_from_slice(&from);
    }
    (tables.bias, tables.user_squares, tables.item_squares) =
        (slow.bias, slow.user_squares, slow.item_squares);
    sum / positives.len() as f64
}

fn problem(users: usize, items: usize, per_user: usize) -> Positives {
    let mut rng = rng::stream(9, 0);
    let mut positives = Positives::default();
    for user in 0..users {
        let n = user % (2 * per_user);
        let mut had: Vec<u32> = (0..n).map(|_| rng.random_range(0..items as u32)).collect();
        had.sort_unstable();
        had.dedup();
        positives.push(had.into_iter().map(|i| {
            if (i as usize + user).is_multiple_of(7) {
                i | KNOWN
            } else {
                i
            }
        }));
    }
    positives
}

#[test]
fn an_epoch_is_what_its_definition_says() {
    let objectives = [
        Objective::Bpr,
        Objective::Warp { trials: 5 },
        Objective::KosWarp {
            k: 2,
            of: 3,
            trials: 5,
        },
        Objective::Logistic { negatives: 3 },
    ];
    // The last one has two blocks of each side.
    for (users, items, per_user) in [(30, 40, 6), (1, 3, 2), (220, 230, 5)] {
        let positives = problem(users, items, per_user);
        for objective in objectives {
            for optimizer in [Optimizer::Sgd, Optimizer::AdaGrad] {
                for negatives in [
                    Negatives::Uniform,
                    Negatives::Popularity { power: 0.5 },
                    Negatives::Hardest { of: 3 },
                ] {
                    let settings = Settings {
                        model: "test",
                        factors: 13,
                        epochs: 4,
                        learning_rate: 0.05,
                        regularization: 0.03,
                        optimizer,
                        negatives,
                        objective,
                        init_scale: 0.5,
                        seed: 3,
                    };
                    let tables = || Tables::new(&settings, users, items);
                    let (mut fast, mut slow) = (tables(), tables());
                    let mut plan = Plan::new(&positives, items);
                    assert_eq!(plan.blocks(), if users == 220 { 2 } else { 1 });
                    let loss = run_epoch(
                        &settings,
                        &positives,
                        &mut fast,
                        &mut plan,
                        &vec![1; items],
                        1,
                    );
                    let expected = epoch_reference(&settings, &positives, &mut slow, &mut plan, 1);
                    let what = format!("{users} {settings:?}");
                    if positives.len() == 0 {
                        assert_eq!(loss, 0.0);
                        continue;
                    }
                    assert!(
                        (loss - expected).abs() < 1e-4 * expected.max(1.0),
                        "{what}: {loss} {expected}"
                    );
                    for (fast, slow) in [
                        (&fast.users[..], &slow.users[..]),
                        (&fast.items[..], &slow.items[..]),
                        (&fast.bias[..], &slow.bias[..]),
                    ] {
                        for (a, b) in fast.iter().zip(slow) {
                            assert!((a - b).abs() < 2e-3, "{what}: {a} {b}");
                        }
                    }
                }
            }
        }
    }
}

/// A step of BPR goes down the slope of its loss: compared with differences of the loss itself.
#[test]
fn steps_go_down_the_loss() {
    let loss = |p: &[f64], qi: &[f64], qj: &[f64], decay: f64| {
        let x: f64 = p
            .iter()
            .zip(qi.iter().zip(qj))
            .map(|(p, (i, j))| p * (i - j))
            .sum();
        let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>();
        (1.0 + (-x).exp()).ln() + decay / 2.0 * (norm(p) + norm(qi) + norm(qj))
    };
    let mut positives = Positives::default();
    positives.push([0]);
    let settings = Settings {
        model: "test",
        factors: 5,
        epochs: 1,
        learning_rate: 1e-2,
        regularization: 0.3,
        optimizer: Optimizer::Sgd,
        negatives: Negatives::Uniform,
        objective: Objective::Bpr,
        init_scale: 1.0,
        seed: 3,
    };
    let before = Tables::new(&settings, 1, 2);
    let mut after = Tables::new(&settings, 1, 2);
    run_epoch(
        &settings,
        &positives,
        &mut after,
        &mut Plan::new(&positives, 2),
        &[1, 0],
        0,
    );
    let wide = |row: &[f32]| row[..5].iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    let stride = before.stride();
    let start = [
        wide(&before.users),
        wide(&before.items),
        wide(&before.items[stride..]),
    ];
    let end = [
        wide(&after.users),
        wide(&after.items),
        wide(&after.items[stride..]),
    ];
    let at = |rows: &[Vec<f64>; 3]| loss(&rows[0], &rows[1], &rows[2], 0.3);
    for row in 0..3 {
        for k in 0..5 {
            let mut moved = [start.clone(), start.clone()];
            moved[0][row][k] += 1e-5;
            moved[1][row][k] -= 1e-5;
            let slope = (at(&moved[0]) - at(&moved[1])) / 2e-5;
            let step = (end[row][k] - start[row][k]) / -1e-2;
            assert!((step - slope).abs() < 1e-3, "{row} {k}: {step} {slope}");
        }
    }
}
