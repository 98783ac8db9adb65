"""The rivals' side of the `translator` benchmark, in float32 on the CPU.

*Training*: PyTorch's nn.Transformer of the same size (norms before, ReLU, dropout 0.3), one table for all
tokens, label smoothing 0.1, AdamW, the same pairs in batches of like length, padded to the longest.
*Translating*: transformers' MarianMTModel or Pegasus read from the folder that our side has written, in
batches, by as many beams, with a cache.

    python torch_translator.py PAIRS.json --threads 1 [--model FOLDER]

One JSON object is printed per line of standard input: "train N" trains N steps, "translate BEAMS" writes the
target of every source. Seconds are of the wall clock and of the processor.
"""

import argparse
import json
import math
import random
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


class Translator(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.width = c["width"]
        self.table = nn.Embedding(c["vocabulary"], c["width"])
        nn.init.normal_(self.table.weight, std=c["width"] ** -0.5)
        self.layers = nn.Transformer(
            c["width"], c["heads"], c["layers"], c["layers"], c["hidden"], c["dropout"],
            batch_first=True, norm_first=True,
        )
        self.drop = nn.Dropout(c["dropout"])
        t = torch.arange(c["positions"]).unsqueeze(1)
        angle = t * torch.exp(torch.arange(0, c["width"], 2) * (-math.log(10000.0) / c["width"]))
        self.register_buffer("places", torch.cat([angle.sin(), angle.cos()], 1))

    def embed(self, x):
        return self.drop(self.table(x) * math.sqrt(self.width) + self.places[: x.shape[1]])

    def forward(self, source, source_pad, inputs, targets):
        n = inputs.shape[1]
        causal = torch.triu(torch.full((n, n), float("-inf")), 1)
        h = self.layers(
            self.embed(source), self.embed(inputs), tgt_mask=causal, tgt_is_causal=True,
            src_key_padding_mask=source_pad, memory_key_padding_mask=source_pad,
        )
        # Only rows that have a target go through the head.
        real = targets >= 0
        logits = h[real] @ self.table.weight.T
        return F.cross_entropy(logits, targets[real], label_smoothing=0.1)


def padded(rows, value):
    longest = max(map(len, rows))
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    data = json.load(open(a.pairs))
    c, pairs = data["config"], data["pairs"]
    model = Translator(c)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=1e-4)
    rng = random.Random(1)

    def batches():
        while True:
            order = list(range(len(pairs)))
            rng.shuffle(order)
            pool = c["batch"] * 16
            chunks = []
            for i in range(0, len(order), pool):
                part = sorted(order[i : i + pool], key=lambda j: len(pairs[j][0]) + len(pairs[j][1]))
                chunks += [part[k : k + c["batch"]] for k in range(0, len(part), c["batch"])]
            rng.shuffle(chunks)
            yield from chunks

    drawn = batches()

    def step():
        batch = [pairs[i] for i in next(drawn)]
        source = padded([s for s, _ in batch], 0)
        pad = padded([[False] * len(s) for s, _ in batch], True)
        inputs = padded([[0] + t[:-1] for _, t in batch], 0)
        targets = padded([t for _, t in batch], -1)
        loss = model(source, pad, inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return int((targets >= 0).sum())

    marian = None
    if a.model:
        from transformers import AutoModelForSeq2SeqLM

        marian = AutoModelForSeq2SeqLM.from_pretrained(a.model).eval()

    @torch.no_grad()
    def translate(beams):
        sources = sorted((s for s, _ in pairs[: c["translated"]]), key=len)
        written = 0
        for i in range(0, len(sources), 32):
            batch = sources[i : i + 32]
            ids = padded(batch, marian.config.pad_token_id)
            mask = padded([[1] * len(s) for s in batch], 0)
            written += len(marian.generate(
                input_ids=ids, attention_mask=mask, num_beams=beams, max_new_tokens=c["most"],
            ))
        return written

    step()
    print(json.dumps({"ready": torch.__version__}), flush=True)
    for line in sys.stdin:
        what, n = line.split()
        wall, cpu = time.perf_counter(), time.process_time()
        done = sum(step() for _ in range(int(n))) if what == "train" else translate(int(n))
        print(json.dumps({
            "wall": time.perf_counter() - wall, "processor": time.process_time() - cpu, "done": done,
        }), flush=True)


if __name__ == "__main__":
    main()
