"""Golden values for evaluate/tests.rs and evaluate/significance.rs.

    python crates/refrain-recommenders/tests/golden_metrics.py

ranx 0.3.21, scikit-learn 1.9.1 (roc_auc_score, ndcg_score), scipy 1.17.1 (bootstrap,
permutation_test); numpy 2.4.6 for what they lack.
"""
import numpy as np
from ranx import Qrels, Run, evaluate
from scipy.stats import bootstrap, permutation_test
from sklearn.metrics import ndcg_score, roc_auc_score

scores = np.array([[.9,.1,.8,.4,.3,.7,.2,.6],[.2,.5,.1,.9,.8,.3,.7,.4],[.3,.6,.5,.1,.9,.2,.8,.7]])
test = np.array([[0,1,1,0,0,0,0,1],[1,0,0,0,1,0,1,0],[0,0,0,1,0,0,0,0]])
weights = np.array([[0,5,2,0,0,0,0,1],[3,0,0,0,1,0,4,0],[0,0,0,2,0,0,0,0]])
train = np.array([[1,0,0,0,0,0,0,0],[0,0,0,1,0,0,0,0],[0,0,0,0,1,1,0,0]])
k = 3

def table(values, keep):
    return {f"u{u}": {f"i{i}": v for i, v in enumerate(row) if keep[u, i]}
            for u, row in enumerate(values.tolist())}

run = Run(table(scores, train == 0))
binary, graded = Qrels(table(test, test > 0)), Qrels(table(weights, test > 0))
for name in ["precision", "recall", "ndcg", "hit_rate", "mrr", "map"]:
    print("ranx", name, repr(float(evaluate(binary, run, f"{name}@{k}"))))
for name in ["ndcg", "ndcg_burges"]:
    print("ranx graded", name, repr(float(evaluate(graded, run, f"{name}@{k}"))))

out = {m: [] for m in "ndcg linear exponential auc capped map serendipity lift".split()}
listeners = train.sum(0)
for s, t, w, m in zip(scores, test, weights, train):
    keep = np.flatnonzero(m == 0)
    order = keep[np.argsort(-s[keep], kind="stable")][:k]
    h, R = t[order], t.sum()
    out["ndcg"].append(ndcg_score(t[None, keep], s[None, keep], k=k))
    out["linear"].append(ndcg_score(w[None, keep], s[None, keep], k=k))
    out["exponential"].append(ndcg_score(2.0 ** w[None, keep] - 1, s[None, keep], k=k))
    out["auc"].append(roc_auc_score(t[keep], s[keep]))
    out["capped"].append(h.sum() / min(k, R))
    out["map"].append((h * np.cumsum(h) / np.arange(1, k + 1)).sum() / min(k, R))
    popular = keep[np.argsort(-listeners[keep], kind="stable")][:k]
    out["serendipity"].append((h * ~np.isin(order, popular)).sum() / k)
    out["lift"].append(listeners[order].mean() / listeners[m > 0].mean() - 1)
for m, v in out.items():
    print(m, repr(float(np.mean(v))))
tops = [[i for i in np.argsort(-s, kind="stable") if m[i] == 0][:k] for s, m in zip(scores, train)]
print("coverage", len(set(sum(tops, []))) / 8)
shown = np.sort(np.bincount(sum(tops, []), minlength=8))
print("gini", ((2 * np.arange(1, 9) - 9) * shown).sum() / (8 * shown.sum()))
n = np.maximum(listeners, 1)
print("novelty", np.mean([np.mean(-np.log2(n[t] / 3)) for t in tops]))

i = np.arange(40)
left = ((i * 37 + 11) % 101) / 100
right = 0.8 * left + ((i * 53 + 7) % 29) / 150
for name, values in [("left", left), ("left - right", left - right)]:
    ci = bootstrap((values,), np.mean, method="percentile", n_resamples=200_000, random_state=1)
    print("scipy", name, values.mean(), ci.confidence_interval)
p = permutation_test((left, right), lambda a, b: np.mean(a - b), permutation_type="samples",
                     n_resamples=200_000, random_state=1)
print("scipy p", p.pvalue)
p = permutation_test((left + 0.02, right), lambda a, b: np.mean(a - b), permutation_type="samples",
                     n_resamples=200_000, random_state=1)
print("scipy p, left + 0.02", p.pvalue)
