"""implicit's side of the `bpr_speed` benchmark.

    python benches/peers/implicit_bpr_speed.py FOLDER --threads 2 --items 20000

FOLDER holds the training log by user: ends.i64 (where each user's items end) and rows.i32 (the items).
For each line "FACTORS EPOCHS RATE REGULARIZATION SEED USERS" on standard input it fits implicit's BPR,
writes the top 10 of the first USERS users, seen items left out, to top.i32, and prints one line of
JSON: seconds (of each epoch). Needs implicit 0.7.3, numpy and scipy.
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
    from implicit.cpu.bpr import BayesianPersonalizedRanking
    from scipy.sparse import csr_matrix

    ends = np.fromfile(os.path.join(args.folder, "ends.i64"), np.int64)
    items = np.fromfile(os.path.join(args.folder, "rows.i32"), np.int32)
    indptr = np.concatenate([[0], ends]).astype(np.int32)
    log = csr_matrix((np.ones(len(items), np.float32), items, indptr), shape=(len(ends), args.items))

    for line in sys.stdin:
        factors, epochs, rate, regularization, seed, users = line.split()
        # An epoch is what one more iteration costs: its progress bar has no times to ask for.
        took = []
        for iterations in (1, int(epochs)):
            model = BayesianPersonalizedRanking(
                factors=int(factors),
                learning_rate=float(rate),
                regularization=float(regularization),
                iterations=iterations,
                num_threads=args.threads,
                random_state=int(seed),
            )
            began = time.perf_counter()
            model.fit(log, show_progress=False)
            took.append(time.perf_counter() - began)
        some = np.arange(int(users))
        found, _ = model.recommend(some, log[some], N=10, filter_already_liked_items=True)
        found.astype(np.int32).tofile(os.path.join(args.folder, "top.i32"))
        seconds = (took[1] - took[0]) / (int(epochs) - 1)
        print(json.dumps({"seconds": [seconds]}), flush=True)


if __name__ == "__main__":
    main()
