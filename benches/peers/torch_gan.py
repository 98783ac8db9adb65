"""PyTorch's side of the `gan_step` and `gan_mnist` benchmarks: the same networks, the same game (pairs
compared, penalties R1 and R2 through `create_graph=True`, or none), Adam and an averaged generator, in
float32 without torch.compile.

    python torch_gan.py dcgan --image 3,32,32     # a line "N" on standard input trains N steps
    python torch_gan.py dcgan --image 1,28,28 --data images.f32 --steps 3000 --paint 2000,painted.f32

With --tutorial the game is that of PyTorch's own DCGAN tutorial: cross-entropy, Adam at 2e-4, no penalty,
the last generator.

It prints one JSON object per line. Without --data the images are noise: it is about time alone.
"""

import argparse
import copy
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

SLOPE = 0.2
GAIN = (2 / (1 + SLOPE**2)) ** 0.5


def leaky(x):
    return F.leaky_relu(x, SLOPE)


def init(layer, gain):
    fan = layer.weight[0].numel()
    nn.init.normal_(layer.weight, std=gain / fan**0.5)
    nn.init.zeros_(layer.bias)
    return layer


def conv(i, o, kernel=3, stride=1, gain=GAIN):
    return init(nn.Conv2d(i, o, kernel, stride, kernel // 2), gain)


def halvings(size, base, most):
    sizes = [size]
    while len(sizes) <= most:
        half = [(s + 1) // 2 for s in sizes[-1]]
        if min(half) < base or half == sizes[-1]:
            break
        sizes.append(half)
    return sizes


def pixel_norm(x):
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class ConvGenerator(nn.Module):
    def __init__(self, noise, image, channels, base=4):
        super().__init__()
        c, *size = image
        first, *hidden = channels
        self.sizes = halvings(size, base, len(hidden) + 1)[::-1]
        self.first = first
        h, w = self.sizes[0]
        self.dense = init(nn.Linear(noise, first * h * w), GAIN)
        ends = [*hidden, c]
        starts = [first, *hidden]
        gains = [GAIN] * len(hidden) + [1.0]
        self.convs = nn.ModuleList(conv(i, o, gain=g) for i, o, g in zip(starts, ends, gains))

    def forward(self, z):
        x = pixel_norm(leaky(self.dense(z).unflatten(1, (self.first, *self.sizes[0]))))
        for k, layer in enumerate(self.convs):
            if k + 1 < len(self.sizes):
                x = F.interpolate(x, self.sizes[k + 1], mode="nearest")
            x = layer(x)
            if k + 1 < len(self.convs):
                x = pixel_norm(leaky(x))
        return x.sigmoid()


class ConvDiscriminator(nn.Module):
    def __init__(self, image, channels, base=4):
        super().__init__()
        c, *size = image
        sizes = halvings(size, base, len(channels))
        keep = len(channels) - (len(sizes) - 1)
        ends = zip([c, *channels], channels)
        self.convs = nn.ModuleList(
            conv(i, o, stride=1 if k < keep else 2) for k, (i, o) in enumerate(ends)
        )
        self.head = init(nn.Linear(channels[-1] * sizes[-1][0] * sizes[-1][1], 1), 1.0)

    def forward(self, x):
        x = x * 2 - 1
        for layer in self.convs:
            x = leaky(layer(x))
        return self.head(x.flatten(1)).flatten()


class Block(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.a, self.b = conv(i, o), conv(o, o, gain=0.25 * GAIN)
        self.skip = conv(i, o, kernel=1, gain=1.0) if i != o else nn.Identity()

    def forward(self, x, size=None):
        y = leaky(x)
        if size:
            y = F.interpolate(y, size, mode="nearest")
            x = F.interpolate(x, size, mode="nearest")
        return self.b(leaky(self.a(y))) + self.skip(x)


class ResidualGenerator(nn.Module):
    def __init__(self, noise, image, channels, base=4):
        super().__init__()
        c, *size = image
        self.sizes = halvings(size, base, len(channels) - 1)[::-1]
        self.first = channels[0]
        h, w = self.sizes[0]
        self.dense = init(nn.Linear(noise, channels[0] * h * w), 1.0)
        self.blocks = nn.ModuleList(Block(i, o) for i, o in zip(channels, channels[1:]))
        self.paint = conv(channels[-1], c, gain=1.0)

    def forward(self, z):
        x = self.dense(z).unflatten(1, (self.first, *self.sizes[0]))
        for k, block in enumerate(self.blocks):
            x = block(x, self.sizes[k + 1] if k + 1 < len(self.sizes) else None)
        return self.paint(leaky(x)).sigmoid()


class ResidualDiscriminator(nn.Module):
    def __init__(self, image, channels, base=4):
        super().__init__()
        c, *size = image
        sizes = halvings(size, base, len(channels) - 1)
        self.keep = len(channels) - 1 - (len(sizes) - 1)
        self.stem = conv(c, channels[0], gain=1.0)
        self.blocks = nn.ModuleList(Block(i, o) for i, o in zip(channels, channels[1:]))
        self.head = init(nn.Linear(channels[-1] * sizes[-1][0] * sizes[-1][1], 1), 1.0)

    def forward(self, x):
        x = self.stem(x * 2 - 1)
        for k, block in enumerate(self.blocks):
            x = block(x)
            if k >= self.keep:
                x = F.avg_pool2d(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2)), 2)
        return self.head(leaky(x).flatten(1)).flatten()


def numbers(text):
    return [int(n) for n in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["dcgan", "residual"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--image", type=numbers, default=[3, 32, 32])
    parser.add_argument("--noise", type=int, default=64)
    parser.add_argument("--generator", type=numbers, default=[64, 64, 32])
    parser.add_argument("--discriminator", type=numbers, default=[32, 64])
    parser.add_argument("--gamma", type=float, default=0.0)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--average", type=float, default=0.995)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--pac", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tutorial", action="store_true")
    parser.add_argument("--data")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--paint", help="count,file")
    a = parser.parse_args()
    if a.tutorial:
        a.rate, a.gamma, a.average = 2e-4, 0.0, 0.0
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)

    packed = [a.image[0] * a.pac, *a.image[1:]]
    if a.kind == "dcgan":
        g = ConvGenerator(a.noise, a.image, a.generator)
        d = ConvDiscriminator(packed, a.discriminator)
    else:
        g = ResidualGenerator(a.noise, a.image, a.generator)
        d = ResidualDiscriminator(packed, a.discriminator)
    average = copy.deepcopy(g)
    adam = dict(lr=a.rate, betas=(0.5, 0.999), eps=1e-8, fused=True)
    g_adam, d_adam = torch.optim.Adam(g.parameters(), **adam), torch.optim.Adam(d.parameters(), **adam)
    if a.data:
        data = torch.frombuffer(bytearray(open(a.data, "rb").read()), dtype=torch.float32)
        data = data.reshape(-1, *a.image)
    else:
        data = torch.rand(1024, *a.image)
    done = 0

    def pack(x):
        return x.reshape(-1, *packed)

    def one_step():
        nonlocal done
        real = data[torch.randint(len(data), (a.batch,))]
        with torch.no_grad():
            fake = g(torch.randn(a.batch, a.noise))
        seen = pack(torch.cat([real, fake])).requires_grad_(a.gamma > 0)
        logits = d(seen)
        on_real, on_fake = logits.chunk(2)
        if a.tutorial:
            loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        else:
            loss = F.softplus(on_fake - on_real).mean()
        if a.gamma > 0:
            (slope,) = torch.autograd.grad(logits.sum(), seen, create_graph=True)
            # With respect to −1..1, as in the papers.
            squares = slope.flatten(1).div(2).square().sum(1)
            loss = loss + a.gamma * squares.mean()
        d_adam.zero_grad()
        loss.backward()
        d_adam.step()

        for p in d.parameters():
            p.requires_grad_(False)
        on_fake = d(pack(g(torch.randn(a.batch, a.noise))))
        if a.tutorial:
            loss = F.softplus(-on_fake).mean()
        else:
            with torch.no_grad():
                on_real = d(pack(real))
            loss = F.softplus(on_real - on_fake).mean()
        g_adam.zero_grad()
        loss.backward()
        g_adam.step()
        for p in d.parameters():
            p.requires_grad_(True)
        decay = min(a.average, (1 + done) / (10 + done))
        with torch.no_grad():
            for mean, weight in zip(average.parameters(), g.parameters()):
                mean.lerp_(weight, 1 - decay)
        done += 1
        return loss.item()

    def burst(n):
        walls, processor = [], time.process_time()
        for _ in range(n):
            began = time.perf_counter()
            one_step()
            walls.append(1e3 * (time.perf_counter() - began))
        processor = 1e3 * (time.process_time() - processor) / n
        return {"ms": statistics.median(walls), "processor_ms": processor}

    if a.steps:
        result = burst(a.steps)
        count, file = a.paint.split(",")
        with torch.no_grad():
            painted = [average(torch.randn(100, a.noise)) for _ in range((int(count) + 99) // 100)]
        painted = torch.cat(painted)[: int(count)]
        open(file, "wb").write(painted.numpy().tobytes())
        print(json.dumps(result), flush=True)
        return
    burst(3)
    print(json.dumps({"ready": torch.__version__}), flush=True)
    for line in sys.stdin:
        print(json.dumps(burst(int(line))), flush=True)


if __name__ == "__main__":
    main()
