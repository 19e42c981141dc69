"""Computes in PyTorch, from the equations of PUGAN (arXiv:2002.01136) and of its baselines, what src/nn/examples/gan.rs computed
in Rust: losses on logits with their gradients, and whole pairs of networks with the gradients of all their weights. gan.py FILE"""

import json
import sys

import torch
from torch import nn
from torch.nn import functional as F

LIMIT = 1e-5
PRIOR = 0.3
PENALTY = 10.0


def read(path):
    """All tensors of a safetensors file, by name."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        data = bytearray(file.read())
    out = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            assert entry["dtype"] == "F32", entry
            out[name] = torch.frombuffer(data[begin:end], dtype=torch.float32).reshape(entry["shape"]).clone()
    return out


class Worst:
    """The largest difference, as a share of the largest number of its tensor."""

    def __init__(self):
        self.gap, self.count = 0.0, 0

    def same(self, what, ours, theirs):
        ours, theirs = ours.double(), theirs.detach().double()
        assert ours.shape == theirs.shape, (what, ours.shape, theirs.shape)
        size = theirs.abs().max().item()
        gap = (ours - theirs).abs().max().item() / max(size, 1e-8)
        assert gap < LIMIT, (what, gap, size)
        self.gap, self.count = max(self.gap, gap), self.count + 1


# The losses. Each takes logits; `positive` is that of calling an image real, `negative` that of calling it generated.

bce = F.binary_cross_entropy_with_logits


def positive(loss, s):
    return {
        "standard": lambda: bce(s, torch.ones_like(s), reduction="none"),
        "least-squares": lambda: (s - 1) ** 2,
        "hinge": lambda: torch.clamp(1 - s, min=0),
        "wasserstein": lambda: -s,
    }[loss]()


def negative(loss, s, label=-1):
    return {
        "standard": lambda: bce(s, torch.zeros_like(s), reduction="none"),
        "least-squares": lambda: (s - label) ** 2,
        "hinge": lambda: torch.clamp(1 + s, min=0),
        "wasserstein": lambda: s,
    }[loss]()


def critic_loss(loss, mode, real, fake):
    if mode == "relativistic":
        return (positive(loss, real - fake.mean()).mean() + negative(loss, fake - real.mean()).mean()) / 2
    if mode == "plain":
        return positive(loss, real).mean() + negative(loss, fake, label=0).mean()
    neg = negative(loss, fake).mean() - PRIOR * negative(loss, real).mean()
    if mode == "nnpu" and neg.item() < 0:
        return -neg
    return PRIOR * positive(loss, real).mean() + torch.max(torch.zeros(()).double(), neg)


def generator_loss(loss, mode, real, fake):
    if mode == "relativistic":
        return (positive(loss, fake - real.mean()).mean() + negative(loss, real - fake.mean()).mean()) / 2
    return positive(loss, fake).mean() if loss in ("standard", "least-squares") else -fake.mean()


def losses(tensors, worst):
    cases = sorted({name.rsplit("/", 1)[0] for name in tensors if name.endswith("/critic") and name.count("/") == 3})
    assert len(cases) == 45, len(cases)
    for case in cases:
        kind, loss, mode = case.split("/")

        def leaves():
            return [tensors[f"{kind}/{which}"].double().requires_grad_() for which in ("real", "fake")]

        real, fake = leaves()
        value = critic_loss(loss, mode, real, fake)
        value.backward()
        worst.same(case, tensors[f"{case}/critic"], value)
        for which, leaf in (("real", real), ("fake", fake)):
            grad = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            worst.same(f"{case}: gradient of {which}", tensors[f"{case}/critic-{which}"], grad)
        real, fake = leaves()
        value = generator_loss(loss, mode, real, fake)
        value.backward()
        worst.same(f"{case}: generator", tensors[f"{case}/generator"], value)
        worst.same(f"{case}: generator's gradient", tensors[f"{case}/generator-fake"], fake.grad)


# The networks, as the papers lay them out; width 8 and 12 numbers of noise.

W, Z = 8, 12
LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm1d, nn.BatchNorm2d)


class View(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return x.view(-1, *self.shape)


class Sum(nn.Module):
    def forward(self, x):
        return x.sum((2, 3))


class Residual(nn.Module):
    def __init__(self, main, skip):
        super().__init__()
        self.main, self.skip = nn.Sequential(*main), nn.Sequential(*skip)

    def forward(self, x):
        return self.main(x) + self.skip(x)


def mlp():
    leaky = nn.LeakyReLU(0.2)
    hidden = lambda i: [nn.Linear(i, W), nn.BatchNorm1d(W), nn.ReLU()]
    generator = [*hidden(Z), *hidden(W), nn.Linear(W, 64), nn.Tanh(), View(1, 8, 8)]
    return generator, [nn.Flatten(), nn.Linear(64, W), leaky, nn.Linear(W, W), leaky, nn.Linear(W, 1)]


def dcgan():
    """28 pixels: from 7 over 14."""
    generator = [
        View(Z, 1, 1),
        nn.ConvTranspose2d(Z, 2 * W, 7, bias=False), nn.BatchNorm2d(2 * W), nn.ReLU(),
        nn.ConvTranspose2d(2 * W, W, 4, 2, 1, bias=False), nn.BatchNorm2d(W), nn.ReLU(),
        nn.ConvTranspose2d(W, 1, 4, 2, 1, bias=False), nn.Tanh(),
    ]
    critic = [
        nn.Conv2d(1, W, 4, 2, 1, bias=False), nn.LeakyReLU(0.2),
        nn.Conv2d(W, 2 * W, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * W), nn.LeakyReLU(0.2),
        nn.Conv2d(2 * W, 1, 7, bias=False), nn.Flatten(),
    ]
    return generator, critic


def conv():
    """32 pixels, spectrally normalised."""
    up = lambda c: [nn.ConvTranspose2d(2 * c, c, 4, 2, 1), nn.BatchNorm2d(c), nn.ReLU()]
    generator = [nn.Linear(Z, 8 * W * 16), View(8 * W, 4, 4), *up(4 * W), *up(2 * W), *up(W), nn.Conv2d(W, 3, 3, padding=1), nn.Tanh()]
    norm = nn.utils.spectral_norm
    critic, last = [], 3
    for c in (W, 2 * W, 4 * W):
        critic += [norm(nn.Conv2d(last, c, 3, padding=1)), nn.LeakyReLU(0.1), norm(nn.Conv2d(c, c, 4, 2, 1)), nn.LeakyReLU(0.1)]
        last = c
    critic += [norm(nn.Conv2d(last, 8 * W, 3, padding=1)), nn.LeakyReLU(0.1), nn.Flatten(), norm(nn.Linear(8 * W * 16, 1))]
    return generator, critic


def resnet():
    """32 pixels (arXiv:1802.05957, table 4)."""
    g, d = 2 * W, W
    same = lambda i, o, k=3: nn.Conv2d(i, o, k, padding=k // 2)
    double = lambda: nn.Upsample(scale_factor=2)
    up = lambda: Residual(
        [nn.BatchNorm2d(g), nn.ReLU(), double(), same(g, g), nn.BatchNorm2d(g), nn.ReLU(), same(g, g)], [double(), same(g, g, 1)]
    )
    generator = [nn.Linear(Z, g * 16), View(g, 4, 4), up(), up(), up(), nn.BatchNorm2d(g), nn.ReLU(), same(g, 3), nn.Tanh()]
    plain = lambda: [nn.ReLU(), same(d, d), nn.ReLU(), same(d, d)]
    critic = [
        Residual([same(3, d), nn.ReLU(), same(d, d), nn.AvgPool2d(2)], [nn.AvgPool2d(2), same(3, d, 1)]),
        Residual([*plain(), nn.AvgPool2d(2)], [same(d, d, 1), nn.AvgPool2d(2)]),
        Residual(plain(), []),
        Residual(plain(), []),
        nn.ReLU(), Sum(), nn.Linear(d, 1),
    ]
    return generator, critic


def group(tensors, prefix):
    """Tensors in the order of their numbers, by name."""
    names = sorted(name for name in tensors if name.startswith(prefix + "/"))
    return [(name.split("/")[-1], tensors[name]) for name in names]


def fill(module, named):
    """Puts the tensors into the layers, in the order of the layers."""
    named = iter(named)
    for layer in module.modules():
        if not isinstance(layer, LAYERS):
            continue
        spectral = hasattr(layer, "weight_orig")
        wanted = ["weight"] + (["left", "right"] if spectral else []) + (["bias"] if layer.bias is not None else [])
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            wanted += ["running_mean", "running_var"]
        own = {"weight": "weight_orig" if spectral else "weight", "left": "weight_u", "right": "weight_v"}
        for what in wanted:
            name, tensor = next(named)
            assert name.rsplit(".", 1)[-1] == what, (name, what)
            with torch.no_grad():
                getattr(layer, own.get(what, what)).copy_(tensor)
    assert next(named, None) is None, "tensors are left over"


def parameters(module):
    """Gradients in the order of the layers."""
    for layer in module.modules():
        if isinstance(layer, LAYERS):
            yield layer.weight_orig if hasattr(layer, "weight_orig") else layer.weight
            if layer.bias is not None:
                yield layer.bias


def pair(name, make, tensors, worst):
    own = {key.split("/", 1)[1]: tensor for key, tensor in tensors.items() if key.startswith(name + "/")}
    generator, critic = (nn.Sequential(*part) for part in make())
    fill(generator, group(own, "generator"))
    fill(critic, group(own, "critic"))
    fake = generator(own["noise"])
    worst.same(f"{name}: images", own["fake"], fake)
    real, detached = own["real"], fake.detach()
    on_real, on_fake = critic(real).flatten(), critic(detached).flatten()
    worst.same(f"{name}: logits", own["logits-real"], on_real)
    worst.same(f"{name}: logits", own["logits-fake"], on_fake)
    neg = F.softplus(on_fake).mean() - PRIOR * F.softplus(on_real).mean()
    loss = PRIOR * F.softplus(-on_real).mean() + torch.clamp(neg, min=0)
    if "penalty" in own:
        critic.eval()  # the singular vectors stay
        between = (own["mix"] * real + (1 - own["mix"]) * detached).requires_grad_()
        (grad,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        penalty = ((grad.flatten(1).norm(dim=1) - 1) ** 2).mean()
        worst.same(f"{name}: penalty", own["penalty"], penalty)
        loss = loss + PENALTY * penalty
    loss.backward()
    worst.same(f"{name}: loss", own["loss"], loss)
    grads = group(own, "critic-grad")
    theirs = [p.grad for p in parameters(critic)]
    assert len(grads) == len(theirs)
    for (what, ours), grad in zip(grads, theirs):
        worst.same(f"{name}: gradient of the critic's {what}", ours, grad)
    value = F.softplus(-critic(fake).flatten()).mean()
    value.backward()
    worst.same(f"{name}: the generator's loss", own["generator-loss"], value)
    grads = group(own, "generator-grad")
    theirs = [p.grad for p in parameters(generator)]
    assert len(grads) == len(theirs)
    for (what, ours), grad in zip(grads, theirs):
        worst.same(f"{name}: gradient of the generator's {what}", ours, grad)


def main(path):
    torch.set_num_threads(1)
    tensors = read(path)
    worst = Worst()
    losses(tensors, worst)
    print(f"adversarial losses: {worst.count} values and gradients, largest relative difference {worst.gap:.1e}")
    for name, make in (("mlp", mlp), ("dcgan", dcgan), ("conv", conv), ("resnet", resnet)):
        worst = Worst()
        pair(name, make, tensors, worst)
        print(f"pair {name}: {worst.count} passes and gradients, largest relative difference {worst.gap:.1e}")


main(*sys.argv[1:])
