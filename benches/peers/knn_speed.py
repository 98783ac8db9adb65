"""implicit's and LAPACK's side of the `knn_speed` benchmark.

    python benches/peers/knn_speed.py FOLDER --threads 2 --items 20000

FOLDER holds the log by user: ends.i64 (where each user's items end), rows.i32 (the items) and
weights.f32. For each line on standard input it prints one line of JSON:

    cosine K | bm25 K      seconds of fitting implicit's CosineRecommender or BM25Recommender
    inverse N              seconds for the inverse of a positive definite N × N matrix in single
                           precision, by LAPACK's spotrf and spotri (scipy), which are N³
                           multiply-adds; and by numpy.linalg.inv up to N = 8000

Needs implicit 0.7.3, numpy and scipy.
"""

import argparse
import json
import os
import sys
import time
import warnings


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--items", type=int, required=True)
    args = parser.parse_args()

    # implicit converts its own matrix and warns that it did.
    warnings.filterwarnings("ignore")
    import numpy as np
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender
    from scipy.linalg import lapack
    from scipy.sparse import csr_matrix

    ends = np.fromfile(os.path.join(args.folder, "ends.i64"), np.int64)
    items = np.fromfile(os.path.join(args.folder, "rows.i32"), np.int32)
    values = np.fromfile(os.path.join(args.folder, "weights.f32"), np.float32)
    indptr = np.concatenate([[0], ends]).astype(np.int32)
    log = csr_matrix((values, items, indptr), shape=(len(ends), args.items))

    def fit(recommender, k):
        model = recommender(K=k, num_threads=args.threads)
        began = time.perf_counter()
        model.fit(log, show_progress=False)
        return {"seconds": time.perf_counter() - began}

    def inverse(n):
        rng = np.random.default_rng(0)
        a = rng.random((n, 64), dtype=np.float32) - 0.5
        a = np.asfortranarray(a @ a.T + np.eye(n, dtype=np.float32) * 8)
        result = {"numpy_seconds": None}
        if n <= 8000:
            began = time.perf_counter()
            np.linalg.inv(a)
            result["numpy_seconds"] = time.perf_counter() - began
        began = time.perf_counter()
        factor, failed = lapack.spotrf(a, lower=1, overwrite_a=1)
        assert failed == 0
        _, failed = lapack.spotri(factor, lower=1, overwrite_c=1)
        assert failed == 0
        result["seconds"] = time.perf_counter() - began
        return result

    for line in sys.stdin:
        what, size = line.split()
        if what == "inverse":
            result = inverse(int(size))
        else:
            result = fit({"cosine": CosineRecommender, "bm25": BM25Recommender}[what], int(size))
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
