# Values for the tests `golden_gradients_of_pytorch` in src/penalty_tests.rs: penalties on a
# discriminator's slope and their gradients for every weight, by second-order automatic differentiation.
# Run: python crates/refrain-gan/tests/golden/penalty.py > crates/refrain-gan/tests/golden/penalty.txt
# (torch 2.15.0, in double precision)
import math

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


class Weights:
    """Weights in the order of the network, from a formula that the test repeats."""

    def __init__(self):
        self.all = []

    def __call__(self, *shape):
        i = len(self.all)
        n = math.prod(shape)
        values = [0.5 * math.sin(1.3 * i + 0.7 * j * j + 0.2) for j in range(n)]
        values = torch.tensor(values, dtype=torch.float32).double()
        self.all.append(values.reshape(shape).requires_grad_())
        return self.all[-1]


def points(*shape):
    n = math.prod(shape)
    values = torch.tensor([0.9 * math.cos(0.37 * j * j) for j in range(n)], dtype=torch.float32)
    return values.double().reshape(shape).requires_grad_()


def leaky(x):
    return F.leaky_relu(x, 0.2)


def mlp(act):
    w = Weights()
    layers = [(w(2, 5), w(5)), (w(5, 4), w(4))]
    head = (w(4, 1), w(1))

    def d(x, _):
        x = x.flatten(1)
        for weight, bias in layers:
            x = act(x @ weight + bias)
        return (x @ head[0] + head[1]).flatten()

    return d, w, points(3, 2, 1, 1), None


def conv():
    """5 × 6 pixels: the stride of 2 meets an odd side and an even one; with projection."""
    w = Weights()
    layers = [(w(3, 2, 3, 3), w(3), 1), (w(4, 3, 3, 3), w(4), 2)]
    head = (w(36, 1), w(1))
    project = (w(36, 2), w(2))

    def d(x, c):
        for weight, bias, stride in layers:
            x = leaky(F.conv2d(x, weight, bias, stride=stride, padding=1))
        x = x.flatten(1)
        return (x @ head[0] + head[1]).flatten() + ((x @ project[0] + project[1]) * c).sum(1)

    classes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    return d, w, points(3, 2, 5, 6), classes


def conv_over_time():
    """Five channels of 11 steps: true one-dimensional convolutions with the middle rows of the kernels."""
    w = Weights()
    layers = [(w(4, 5, 3, 3), w(4), 1), (w(3, 4, 3, 3), w(3), 2), (w(2, 3, 3, 3), w(2), 2)]
    head = (w(6, 1), w(1))

    def d(x, _):
        x = x.squeeze(2)
        for weight, bias, stride in layers:
            x = leaky(F.conv1d(x, weight[:, :, 1], bias, stride=stride, padding=1))
        return (x.flatten(1) @ head[0] + head[1]).flatten()

    return d, w, points(3, 5, 1, 11), None


def residual():
    """5 × 6 pixels, the odd side pooled with a row of zeros."""
    w = Weights()
    stem = (w(2, 1, 3, 3), w(2))
    body = [(w(3, 2, 3, 3), w(3)), (w(3, 3, 3, 3), w(3))]
    skip = (w(3, 2, 1, 1), w(3))
    head = (w(27, 1), w(1))

    def d(x, _):
        x = F.conv2d(x, *stem, padding=1)
        y = F.conv2d(leaky(x), *body[0], padding=1)
        y = F.conv2d(leaky(y), *body[1], padding=1)
        x = y + F.conv2d(x, *skip)
        x = F.avg_pool2d(F.pad(x, (0, 0, 0, 1)), 2)
        return (leaky(x).flatten(1) @ head[0] + head[1]).flatten()

    return d, w, points(3, 1, 5, 6), None


nets = {
    "mlp leaky": mlp(leaky),
    "mlp silu": mlp(F.silu),
    "mlp tanh": mlp(torch.tanh),
    "conv": conv(),
    "conv over time": conv_over_time(),
    "residual": residual(),
}
for name, (d, weights, x, classes) in nets.items():
    for penalty in ["r1", "wgan-gp"]:
        (slope,) = torch.autograd.grad(d(x, classes).sum(), x, create_graph=True)
        squares = slope.flatten(1).square().sum(1)
        if penalty == "r1":
            value = squares.mean() * 0.5  # gamma 1
        else:
            value = 10.0 * (squares.sqrt() - 1.0).square().mean()
        gradients = torch.autograd.grad(value, weights.all, allow_unused=True)
        flat = [0.0 * w if g is None else g for g, w in zip(gradients, weights.all)]
        flat = torch.cat([g.flatten() for g in flat]).tolist()
        print(f"{name}, {penalty}:", " ".join(f"{v:.7g}" for v in [value.item()] + flat))
