//! What threads do on copies, and how these are merged.

use rand::RngExt;
use refrain_core::rng::stream;

use super::super::hot;
use super::super::kernel::Rows;
use super::super::shards::{Covered, Direct, Overlay, Scope, merge};
use super::super::worker::{Table, Worker};
use super::{BUCKETS, DOCUMENTS, assert_near, piece, plans, table, text, wide};
use crate::vocabulary::END;

#[test]
fn one_overlay_merged_is_the_table_trained_directly() {
    let (words, dim) = (300, 20);
    let (x, y) = (
        table(words + BUCKETS + DOCUMENTS, dim, 1),
        table(words, dim, 2),
    );
    let text = text(words as u32, 500);
    for plan in plans(&vec![3; words]) {
        let (mut xs, mut ys) = (Rows::from_dense(&x, dim), Rows::from_dense(&y, dim));
        let (mut a, mut b) = (Direct::new(&mut xs), Direct::new(&mut ys));
        Worker::default().train(&plan, piece(&text), &mut a, &mut b);

        let (mut base_x, mut base_y) = (Rows::from_dense(&x, dim), Rows::from_dense(&y, dim));
        // Some rows are stepped often, so that they are copied before they are touched.
        let mut over_x = Overlay::new(words + BUCKETS + DOCUMENTS, dim, &[0, 7, 299, 310]);
        let mut over_y = Overlay::new(words, dim, &[0, 1, 250]);
        over_x.refresh(&base_x);
        over_y.refresh(&base_y);
        let mut a = Covered {
            base: &base_x,
            overlay: &mut over_x,
        };
        let mut b = Covered {
            base: &base_y,
            overlay: &mut over_y,
        };
        Worker::default().train(&plan, piece(&text), &mut a, &mut b);
        merge(&mut base_x, &mut [&mut over_x], 0.1, Scope::Hot);
        merge(&mut base_y, &mut [&mut over_y], 0.1, Scope::Hot);
        let (some_x, some_y) = (base_x.to_dense(dim), base_y.to_dense(dim));
        assert_eq!(some_x[..dim], xs.to_dense(dim)[..dim]);
        assert!(some_x != xs.to_dense(dim) && some_y != ys.to_dense(dim));
        merge(&mut base_x, &mut [&mut over_x], 0.1, Scope::All);
        merge(&mut base_y, &mut [&mut over_y], 0.1, Scope::All);
        assert_eq!(base_x.to_dense(dim), xs.to_dense(dim));
        assert_eq!(base_y.to_dense(dim), ys.to_dense(dim));
    }
}

#[test]
fn rows_that_are_stepped_often_are_foretold() {
    let (words, dim) = (60, 4);
    let mut rng = stream(5, 6);
    // Long sentences, so that windows are seldom cut; by Zipf's law.
    let weights: Vec<f64> = (1..=words).map(|rank| 1.0 / rank as f64).collect();
    let total: f64 = weights.iter().sum();
    let mut text: Vec<u32> = (0..40_000)
        .map(|_| {
            let mut at = rng.random_range(0.0..total);
            let found = weights.iter().position(|w| {
                at -= w;
                at < 0.0
            });
            found.unwrap_or(0) as u32
        })
        .collect();
    let mut counts = vec![0u64; words];
    text.iter().for_each(|&word| counts[word as usize] += 1);
    (0..text.len()).step_by(500).for_each(|at| text[at] = END);
    for plan in plans(&counts)
        .iter()
        .filter(|plan| plan.documents.is_none())
    {
        let rows = words + BUCKETS;
        let (base_x, base_y) = (
            Rows::from_dense(&table(rows, dim, 1), dim),
            Rows::from_dense(&table(words, dim, 2), dim),
        );
        let (mut over_x, mut over_y) =
            (Overlay::new(rows, dim, &[]), Overlay::new(words, dim, &[]));
        let mut a = Covered {
            base: &base_x,
            overlay: &mut over_x,
        };
        let mut b = Covered {
            base: &base_y,
            overlay: &mut over_y,
        };
        Worker::default().train(plan, piece(&text), &mut a, &mut b);
        for often in [100.0, 1000.0, 10_000.0] {
            let hot = plan.hot(&counts, 0.75, text.len() as f64, often, 0);
            for (foretold, overlay) in [(hot.inputs, &over_x), (hot.outputs, &over_y)] {
                // Rows that a window has twice are stepped once, so that somewhat fewer may be found.
                for row in 0..rows as u32 {
                    let steps = f64::from(overlay.steps_of(row));
                    let said = foretold.contains(&row);
                    assert!(!said || steps > often / 2.5, "{plan:?} {row}: {steps}");
                    assert!(said || steps < often * 1.3, "{plan:?} {row}: {steps}");
                }
            }
        }
    }
}

