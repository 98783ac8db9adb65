"""PyTorch's side of `sequential`: SASRec of the same configuration, on the histories it is given.

    python benches/peers/sasrec.py TASK.json

TASK.json is written by the Rust program: ordered histories, test items, sizes, settings. Needs torch
and numpy. The same pieces of the histories, first values, full softmax, dropout places, Adam (betas
0.9 and 0.98), early stopping by NDCG@10 of each history's last item, and full ranking as ours.
"""

import json
import math
import sys
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class Layer(nn.Module):
    def __init__(self, t):
        super().__init__()
        d = t["width"]
        self.heads, self.drop = t["heads"], nn.Dropout(t["dropout"])
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x):
        b, n, d = x.shape
        qkv = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.drop(self.out(y.transpose(1, 2).reshape(b, n, d)))
        return x + self.drop(self.down(F.relu(self.up(self.norm2(x)))))


class SasRec(nn.Module):
    def __init__(self, t):
        super().__init__()
        self.items = nn.Embedding(t["items"], t["width"])
        self.places = nn.Parameter(torch.empty(t["context"], t["width"]))
        self.layers = nn.ModuleList(Layer(t) for _ in range(t["layers"]))
        self.norm, self.drop = nn.LayerNorm(t["width"]), nn.Dropout(t["dropout"])
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)
        for name, p in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(p)

    def forward(self, ids):
        x = self.items(ids) * math.sqrt(self.places.shape[1]) + self.places[: ids.shape[1]]
        x = self.drop(x)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


def main():
    t = json.load(open(sys.argv[1]))
    torch.set_num_threads(t["threads"])
    torch.manual_seed(t["seed"])
    rng = np.random.default_rng(t["seed"])
    context, batch = t["context"], t["batch"]
    full = [u["history"] for u in t["users"]]
    known = [h[:-1] if len(h) > 2 else h for h in full]

    def pieces():
        found = []
        for h in known:
            end, length = len(h), context + 1
            if end > length:
                end -= int(rng.integers(0, min(context, end - length + 1)))
                if len(h) - end + 1 > 1:
                    found.append(h[end - 1 :])
            while end > 1:
                start = max(0, end - length)
                found.append(h[start:end])
                end = start + 1 if start else 0
        order = rng.permutation(len(found))
        return [found[i] for i in order]

    def pad(rows, value=0):
        n = max(map(len, rows))
        return torch.tensor([r + [value] * (n - len(r)) for r in rows])

    model = SasRec(t)
    adam = torch.optim.Adam(model.parameters(), lr=t["learning_rate"], betas=(0.9, 0.98))

    @torch.no_grad()
    def judge(histories, targets):
        model.eval()
        hits, gain = 0, 0.0
        for at in range(0, len(histories), 64):
            rows = [h[-context:] for h in histories[at : at + 64]]
            y = model(pad(rows))
            last = y[torch.arange(len(rows)), torch.tensor([len(r) - 1 for r in rows])]
            scores = last @ model.items.weight.T
            for s, h, target in zip(scores, histories[at : at + 64], targets[at : at + 64]):
                bar = s[target].item()
                s[torch.tensor(h)] = -math.inf
                rank = int((s > bar).sum()) + int((s[:target] == bar).sum())
                if rank < 10:
                    hits, gain = hits + 1, gain + 1 / math.log2(rank + 2)
        return hits / len(histories), gain / len(histories)

    held = [h for h in full if len(h) > 2]
    best, state, stale, seconds, steps, epochs = -1.0, None, 0, 0.0, 0, 0
    began = time.perf_counter()
    for epoch in range(t["epochs"]):
        model.train()
        start = time.perf_counter()
        found = pieces()
        for at in range(0, len(found), batch):
            rows = found[at : at + batch]
            ids, targets = pad([r[:-1] for r in rows]), pad([r[1:] for r in rows], -100)
            y = model(ids)[targets != -100]
            loss = F.cross_entropy(y @ model.items.weight.T, targets[targets != -100])
            adam.zero_grad()
            loss.backward()
            adam.step()
            steps += epoch > 0
        if epoch > 0:
            seconds, epochs = seconds + time.perf_counter() - start, epochs + 1
        _, ndcg = judge([h[:-1] for h in held], [h[-1] for h in held])
        if ndcg > best:
            best, stale = ndcg, 0
            state = {k: v.clone() for k, v in model.state_dict().items()}
        else:
            stale += 1
            if stale >= t["patience"]:
                break
    total = time.perf_counter() - began
    model.load_state_dict(state)
    asked = [(u["history"], u["test"]) for u in t["users"] if u["test"] is not None]
    hit, ndcg = judge([h for h, _ in asked], [x for _, x in asked])
    name = f"SASRec, PyTorch {torch.__version__.split('+')[0]}"
    print(f"{name:44} {hit:8.4f} {ndcg:8.4f} {total:9.2f}")
    print(f"PyTorch: {seconds / max(epochs, 1):.3f} s an epoch, {1e3 * seconds / max(steps, 1):.1f} ms a step")


if __name__ == "__main__":
    main()
