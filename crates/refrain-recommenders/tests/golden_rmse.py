"""Golden values of `ratings/evaluate.rs`: run with numpy, print seven numbers."""

import numpy as np

i = np.arange(40)
n = (1 + i % 5).astype(float)
left = 0.5 + ((i * 37 + 11) % 101) / 100.0
right = left + ((i * 53 + 7) % 29) / 150.0 - 0.07
rng = np.random.default_rng(1)


def rmse(errors, users):
    return np.sqrt((n[users] * errors[users] ** 2).sum(-1) / n[users].sum(-1))


draws = rng.integers(0, 40, (200_000, 40))
low, high = np.percentile(rmse(left, draws), [2.5, 97.5])
differences = rmse(left, draws) - rmse(right, draws)
dlow, dhigh = np.percentile(differences, [2.5, 97.5])
observed = rmse(left, i) - rmse(right, i)
swap = rng.random((200_000, 40)) < 0.5
a, b = np.where(swap, right, left), np.where(swap, left, right)
total = n.sum()
found = np.sqrt((n * a**2).sum(1) / total) - np.sqrt((n * b**2).sum(1) / total)
p = (1 + (np.abs(found) >= abs(observed) * (1 - 1e-9)).sum()) / 200_001
print(rmse(left, i), low, high, observed, dlow, dhigh, p, sep=", ")
