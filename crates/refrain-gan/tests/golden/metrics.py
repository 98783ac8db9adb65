# Values for src/metrics/golden.rs, by independent programs on the same made-up features.
# Run: python crates/refrain-gan/tests/golden/metrics.py > crates/refrain-gan/src/metrics/golden.rs
# with torch-fidelity 0.4.0, prdc 0.2, scipy 1.17.1, pypianoroll 1.0.4, numpy 2.4.6, torch 2.15.0
import contextlib
import io
import types
import sys

import numpy as np
import torch

# torch-fidelity and pypianoroll import what their metrics do not use.
for name in ["torchvision", "torchvision.transforms", "torchvision.transforms.functional",
             "torchvision.datasets", "torchvision.models", "tqdm", "PIL", "PIL.Image", "pretty_midi",
             "mido", "matplotlib", "matplotlib.pyplot", "matplotlib.animation", "matplotlib.axes",
             "matplotlib.image", "matplotlib.patches"]:
    try:
        __import__(name)
    except ImportError:
        from unittest.mock import MagicMock
        sys.modules[name] = MagicMock()
sys.modules["tqdm"].tqdm = lambda it, **_: it

from scipy.spatial import cKDTree
from scipy.stats import entropy, mannwhitneyu
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from prdc import compute_prdc
from pypianoroll.metrics import _get_tonal_matrix, qualified_note_rate


def made(n, d, salt):
    k = np.arange(n * d, dtype=np.int64)
    values = ((k * k * 7919 + k * 104729 + salt) % 10007).astype(np.float32) / np.float32(10007)
    return values.reshape(n, d)


def tensor(x):
    return torch.from_numpy(np.ascontiguousarray(x))


def table(comment, name, kind, rows):
    print(f"\n/// {comment}\npub(super) const {name}: [{kind}; {len(rows)}] = [")
    for row in rows:
        print(f"    {row},")
    print("];")


print("//! Values by other programs, printed by tests/golden/metrics.py, which names them.")

# Fewer rows than columns: covariances without full rank.
rows = []
for n, d in [(20, 3), (12, 40), (30, 64)]:
    a, b = made(n, d, 1).astype(np.float64), made(n + 5, d, 5000).astype(np.float64) * 0.5
    stats = [fid_features_to_statistics(tensor(x)) for x in (a, b)]
    value = fid_statistics_to_metric(*stats, False)["frechet_inception_distance"]
    rows.append(f"({n}, {d}, {value:.10})")
table("Rows, columns, Fréchet distance.", "FRECHET", "(usize, usize, f64)", rows)

rows = []
for n, d in [(10, 3), (40, 16), (25, 100)]:
    a, b = made(n, d, 1).astype(np.float64), made(n, d, 5000).astype(np.float64) * 0.5
    value = kid_features_to_metric(tensor(a), tensor(b), kid_subsets=1, kid_subset_size=n,
                                   verbose=False)["kernel_inception_distance_mean"]
    rows.append(f"({n}, {d}, {value:.12})")
table("Rows, columns, kernel distance.", "KERNEL", "(usize, usize, f64)", rows)

rows = []
for n, d, splits in [(50, 10, 1), (103, 7, 5)]:
    score = isc_features_to_metric(tensor(made(n, d, 1) * 8), splits=splits, shuffle=False)
    rows.append("({}, {}, {}, {:.10}, {:.10})".format(n, d, splits, *score.values()))
table("Rows, classes, parts, mean and deviation of the Inception score.", "CLASS_SCORE",
      "(usize, usize, usize, f64, f64)", rows)

rows = []
for n, d, k in [(60, 4, 3), (80, 6, 5), (50, 12, 1)]:
    real, fake = made(n, d, 1), made(n + 5, d, 5000) * np.float32(0.8)
    with contextlib.redirect_stdout(io.StringIO()):
        v = compute_prdc(real, fake, k)
    other = prc_features_to_metric(tensor(fake).double(), tensor(real).double(),
                                   prc_neighborhood=k, prc_batch_size=1000, verbose=False)
    assert abs(other["precision"] - v["precision"]) < 1e-6, (other, v)
    assert abs(other["recall"] - v["recall"]) < 1e-6, (other, v)
    four = ", ".join(repr(float(v[m])) for m in ["precision", "recall", "density", "coverage"])
    rows.append(f"({n}, {d}, {k}, [{four}])")
