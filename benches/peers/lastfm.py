"""The peers' side of `lastfm`: implicit and LightFM on the splits that the Rust program wrote.

    python benches/peers/lastfm.py FOLDER --threads 2 --trials 20 --seed 42

FOLDER holds train.csv, test.csv and, inside the training part, inner.csv and valid.csv, each with the
columns user,item,weight (dense numbers; weights are plays), and shape.json with users and items. Needs
implicit 0.7.3, lightfm-next 1.19.0, numpy and scipy. One JSON object per model and line: name, ndcg (at 10), recall (at
10), seconds (of fit, or of the whole search), settings.

Each model runs at its defaults, on plays and on ones, and with the best of `trials` random settings by
NDCG@10 on valid.csv (the two defaults among them), fitted again on train.csv. LightFM learns from who
played what alone; it has no default number of epochs that is of use, so that 30 of WARP, the loss its
guide advises, stand for its defaults. Full ranking, training items left out.
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
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()
    # BLAS must not fight with implicit's own threads.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    warnings.simplefilter("ignore")

    import numpy as np
    from implicit.als import AlternatingLeastSquares
    from implicit.bpr import BayesianPersonalizedRanking
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender
    from lightfm import LightFM
    from scipy.sparse import csr_matrix

    with open(os.path.join(args.folder, "shape.json")) as f:
        shape = json.load(f)
    shape = (shape["users"], shape["items"])

    def load(name):
        rows = np.loadtxt(os.path.join(args.folder, name), delimiter=",", skiprows=1)
        users, items = rows[:, 0].astype(int), rows[:, 1].astype(int)
        return csr_matrix((rows[:, 2].astype(np.float32), (users, items)), shape=shape)

    train, test, inner, valid = map(load, ["train.csv", "test.csv", "inner.csv", "valid.csv"])

    def judge(model, seen, wanted, k=10):
        n = np.diff(wanted.indptr)
        users = np.flatnonzero(n)
        top, scores = model.recommend(users, seen[users], N=k, filter_already_liked_items=True)
        flags = np.asarray([np.isin(t, wanted[u].indices) for t, u in zip(top, users)])
        # Neighbourhood models fill up with items of score 0 or below: those are no answers.
        flags &= scores > -1e30
        n = n[users]
        discount = 1.0 / np.log2(np.arange(k) + 2)
        ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(n, k)]
        return ((flags * discount).sum(1) / ideal).mean(), (flags.sum(1) / n).mean()

    def weighted(matrix, weights):
        matrix = matrix.copy()
        if weights == "ones":
            matrix.data[:] = 1.0
        elif weights == "log":
            matrix.data = np.log1p(matrix.data)
        return matrix

    def fit(model, matrix):
        model.fit(matrix, show_progress=False)
        return model

    def row(name, model, matrix, began, settings=""):
        seconds = time.perf_counter() - began
        ndcg, recall = judge(model, matrix, test)
        print(json.dumps({"name": name, "ndcg": float(ndcg), "recall": float(recall),
                          "seconds": seconds, "settings": settings}), flush=True)

    class Light:
        """LightFM with the methods of implicit's models."""

        def __init__(self, epochs=30, **settings):
            self.epochs = epochs
            self.model = LightFM(loss="warp", random_state=42, **settings)

        def fit(self, matrix, show_progress):
            self.model.fit(matrix.sign().tocoo(), epochs=self.epochs, num_threads=args.threads)

        def recommend(self, users, seen, N, filter_already_liked_items):
            biases, items = self.model.get_item_representations()
            _, vectors = self.model.get_user_representations()
            scores = vectors[users] @ items.T + biases
            scores[seen.nonzero()] = -np.inf
            top = np.argsort(-scores, axis=1, kind="stable")[:, :N]
            return top, np.take_along_axis(scores, top, axis=1)

    threads = {"num_threads": args.threads}
    log = lambda rng, low, high: float(np.exp(rng.uniform(np.log(low), np.log(high))))
    models = {
        "ALS": (
            lambda **s: AlternatingLeastSquares(random_state=42, **threads, **s),
            lambda rng: {"factors": int(log(rng, 16, 128)), "alpha": log(rng, 0.5, 50),
                         "regularization": log(rng, 1e-3, 100)},
        ),
        "BPR": (
            lambda **s: BayesianPersonalizedRanking(random_state=42, **threads, **s),
            lambda rng: {"factors": int(log(rng, 16, 128)), "learning_rate": log(rng, 3e-3, 0.2),
                         "regularization": log(rng, 1e-4, 0.1),
                         "iterations": int(log(rng, 50, 300))},
        ),
        "BM25": (
            lambda **s: BM25Recommender(**threads, **s),
            lambda rng: {"K": int(log(rng, 10, 500)), "K1": log(rng, 0.1, 200),
                         "B": float(rng.uniform(0, 1))},
        ),
        "cosine": (
            lambda **s: CosineRecommender(**threads, **s),
            lambda rng: {"K": int(log(rng, 10, 500))},
        ),
        "LightFM": (
            Light,
            lambda rng: {"no_components": int(log(rng, 10, 128)), "epochs": int(log(rng, 10, 100)),
                         "learning_rate": log(rng, 0.01, 0.2), "item_alpha": log(rng, 1e-7, 1e-3),
                         "user_alpha": log(rng, 1e-7, 1e-3),
                         "max_sampled": int(log(rng, 5, 50))},
        ),
    }
    for name, (make, draw) in models.items():
        for weights in ("ones",) if name == "LightFM" else ("plays", "ones"):
            began = time.perf_counter()
            matrix = weighted(train, weights)
            row(f"{name}, {weights}", fit(make(), matrix), matrix, began)
        rng = np.random.default_rng(args.seed)
        began = time.perf_counter()
        best = (-1.0, None, None)
        # The defaults are the first two trials.
        trials = [({}, "plays"), ({}, "ones")]
        while len(trials) < args.trials:
            trials.append((draw(rng), str(rng.choice(["plays", "log", "ones"]))))
        for settings, weights in trials:
            matrix = weighted(inner, weights)
            ndcg, _ = judge(fit(make(**settings), matrix), matrix, valid)
            if ndcg > best[0]:
                best = (ndcg, settings, weights)
        _, settings, weights = best
        matrix = weighted(train, weights)
        shown = ", ".join(f"{k} {v:.3g}" for k, v in settings.items()) + f", {weights}"
        row(f"{name}, searched", fit(make(**settings), matrix), matrix, began, shown)


if __name__ == "__main__":
    main()