#[test]
fn merging_adds_rare_changes_and_averages_frequent_ones() {
    let mut base = Rows::from_dense(&[1.0; 3], 1);
    let mut overlays = [Overlay::new(3, 1, &[2]), Overlay::new(3, 1, &[2])];
    for overlay in &mut overlays {
        overlay.refresh(&base);
        let mut covered = Covered {
            base: &base,
            overlay,
        };
        let rare = covered.row(1);
        covered.values()[rare] += 0.5;
        for _ in 0..10_000 {
            let frequent = covered.row(2);
            covered.values()[frequent] = 3.0;
        }
    }
    let [a, b] = &mut overlays;
    merge(&mut base, &mut [a, b], 1e-2, Scope::Hot);
    assert_eq!(base.to_dense(1)[..2], [1.0, 1.0], "rare rows wait");
    a.refresh(&base);
    b.refresh(&base);
    merge(&mut base, &mut [a, b], 1e-2, Scope::All);
    let values = base.to_dense(1);
    assert_eq!(values[0], 1.0);
    assert!((values[1] - 2.0).abs() < 0.01, "{values:?}");
    assert!((values[2] - 3.0).abs() < 0.01, "{values:?}");
}

#[test]
fn many_threads_merge_as_the_formula_says() {
    let (rows, dim, threads, contraction) = (40, 3, 3, 0.2f64);
    let mut rng = stream(8, 1);
    let first = table(rows, dim, 4);
    let mut base = Rows::from_dense(&first, dim);
    let hot = [0, 3, 39];
    let mut overlays: Vec<Overlay> = (0..threads)
        .map(|_| Overlay::new(rows, dim, &hot))
        .collect();
    // Of each thread and row, how often it was stepped and by how much it was changed.
    let mut steps = vec![vec![0; rows]; threads];
    let mut changes = vec![vec![0.0; rows * dim]; threads];
    for (thread, overlay) in overlays.iter_mut().enumerate() {
        overlay.refresh(&base);
        let mut covered = Covered {
            base: &base,
            overlay,
        };
        for _ in 0..60 {
            let row = rng.random_range(0..rows);
            let at = covered.row(row as u32);
            let change = rng.random_range(-1.0f32..1.0);
            covered.values()[at] += change;
            steps[thread][row] += 1;
            changes[thread][row * dim] += f64::from(change);
        }
    }
    let mut expected = wide(&first);
    for row in 0..rows {
        let closed = |n: i32| 1.0 - (1.0 - contraction).powi(n);
        let of_each: Vec<i32> = steps.iter().map(|steps| steps[row]).collect();
        let together: f64 = of_each.iter().map(|&n| closed(n)).sum();
        let scale = match together > 0.0 {
            true => closed(of_each.iter().sum()) / together,
            false => 0.0,
        };
        for change in &changes {
            expected[row * dim] += scale * change[row * dim];
        }
    }
    let mut refs: Vec<&mut Overlay> = overlays.iter_mut().collect();
    merge(&mut base, &mut refs, contraction, Scope::Hot);
    let only_hot = base.to_dense(dim);
    for row in (0..rows).filter(|row| !hot.contains(&(*row as u32))) {
        assert_eq!(only_hot[row * dim], first[row * dim], "{row} waits");
    }
    // What was merged is not to be merged again.
    refs.iter_mut().for_each(|overlay| overlay.refresh(&base));
    merge(&mut base, &mut refs, contraction, Scope::All);
    assert_near(&base.to_dense(dim), &expected, 1e-5);
    assert!(refs.iter().all(|overlay| overlay.steps_of(7) == 0));
}

#[test]
fn rare_rows_wait_while_their_copies_fit() {
    // 100 rows that every round steps, and 10,000 that one round in a thousand does.
    let steps = || std::iter::repeat_n(20.0, 100).chain(std::iter::repeat_n(1e-3, 10_000));
    for (most, rounds) in [
        (0, 1),
        (119, 1),
        (121, 2),
        (139, 2),
        (141, 4),
        (181, 8),
        (261, 16),
    ] {
        assert_eq!(hot::rounds(steps(), most), rounds, "{most}");
    }
}