table("Rows, columns, neighbours; precision, recall, density, coverage (prdc; the first two also by\n"
      "/// torch-fidelity).", "MANIFOLD", "(usize, usize, usize, [f64; 4])", rows)

rows = []
for n, d, shrink in [(30, 3, 1.0), (30, 3, 0.7), (41, 10, 0.5)]:
    def near(x, train):
        return np.sqrt(((x[:, None] - train[None]) ** 2).sum(-1)).min(1)
    train = made(n + 9, d, 1).astype(np.float64)
    painted = near((made(n, d, 5000) * np.float32(shrink)).astype(np.float64), train)
    held = near(made(n + 3, d, 333).astype(np.float64), train)
    u = mannwhitneyu(held, painted).statistic
    rows.append(f"({n}, {d}, {shrink}, {u / len(painted) / len(held):.12})")
table("Rows, columns, scale; U of Mann and Whitney over the pairs.", "MEMORISATION",
      "(usize, usize, f32, f64)", rows)

rows = []
radians = np.arange(8) * np.pi / 4
centres = {"ring": 0.5 + 0.4 * np.stack([np.cos(radians), np.sin(radians)], 1),
           "grid": np.array([(0.1 + 0.2 * x, 0.1 + 0.2 * y) for y in range(5) for x in range(5)])}
for name, n, good in [("ring", 6, 0.3), ("ring", 300, 0.06), ("grid", 70, 0.08)]:
    distance, mode = cKDTree(centres[name]).query(made(n, 2, 17).astype(np.float64))
    counts = np.bincount(mode, minlength=len(centres[name]))
    modes = len(np.unique(mode[distance <= good]))
    divergence = entropy(counts, np.ones(len(counts)))
    rows.append(f'("{name}", {n}, {good}, {modes}, {np.mean(distance <= good):.10}, {divergence:.10})')
table("Centres, points, how far good ones lie at most; modes, share of good points, reverse divergence.",
      "MODES", "(&str, usize, f32, usize, f64, f64)", rows)

# Piano rolls: 32 steps of 128 keys, a pattern any language can make.
def roll(salt):
    t, p = np.meshgrid(np.arange(32), np.arange(128), indexing="ij")
    held = (p * 7 + (t // (1 + p % 4)) * 13 + salt) % 29 < 2
    return held & (p >= 40) & (p < 84)


def to_chroma(bar):  # pypianoroll 1.0.4 groups keys by tens, not by twelves
    return np.bincount(np.arange(128) % 12, weights=bar.sum(0))


rows = []
for salt in [0, 5, 11]:
    a, b = roll(salt), roll(salt + 3)
    classes = [np.count_nonzero(to_chroma(a[s:s + 16])) for s in (0, 16)]
    notes = [(qualified_note_rate(a[:, [p]].astype(int), 3), p) for p in range(128) if a[:, p].any()]
    weights = [np.count_nonzero(np.diff(np.pad(a[:, p].astype(int), 1)) > 0) for _, p in notes]
    qualified = sum(q * w for (q, _), w in zip(notes, weights)) / sum(weights)
    def centroid(bar):  # Harte's equation 1, with the program's matrix
        chroma = to_chroma(bar)
        return _get_tonal_matrix(1.0, 1.0, 0.5) @ (chroma / chroma.sum())
    tonal = [np.linalg.norm(centroid(a[s:s + 16]) - centroid(b[s:s + 16])) for s in (0, 16)]
    rows.append(f"({salt}, {np.mean(classes):.10}, {qualified:.10}, {np.mean(tonal):.10})")
table("Which roll; used pitch classes per bar, qualified notes, tonal distance to the next roll.",
      "PIANO_ROLL", "(usize, f64, f64, f64)", rows)
