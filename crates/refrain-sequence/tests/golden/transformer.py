"""Writes transformer.json beside this file: logits, loss and every gradient of two tiny decoders.

    python tests/golden/transformer.py        (made with PyTorch 2.15.0, CPU, float64)

Weight number i of the flat vector is 0.4 sin(0.7 i), plus 1 for norm weights, so that the test
needs no weight file. The order of the flat vector is that of `Layout`.
"""

import json
import math
import os

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
VOCABULARY, LAYERS, HEADS, WIDTH, CONTEXT = 5, 2, 2, 8, 6
INPUTS, TARGETS = [3, 1, 4, 1, 0, 2], [1, 4, 1, 0, 2, 2]


class Flat:
    def __init__(self):
        self.parts, self.at = [], 0

    def take(self, *shape, start=0.0):
        n = math.prod(shape)
        values = [start + 0.4 * math.sin(0.7 * i) for i in range(self.at, self.at + n)]
        self.at += n
        part = torch.tensor(values).reshape(shape).requires_grad_()
        self.parts.append(part)
        return part


def gpt2(x):
    flat = Flat()
    norm = lambda: (flat.take(WIDTH, start=1.0), flat.take(WIDTH))
    linear = lambda i, o: (flat.take(i, o), flat.take(o))
    table, positions = flat.take(VOCABULARY, WIDTH), flat.take(CONTEXT, WIDTH)
    h = table[x] + positions[: len(x)]
    for _ in range(LAYERS):
        n1, qkv, out = norm(), linear(WIDTH, 3 * WIDTH), linear(WIDTH, WIDTH)
        n2, up, down = norm(), linear(WIDTH, 4 * WIDTH), linear(4 * WIDTH, WIDTH)
        y = F.layer_norm(h, (WIDTH,), *n1, eps=1e-5) @ qkv[0] + qkv[1]
        q, k, v = (t.view(len(x), HEADS, -1).transpose(0, 1) for t in y.split(WIDTH, 1))
        y = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
        h = h + y.transpose(0, 1).reshape(len(x), WIDTH) @ out[0] + out[1]
        y = F.layer_norm(h, (WIDTH,), *n2, eps=1e-5) @ up[0] + up[1]
        h = h + F.gelu(y, approximate="tanh") @ down[0] + down[1]
    return flat, F.layer_norm(h, (WIDTH,), *norm(), eps=1e-5) @ table.T


def rotate(x):
    half = x.shape[-1] // 2
    frequency = 10000.0 ** (-torch.arange(half) / half)
    angle = torch.arange(x.shape[0])[:, None, None] * frequency
    a, b = x[..., :half], x[..., half:]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def llama(x):
    flat = Flat()
    hidden = (WIDTH * 8 // 3 + 7) // 8 * 8
    rms = lambda h, w: F.rms_norm(h, (WIDTH,), w, eps=1e-5)
    table = flat.take(VOCABULARY, WIDTH)
    h = table[x]
    for _ in range(LAYERS):
        n1, qkv, out = flat.take(WIDTH, start=1.0), flat.take(WIDTH, 3 * WIDTH), flat.take(WIDTH, WIDTH)
        n2 = flat.take(WIDTH, start=1.0)
        up, down = flat.take(WIDTH, 2 * hidden), flat.take(hidden, WIDTH)
        q, k, v = (t.view(len(x), HEADS, -1) for t in (rms(h, n1) @ qkv).split(WIDTH, 1))
        q, k, v = (t.transpose(0, 1)[None] for t in (rotate(q), rotate(k), v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)[0]
        h = h + y.transpose(0, 1).reshape(len(x), WIDTH) @ out
        gate, value = (rms(h, n2) @ up).split(hidden, 1)
        h = h + (F.silu(gate) * value) @ down
    return flat, rms(h, flat.take(WIDTH, start=1.0)) @ table.T


result = {}
for name, model in [("gpt2", gpt2), ("llama", llama)]:
    flat, logits = model(torch.tensor(INPUTS))
    loss = F.cross_entropy(logits, torch.tensor(TARGETS))
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in flat.parts])
    result[name] = {
        "logits": [float(f"{x:.8g}") for x in logits.flatten().tolist()],
        "loss": loss.item(),
        "gradient": [float(f"{x:.6g}") for x in gradient.tolist()],
    }
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "transformer.json")
with open(path, "w") as file:
    json.dump(result, file, separators=(",", ":"))
    file.write("\n")
