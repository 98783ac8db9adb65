"""PyTorch's side of the `shakespeare` benchmark: nanoGPT's model and recipe on the CPU.

The model is nanoGPT's (pre-norm, GELU, LayerNorm, learned positions, fused q/k/v, PyTorch's own
scaled_dot_product_attention, tied embeddings, no biases), in float32, without dropout and without
torch.compile; the optimizer is AdamW with decay on matrices, betas (0.9, 0.99), clipping at 1,
100 steps of warm-up and a cosine from 1e-3 to 1e-4.

    python torch_shakespeare.py INPUT.txt --threads 2 --steps 40      # ms per step
    python torch_shakespeare.py INPUT.txt --threads 2 --train 2000    # and the validation loss
    python torch_shakespeare.py INPUT.txt --serve                     # one burst per line on stdin

It prints one JSON object per line. With --serve, a line "N" on standard input trains N steps and
prints their milliseconds; the benchmark interleaves its own steps between the lines.
"""

import argparse
import json
import math
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).split(c, dim=2)
        q, k, v = (y.view(b, t, self.heads, c // self.heads).transpose(1, 2) for y in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).contiguous().view(b, t, c))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln1 = nn.LayerNorm(width, bias=False)
        self.attn = Attention(width, heads)
        self.ln2 = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        return x + self.down(F.gelu(self.up(self.ln2(x))))


class Gpt(nn.Module):
    def __init__(self, vocabulary, layers, heads, width, context):
        super().__init__()
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln = nn.LayerNorm(width, bias=False)
        for name, p in self.named_parameters():
            if p.dim() >= 2:
                branch = name.endswith(("proj.weight", "down.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * layers) if branch else 0.02)

    def forward(self, x, y):
        h = self.wte(x) + self.wpe(torch.arange(x.shape[1]))
        for block in self.blocks:
            h = block(h)
        logits = self.ln(h) @ self.wte.weight.T
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), y.reshape(-1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=40, help="steps to time")
    parser.add_argument("--train", type=int, default=0, help="train so many steps and validate")
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1337)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)

    text = open(a.text, encoding="utf-8").read()
    chars = sorted(set(text))
    table = {c: i for i, c in enumerate(chars)}
    data = torch.tensor([table[c] for c in text])
    cut = int(len(data) * 0.9)
    train, held = data[:cut], data[cut:]

    model = Gpt(len(chars), a.layers, a.heads, a.width, a.context)
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), eps=1e-8)
    total = a.train or 2000

    def rate(step):
        if step < 100:
            return 1e-3 * (step + 1) / 101
        share = min(1.0, (step - 100) / (total - 100))
        return 1e-4 + 0.5 * (1 + math.cos(math.pi * share)) * 9e-4

    step = 0

    def one_step():
        nonlocal step
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        starts = torch.randint(len(train) - a.context, (a.batch,))
        x = torch.stack([train[i : i + a.context] for i in starts])
        y = torch.stack([train[i + 1 : i + 1 + a.context] for i in starts])
        loss = model(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        return loss.item()

    def timed(n):
        times = []
        for _ in range(n):
            began = time.perf_counter()
            one_step()
            times.append(1e3 * (time.perf_counter() - began))
        return times

    @torch.no_grad()
    def validate():
        # Every token of the held-out part but the first is scored once.
        loss, count = 0.0, 0
        n = (len(held) - 1) // a.context
        x = held[: n * a.context].view(n, a.context)
        y = held[1 : n * a.context + 1].view(n, a.context)
        for i in range(0, n, 64):
            size = y[i : i + 64].numel()
            loss += model(x[i : i + 64], y[i : i + 64]).item() * size
            count += size
        rest = held[n * a.context :]
        if len(rest) > 1:
            loss += model(rest[None, :-1], rest[None, 1:]).item() * (len(rest) - 1)
            count += len(rest) - 1
        return loss / count

    if a.serve:
        timed(5)
        print(json.dumps({"ready": torch.__version__}), flush=True)
        for line in sys.stdin:
            print(json.dumps({"ms": timed(int(line))}), flush=True)
        return
    if a.train:
        began = time.perf_counter()
        while step < a.train:
            one_step()
        seconds = time.perf_counter() - began
        print(json.dumps({"steps": step, "seconds": seconds, "validation": validate()}))
        return
    timed(5)
    print(json.dumps({"ms_per_step": statistics.median(timed(a.steps))}))


if __name__ == "__main__":
    main()
