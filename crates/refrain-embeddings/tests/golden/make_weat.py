"""The word embedding association test as it is published, by numpy and itertools alone: prints the
effect and the share of divisions with a larger statistic for the tables of `evaluate/diagnostics.rs`.

    python3 make_weat.py
"""

from itertools import combinations

import numpy as np

table = np.array([[(i * 7 + d * 13 + i * d * 5) % 23 - 11 for d in range(6)] for i in range(24)], float)
table /= np.linalg.norm(table, axis=1, keepdims=True)


def test(x, y, a, b):
    lean = {w: (table[a] @ table[w]).mean() - (table[b] @ table[w]).mean() for w in [*x, *y]}
    of = lambda words: np.array([lean[w] for w in words])
    effect = (of(x).mean() - of(y).mean()) / np.std(of([*x, *y]), ddof=1)
    words = [*x, *y]
    statistic = of(x).sum() - of(y).sum()
    above = total = 0
    for chosen in combinations(words, len(x)):
        others = [w for w in words if w not in chosen]
        above += of(chosen).sum() - of(others).sum() > statistic + 1e-9
        total += 1
    return effect, above / total


r = lambda a, b: list(range(a, b))
print(test(r(0, 5), r(5, 10), r(10, 14), r(14, 18)))
print(test(r(3, 7), r(10, 16), r(0, 3), r(18, 24)))
