# Values for the test `golden_values_of_scipy` in src/metrics/frechet.rs.
# Run: python crates/refrain-gan/tests/golden/frechet.py     (numpy 2.4.6, scipy 1.17.1)
import numpy as np
from scipy.linalg import sqrtm


def made(n, d, salt):
    k = np.arange(n * d, dtype=np.int64)
    values = ((k * k * 7919 + k * 104729 + salt) % 10007).astype(np.float32) / np.float32(10007)
    return values.reshape(n, d).astype(np.float64)


for n, d in [(6, 1), (20, 3), (50, 8), (200, 64)]:
    x, y = made(n, d, 1), made(n + 5, d, 5000) * 0.5
    cx, cy = np.atleast_2d(np.cov(x, rowvar=False)), np.atleast_2d(np.cov(y, rowvar=False))
    root = sqrtm(cx @ cy).real
    distance = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cx + cy - 2 * root)
    print(f"({n}, {d}, {distance:.12}),")
