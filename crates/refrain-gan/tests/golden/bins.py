# Values for the tests of src/metrics/bins.rs: real rows, generated rows, bins that differ, counts.
# Run: python crates/refrain-gan/tests/golden/bins.py
# with scipy 1.17.1 and numpy 2.4.6
import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import chi2_contingency


def made(n, d, salt):
    k = np.arange(n * d, dtype=np.int64)
    values = ((k * k * 7919 + k * 104729 + salt) % 10007).astype(np.float32) / np.float32(10007)
    return values.reshape(n, d)


for real, generated in [(60, 40), (300, 200), (1000, 50)]:
    a, b = made(real, 3, 1), made(generated, 3, 5000) * np.float32(0.8)
    p, q = (np.bincount(cdist(x, a[:5]).argmin(1), minlength=5) for x in (a, b))
    # The two-sided test of two shares is the chi-squared test of the table, without correction.
    tests = [chi2_contingency([[p[i], real - p[i]], [q[i], generated - q[i]]], correction=False)
             for i in range(5)]
    different = sum(test.pvalue < 0.05 for test in tests)
    print(f"({real}, {generated}, {different}, {list(map(int, q))}),")
