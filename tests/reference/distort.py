"""Distorts the activations that src/nn/examples/distort.rs wrote, by code written from the equations alone, and compares values and
gradients. Exit status 1 on a difference.

Equations: DropBlock, arXiv:1810.12890 (1); Disout, arXiv:2002.11022, in the simplified form of its authors' code.
"""

import pathlib
import sys

import torch

from compare import read

# Largest difference, as a share of the largest number: sums in another order.
TOLERANCE = 1e-5


def keep_of(kind, uniform, p, block):
    """Which entries are kept (bool), entry by entry: one is lost if a centre lies in the window around it."""
    if uniform.dim() == 2 or block == 1 or kind in ("dropout", "spatial-dropout"):
        return uniform >= p
    height, width = uniform.shape[2:]
    gamma = p * height * width / block**2 / ((height - block + 1) * (width - block + 1))
    keep = torch.ones_like(uniform, dtype=torch.bool)
    low, high = block // 2, (block - 1) // 2
    for image, channel, row, column in (uniform < gamma).nonzero().tolist():
        if not (low <= row < height - high and low <= column < width - high):
            continue
        if block == height == width:
            keep[image, channel] = False
            continue
        # The window of the entry i is i - b/2 .. i - b/2 + b - 1, so a centre s is seen by s + b/2 - b + 1 .. s + b/2.
        rows = slice(max(row + low - block + 1, 0), row + low + 1)
        columns = slice(max(column + low - block + 1, 0), column + low + 1)
        keep[image, channel, rows, columns] = False
    return keep


def largest(weight, groups):
    """Largest weight with which each input is read, at each place of the kernel."""
    outputs, each = weight.shape[0] // groups, weight.shape[1]
    rows = []
    for group in range(groups):
        own = weight[group * outputs : (group + 1) * outputs]
        rows.append((own.abs() if groups > 1 and each == 1 else own).max(dim=0).values)
    return torch.cat(rows)


def distorted(kind, t, p, block, alpha, clamp, groups):
    x = t["x"].clone().requires_grad_(True)
    keep = keep_of(kind, t["uniform"], p, block).expand_as(x).float()
    if kind == "erc":
        return x, x + (1 - keep) * erc(x.detach(), t, alpha, clamp, groups)
    noise = torch.zeros_like(x)
    if kind in ("disout", "isotropic"):
        channels = x.shape[1]
        if "weight" in t:
            signed = largest(t["weight"], groups).reshape(channels, -1) * (2 * t["coins"].reshape(channels, -1) - 1)
            c = signed.mean(dim=1)
            if t["weight"].dim() == 4 and t["weight"].shape[2:].numel() == 1:
                c = 0.1 * c
        else:
            c = torch.full((channels,), 0.01)
        if kind == "isotropic":
            c = c.pow(2).mean().sqrt().expand(channels)
        strength = (alpha * c).clamp(-1, 1) if clamp else alpha * c
        noise = strength.reshape([1, -1] + [1] * (x.dim() - 2)) * x.detach().std() * t["z"]
    return x, (x * keep + noise * (1 - keep)) / keep.mean()


def erc(x, t, alpha, clamp, groups):
    """A step down the gradient of 1/n max_k |sum_i sigma_i <K[k], f_i>| by each image's features."""
    features = x.mean(dim=(2, 3)) if x.dim() == 4 else x
    weight = t["weight"]
    kernel = weight.mean(dim=(2, 3)) if weight.dim() == 4 else weight
    sigma = 2 * t["coins"] - 1
    free = features.clone().requires_grad_(True)
    outputs = torch.nn.functional.conv1d(free.unsqueeze(2), kernel.unsqueeze(2), groups=groups).squeeze(2)
    (sigma * outputs).sum(dim=0).abs().max().backward()
    # The gradient of image i is v sigma_i K[k*].
    step = alpha * free.grad
    step = -(step.clamp(-1, 1) if clamp else step)
    return step.reshape(list(step.shape) + [1] * (x.dim() - 2))


def gap(a, b):
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-30))


def main():
    tensors = read(pathlib.Path(sys.argv[1]) / "distort.safetensors")
    cases = sorted({name.rsplit("/", 1)[0] for name in tensors}, key=lambda name: int(name.split("n=")[1].split()[0]))
    assert len(cases) >= 15, "cases are missing"
    wrong = 0
    for case in cases:
        t = {name.rsplit("/", 1)[1]: tensor for name, tensor in tensors.items() if name.rsplit("/", 1)[0] == case}
        kind, *settings = case.split()
        own = {key: float(value) for key, value in (setting.split("=") for setting in settings)}
        x, y = distorted(kind, t, own["p"], int(own["b"]), own["alpha"], own["clamp"] > 0, int(own["groups"]))
        y.backward(t["dy"])
        gaps = gap(y.detach(), t["y"]), gap(x.grad, t["gradient"])
        wrong += max(gaps) > TOLERANCE
        print(f"{case}: values differ by at most {gaps[0]:.1e}, gradients by {gaps[1]:.1e}")
    print(f"torch {torch.__version__}: {wrong} of {len(cases)} cases differ by more than {TOLERANCE:.0e}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
