"""Golden values for metrics.rs: sklearn's ndcg_score and roc_auc_score, the rest in numpy."""
import numpy as np
from sklearn.metrics import ndcg_score, roc_auc_score
scores = np.array([[.9,.1,.8,.4,.3,.7,.2,.6],[.2,.5,.1,.9,.8,.3,.7,.4],[.3,.6,.5,.1,.9,.2,.8,.7]])
test = np.array([[0,1,1,0,0,0,0,1],[1,0,0,0,1,0,1,0],[0,0,0,1,0,0,0,0]])
train = np.array([[1,0,0,0,0,0,0,0],[0,0,0,1,0,0,0,0],[0,0,0,0,1,1,0,0]])
k = 3
out = {m: [] for m in "precision recall ndcg map mrr hit auc".split()}
for s, t, m in zip(scores, test, train):
    keep = m == 0
    s, t = s[keep], t[keep]
    order = np.argsort(-s, kind="stable")
    h = t[order][:k]
    R = t.sum()
    out["ndcg"].append(ndcg_score(t[None], s[None], k=k))
    out["auc"].append(roc_auc_score(t, s))
    out["precision"].append(h.sum() / k)
    out["recall"].append(h.sum() / R)
    out["hit"].append(float(h.any()))
    out["map"].append((h * np.cumsum(h) / np.arange(1, k + 1)).sum() / min(k, R))
    out["mrr"].append(1 / (1 + h.argmax()) if h.any() else 0.)
for m, v in out.items(): print(m, repr(float(np.mean(v))))
# list metrics: coverage and novelty
tops = [[i for i in np.argsort(-s, kind="stable") if m[i] == 0][:k] for s, m in zip(scores, train)]
print("coverage", len(set(sum(tops, []))) / 8)
n = np.maximum(train.sum(0), 1)
print("novelty", np.mean([np.mean(-np.log2(n[t] / 3)) for t in tops]))
