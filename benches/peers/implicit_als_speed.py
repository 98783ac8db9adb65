"""implicit's side of the `als_speed` benchmark.

    python benches/peers/implicit_als_speed.py FOLDER --threads 2 --items 20000

FOLDER holds the log by user: ends.i64 (where each user's items end) and rows.i32 (the items). For
each line "FACTORS ITERATIONS SEED" on standard input it fits implicit's ALS (its default: three steps
of conjugate gradients) and prints one line of JSON: seconds (of each iteration), loss (of the same
objective as ours, regularisation included), megabytes (that the fit adds at its peak), top_seconds (top 10 of all users, seen items left out).
Confidence is 2 for each pair of the log, regularization 5. Needs implicit 0.7.3, numpy and scipy.
"""

import argparse
import json
import os
import sys
import time


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--items", type=int, required=True)
    args = parser.parse_args()
    # BLAS must not fight with implicit's own threads.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["MKL_NUM_THREADS"] = "1"

    import numpy as np
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    ends = np.fromfile(os.path.join(args.folder, "ends.i64"), np.int64)
    items = np.fromfile(os.path.join(args.folder, "rows.i32"), np.int32)
    indptr = np.concatenate([[0], ends]).astype(np.int32)
    values = np.full(len(items), 2.0, np.float32)
    log = csr_matrix((values, items, indptr), shape=(len(ends), args.items))
    users = np.repeat(np.arange(len(ends)), np.diff(indptr))

    def loss(x, y):
        fit = float(((x.T @ x).astype(np.float64) * (y.T @ y)).sum())
        for at in range(0, len(items), 100_000):
            part = slice(at, at + 100_000)
            score = np.einsum("ij,ij->i", x[users[part]], y[items[part]]).astype(np.float64)
            fit += float((2.0 * (1.0 - score) ** 2 - score**2).sum())
        size = (x.astype(np.float64) ** 2).sum() + (y.astype(np.float64) ** 2).sum()
        return fit + 5.0 * float(size)

    def megabytes(name):
        with open("/proc/self/status") as f:
            return next(int(l.split()[1]) for l in f if l.startswith(name)) / 1000

    for line in sys.stdin:
        factors, iterations, seed = map(int, line.split())
        seconds = []
        model = AlternatingLeastSquares(
            factors=factors,
            regularization=5.0,
            alpha=1.0,
            iterations=iterations,
            num_threads=args.threads,
            random_state=seed,
        )
        before = megabytes("VmRSS")
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")
        model.fit(log, show_progress=False, callback=lambda _, took, *rest: seconds.append(took))
        peak = megabytes("VmHWM") - before
        began = time.perf_counter()
        found, _ = model.recommend(np.arange(len(ends)), log, N=10, filter_already_liked_items=True)
        top_seconds = time.perf_counter() - began
        assert found.shape == (len(ends), 10)
        result = {
            "seconds": seconds,
            "loss": loss(model.user_factors, model.item_factors),
            "megabytes": peak,
            "top_seconds": top_seconds,
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
