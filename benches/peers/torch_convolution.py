"""PyTorch's side of the `convolution` benchmark: a line on standard input does every shape once.

    python torch_convolution.py THREADS IMAGES CHANNELS,FILTERS,KERNEL,STRIDE,SIDE ...

It prints one JSON object per line.
"""

import json
import sys
import time

import torch

threads, images, *shapes = sys.argv[1:]
torch.set_num_threads(int(threads))
cases = []
for shape in shapes:
    channels, filters, kernel, stride, side = map(int, shape.split(","))
    x = torch.rand(int(images), channels, side, side)
    w, b = torch.rand(filters, channels, kernel, kernel), torch.zeros(filters)
    g = torch.rand_like(torch.conv2d(x, w, b, stride, kernel // 2))
    cases.append((x, w, b, g, stride, kernel // 2))


def timed(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def once():
    for x, w, b, g, stride, padding in cases:
        yield timed(lambda: torch.conv2d(x, w, b, stride, padding))
        for mask in ([True, False, False], [False, True, False]):
            sizes = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, mask)
            backward = torch.ops.aten.convolution_backward
            yield timed(lambda: backward(g, x, w, [len(b)], *sizes))


print(json.dumps({"ready": torch.__version__}), flush=True)
for line in sys.stdin:
    print(json.dumps({"seconds": list(once())}), flush=True)
