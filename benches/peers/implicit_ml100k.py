"""implicit's side of `ml100k`: its models on the split that the Rust program wrote.

    python benches/peers/implicit_ml100k.py FOLDER --threads 2

FOLDER holds train.csv and test.csv with the columns user,item,weight (dense numbers) and shape.json
with users and items. Needs implicit 0.7.3, numpy and scipy. One JSON object per model and line:
name, ndcg (at 10), recall (at 10), seconds (of fit).

Full ranking over all items of the shape, training items masked, ties by the lower item number.
"""

import argparse
import json
import os
import time
import warnings


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    # BLAS must not fight with implicit's own threads.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"

    # implicit turns its own weighted matrices into other formats, and warns about it.
    warnings.simplefilter("ignore")

    import numpy as np
    from implicit.als import AlternatingLeastSquares
    from implicit.nearest_neighbours import (
        BM25Recommender,
        CosineRecommender,
        TFIDFRecommender,
    )
    from scipy.sparse import csr_matrix

    with open(os.path.join(args.folder, "shape.json")) as f:
        shape = json.load(f)
    shape = (shape["users"], shape["items"])

    def load(name):
        rows = np.loadtxt(os.path.join(args.folder, name), delimiter=",", skiprows=1)
        users, items = rows[:, 0].astype(int), rows[:, 1].astype(int)
        return csr_matrix((rows[:, 2].astype(np.float32), (users, items)), shape=shape)

    train, test = load("train.csv"), load("test.csv")
    ones = train.copy()
    ones.data[:] = 1.0

    def judge(scores, k=10):
        scores = np.where(train.toarray() > 0, -np.inf, scores)
        top = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        relevant = test.toarray() > 0
        hits = np.take_along_axis(relevant, top, axis=1)
        n = relevant.sum(1)
        users = n > 0
        discount = 1.0 / np.log2(np.arange(k) + 2)
        ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(n, k)]
        ndcg = (hits * discount).sum(1)[users] / ideal[users]
        recall = hits.sum(1)[users] / n[users]
        return ndcg.mean(), recall.mean()

    def run(name, model, matrix, scores):
        began = time.perf_counter()
        model.fit(matrix, show_progress=False)
        seconds = time.perf_counter() - began
        ndcg, recall = judge(scores(model, matrix))
        row = {"name": name, "ndcg": ndcg, "recall": recall, "seconds": seconds}
        print(json.dumps(row), flush=True)

    def factors(model, _):
        return model.user_factors @ model.item_factors.T

    def neighbours(model, matrix):
        return (matrix @ model.similarity).toarray()

    threads = args.threads
    als = lambda: AlternatingLeastSquares(num_threads=threads, random_state=42)
    knn = {"cosine": CosineRecommender, "TF-IDF": TFIDFRecommender, "BM25": BM25Recommender}
    for what, matrix in (("ratings", train), ("ones", ones)):
        run(f"ALS, {what}", als(), matrix, factors)
        for name, model in knn.items():
            run(f"{name}, {what}", model(num_threads=threads), matrix, neighbours)


if __name__ == "__main__":
    main()
