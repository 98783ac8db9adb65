"""PyTorch's side of the `rnn` benchmark: training steps of a recurrent language model on the CPU.

Embedding, nn.LSTM, nn.GRU or nn.RNN, and a linear layer, in float32, without dropout and without
torch.compile; lanes of random tokens, the state carried on; fused AdamW, clipping at 1.

    python torch_rnn.py LSTM --threads 1        # a line "N" on standard input trains N steps

It prints one JSON object per line: milliseconds and processor time per step.
"""

import argparse
import json
import statistics
import sys
import time

import torch
from torch import nn


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cell", choices=["LSTM", "GRU", "RNN"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--bptt", type=int, default=64)
    parser.add_argument("--vocabulary", type=int, default=65)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)

    embedding = nn.Embedding(a.vocabulary, a.width)
    layers = getattr(nn, a.cell)(a.width, a.width, a.layers, batch_first=True)
    head = nn.Linear(a.width, a.vocabulary)
    parameters = [*embedding.parameters(), *layers.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.1, fused=True)
    state = None

    def one_step():
        nonlocal state
        tokens = torch.randint(a.vocabulary, (a.batch, a.bptt + 1))
        y, state = layers(embedding(tokens[:, :-1]), state)
        state = tuple(s.detach() for s in state) if a.cell == "LSTM" else state.detach()
        loss = nn.functional.cross_entropy(head(y).flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return loss.item()

    def burst(n):
        walls, processor = [], time.process_time()
        for _ in range(n):
            began = time.perf_counter()
            one_step()
            walls.append(1e3 * (time.perf_counter() - began))
        processor = 1e3 * (time.process_time() - processor) / n
        return {"ms": statistics.median(walls), "processor_ms": processor}

    burst(3)
    print(json.dumps({"ready": torch.__version__}), flush=True)
    for line in sys.stdin:
        print(json.dumps(burst(int(line))), flush=True)


if __name__ == "__main__":
    main()
