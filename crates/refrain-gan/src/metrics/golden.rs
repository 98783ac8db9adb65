//! Values by other programs, printed by tests/golden/metrics.py, which names them.

/// Rows, columns, Fréchet distance.
pub(super) const FRECHET: [(usize, usize, f64); 3] = [
    (20, 3, 0.2284128017),
    (12, 40, 5.217905293),
    (30, 64, 7.84496256),
];

/// Rows, columns, kernel distance.
pub(super) const KERNEL: [(usize, usize, f64); 3] = [
    (10, 3, 0.114056678188),
    (40, 16, 0.344405925572),
    (25, 100, 0.328358062622),
];

/// Rows, classes, parts, mean and deviation of the Inception score.
pub(super) const CLASS_SCORE: [(usize, usize, usize, f64, f64); 2] = [
    (50, 10, 1, 2.525930384, 0.0),
    (103, 7, 5, 2.203638604, 0.2068416268),
];

/// Rows, columns, neighbours; precision, recall, density, coverage (prdc; the first two also by
/// torch-fidelity).
pub(super) const MANIFOLD: [(usize, usize, usize, [f64; 4]); 3] = [
    (
        60,
        4,
        3,
        [
            0.9384615384615385,
            0.8333333333333334,
            0.9794871794871796,
            0.6833333333333333,
        ],
    ),
    (80, 6, 5, [1.0, 0.85, 1.2423529411764707, 0.8875]),
    (
        50,
        12,
        1,
        [0.7090909090909091, 0.52, 1.1090909090909091, 0.4],
    ),
];

/// Rows, columns, scale; U of Mann and Whitney over the pairs.
pub(super) const MEMORISATION: [(usize, usize, f32, f64); 3] = [
    (30, 3, 1.0, 0.3),
    (30, 3, 0.7, 0.0232323232323),
    (41, 10, 0.5, 0.158536585366),
];

/// Centres, points, how far good ones lie at most; modes, share of good points, reverse divergence.
pub(super) const MODES: [(&str, usize, f32, usize, f64, f64); 3] = [
    ("ring", 6, 0.3, 4, 1.0, 0.8369882168),
    ("ring", 300, 0.06, 8, 0.11, 0.03643261753),
    ("grid", 70, 0.08, 18, 0.4714285714, 0.1230212478),
];

/// Which roll; used pitch classes per bar, qualified notes, tonal distance to the next roll.
pub(super) const PIANO_ROLL: [(usize, f64, f64, f64); 3] = [
    (0, 9.0, 0.3018867925, 0.1438305361),
    (5, 9.5, 0.2857142857, 0.2141701674),
    (11, 8.5, 0.2244897959, 0.1691625118),
];
