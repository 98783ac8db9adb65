"""Writes rnn.json beside this file: outputs, last states and every gradient of small `nn.RNN`s,
`nn.GRU`s and `nn.LSTM`s.

    python tests/golden/make_rnn.py        (made with PyTorch 2.15.0, CPU, float64)

Parameter number i of a module, counted through its `named_parameters()`, is 0.5 sin(0.7 i); value
number i of the input is cos(0.9 i), of the first hidden state 0.3 sin(1.1 i), of the first cell
state 0.3 cos(1.3 i), so that the test needs no weights. The loss is the sum of the outputs times
sin(0.5 i), of the last hidden states times cos(0.4 i), and of the last cell states times
sin(0.3 i).
"""

import json
import os

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

torch.set_default_dtype(torch.float64)
INPUT, HIDDEN, TIME, LENGTHS = 3, 4, 5, [5, 2, 4]


def wave(shape, scale, function, step):
    n = 1
    for side in shape:
        n *= side
    return (scale * function(step * torch.arange(n))).reshape(shape)


def short(tensor, digits):
    return [float(f"{x:.{digits}g}") for x in tensor.flatten().tolist()]


def case(cell, layers, bidirectional, bias, ragged):
    module = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell]
    module = module(INPUT, HIDDEN, layers, bias=bias, bidirectional=bidirectional, batch_first=True)
    at, names = 0, []
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            n = parameter.numel()
            parameter.copy_((0.5 * torch.sin(0.7 * torch.arange(at, at + n))).reshape(parameter.shape))
            at += n
            names.append([name, list(parameter.shape)])
    batch = len(LENGTHS)
    x = wave((batch, TIME, INPUT), 1.0, torch.cos, 0.9).requires_grad_()
    rows = layers * (2 if bidirectional else 1)
    h = wave((rows, batch, HIDDEN), 0.3, torch.sin, 1.1).requires_grad_()
    c = wave((rows, batch, HIDDEN), 0.3, torch.cos, 1.3)
    begin = (h, c) if cell == "lstm" else h
    if ragged:
        packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
        y, end = module(packed, begin)
        y, _ = pad_packed_sequence(y, batch_first=True)
    else:
        y, end = module(x, begin)
    hidden, cells = end if cell == "lstm" else (end, None)
    loss = (y * wave(y.shape, 1.0, torch.sin, 0.5)).sum()
    loss = loss + (hidden * wave(hidden.shape, 1.0, torch.cos, 0.4)).sum()
    if cells is not None:
        loss = loss + (cells * wave(cells.shape, 1.0, torch.sin, 0.3)).sum()
    loss.backward()
    return {
        "cell": cell,
        "layers": layers,
        "bidirectional": bidirectional,
        "bias": bias,
        "lengths": LENGTHS if ragged else [TIME] * batch,
        "names": names,
        "output": short(y, 7),
        "hidden": short(hidden, 7),
        "cells": None if cells is None else short(cells, 7),
        "input_gradient": short(x.grad, 6),
        "state_gradient": short(h.grad, 6),
        "gradient": short(torch.cat([p.grad.flatten() for p in module.parameters()]), 6),
    }


cases = []
for cell in ["elman", "gru", "lstm"]:
    cases.append(case(cell, 1, False, True, False))
    cases.append(case(cell, 2, True, True, True))
    cases.append(case(cell, 2, False, False, True))
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "rnn.json")
with open(path, "w") as file:
    json.dump(cases, file, separators=(",", ":"))
    file.write("\n")
