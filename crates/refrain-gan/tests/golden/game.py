# Values for the tests in src/game_tests.rs: three whole steps of a game (Adam with rates that fall to
# nothing, the averaged generator) from the same first weights, images and noise. `game` compares pairs
# under the penalties R1 and R2; `wgan_gp` is Wasserstein's with the gradient penalty.
# The drawn numbers come from the test, which writes them to the file of REFRAIN_DRAWN:
#   REFRAIN_DRAWN=drawn.txt cargo test -p refrain-gan --lib golden_steps_of_pytorch
#   python crates/refrain-gan/tests/golden/game.py game drawn.txt > crates/refrain-gan/tests/golden/game.txt
# and with golden_steps_of_wgan_gp and wgan_gp in the same places.
# (torch 2.15.0, in double precision; the networks are those of benches/peers/torch_gan.py)
import copy
import math
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.append(str(pathlib.Path(__file__).parents[4] / "benches" / "peers"))
from torch_gan import ConvDiscriminator, ConvGenerator

torch.set_default_dtype(torch.float64)
BATCH, NOISE, SIDE = 4, 3, 7


def values(i, n):
    numbers = [0.5 * math.sin(1.3 * i + 0.7 * j * j + 0.2) for j in range(n)]
    return torch.tensor(numbers, dtype=torch.float32).double()


def ordered(network):
    """The weights in refrain's order, matrices as it has them: inputs × outputs."""
    return list(network.parameters())


def fill(network):
    for i, weight in enumerate(ordered(network)):
        flat = values(i, weight.numel())
        if weight.dim() == 2:
            weight.data = flat.reshape(weight.shape[::-1]).T.contiguous()
        else:
            weight.data = flat.reshape(weight.shape)
    return network


def flat(network):
    return torch.cat([w.T.flatten() if w.dim() == 2 else w.flatten() for w in ordered(network)])


g = fill(ConvGenerator(NOISE, [1, SIDE, SIDE], [4, 3], base=3))
d = fill(ConvDiscriminator([1, SIDE, SIDE], [3, 4], base=3))
average = copy.deepcopy(g)
adam = dict(lr=1e-3, betas=(0.5, 0.999), eps=1e-8)
g_adam, d_adam = torch.optim.Adam(g.parameters(), **adam), torch.optim.Adam(d.parameters(), **adam)
GAMMA, WEIGHT = 0.5, 10.0
WGAN_GP = sys.argv[1] == "wgan_gp"
schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda step: (3 - step) / 3) for o in (g_adam, d_adam)]


def slopes(logits, x):
    """The length of each image's slope, by x counted as −1..1: half that by 0..1."""
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return (slope / 2).flatten(1).square().sum(1).sqrt()


for step, line in enumerate(open(sys.argv[2])):
    print("drawn", line.strip())
    drawn = torch.tensor([float(v) for v in line.split()])
    parts = [BATCH * SIDE * SIDE, BATCH * NOISE, BATCH if WGAN_GP else 0, BATCH * NOISE]
    pixels, one, shares, two = drawn.split(parts)
    real = pixels.reshape(BATCH, 1, SIDE, SIDE)

    fake = g(one.reshape(BATCH, NOISE)).detach()
    real_in, fake_in = real.clone().requires_grad_(), fake.requires_grad_()
    on_real, on_fake = d(real_in), d(fake_in)
    if WGAN_GP:
        loss = on_fake.mean() - on_real.mean()
        share = shares.reshape(BATCH, 1, 1, 1)
        x = (share * real + (1 - share) * fake.detach()).requires_grad_()
        penalty = WEIGHT * (slopes(d(x), x) - 1).square().mean()
    else:
        loss = F.softplus(on_fake - on_real).mean()
        penalty = GAMMA / 2 * sum(slopes(logits, x).square().mean()
                                  for logits, x in [(on_real, real_in), (on_fake, fake_in)])
    d_adam.zero_grad()
    (loss + penalty).backward()
    d_adam.step()
    told = [loss.item(), penalty.item()]

    on_fake = d(g(two.reshape(BATCH, NOISE)))
    loss = -on_fake.mean() if WGAN_GP else F.softplus(d(real).detach() - on_fake).mean()
    g_adam.zero_grad()
    loss.backward()
    g_adam.step()
    told.append(loss.item())
    [schedule.step() for schedule in schedules]

    decay = min(0.995, (1 + step) / (10 + step))
    with torch.no_grad():
        for mean, weight in zip(average.parameters(), g.parameters()):
            mean.mul_(decay).add_(weight, alpha=1 - decay)
    print("told", *(f"{v:.8g}" for v in told))

for name, network in [("generator", g), ("average", average), ("discriminator", d)]:
    print(name, *(f"{v:.8g}" for v in flat(network).tolist()))
