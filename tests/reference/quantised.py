"""Does in PyTorch, from the equations, what src/nn/examples/quantised.rs did in Rust: estimators of few bits, projections and a
whole binary network, values and gradients. Exit status 1 where one differs by more than 1e-5 of the largest number."""

import sys

import torch
import torch.nn.functional as F

from compare import read

TOLERANCE = 1e-5
REACH = {1: 1.0, 2: 1.872, 4: 3.151}


class Sign(torch.autograd.Function):
    """The sign, never 0; backward the slope of the surrogate."""

    @staticmethod
    def forward(ctx, x, quadratic):
        ctx.save_for_backward(x)
        ctx.quadratic = quadratic
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        inside = (x.abs() <= 1).to(x.dtype)
        slope = inside * (2 - 2 * x.abs()) if ctx.quadratic else inside
        return grad * slope, None


class Levels(torch.autograd.Function):
    """round(top clip(x, 0, 1)) / top; backward 1 inside."""

    @staticmethod
    def forward(ctx, x, top):
        ctx.save_for_backward(x)
        return torch.round(x.clamp(0, 1) * top) / top

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * ((x >= 0) & (x <= 1)).to(x.dtype), None


class Weights(torch.autograd.Function):
    """Each channel's scale times its levels; backward that of clip(w, -1, 1)."""

    @staticmethod
    def forward(ctx, w, bits):
        ctx.save_for_backward(w)
        mean = w.abs().mean(dim=tuple(range(1, w.dim())), keepdim=True)
        if bits == 1:
            return mean * torch.where(w >= 0, 1.0, -1.0)
        top, reach = 2**bits - 1, REACH[bits] * mean
        step = torch.round((torch.clamp(w / reach, -1, 1) + 1) * top / 2)
        return reach * (2 * step - top) / top

    @staticmethod
    def backward(ctx, grad):
        (w,) = ctx.saved_tensors
        return grad * (w.abs() <= 1).to(w.dtype), None


def features(x, bits, quadratic):
    return Sign.apply(x, quadratic) if bits == 1 else Levels.apply(x, 2**bits - 1)


def relations(x):
    rows = x.flatten(1)
    rows = rows - rows.mean(0, keepdim=True)
    rows = rows / (rows.pow(2).sum(1, keepdim=True) + 1e-12).sqrt()
    return rows @ rows.T


def relational(teacher, student):
    return (relations(teacher) - relations(student)).pow(2).sum() / len(teacher) ** 2


def explicit(projection, teacher, student):
    projected = torch.einsum("cd,nchw->ndhw", projection, teacher)
    return F.mse_loss(projected, student)


def divergence(teacher, student, t):
    soft = F.log_softmax(student / t, 1)
    return t * t * F.kl_div(soft, F.log_softmax(teacher / t, 1), reduction="batchmean", log_target=True)


def network(images, parameters, importances, bits, pad):
    """Two stages of two Bi-Real convolutions; importances behind every sign, and where the stream itself is read."""

    def norm(x, name):
        return F.batch_norm(x, None, None, parameters[f"{name}.norm.weight"], parameters[f"{name}.norm.bias"], training=True)

    def scale(x, group):
        return x * importances[group].view(1, -1, 1, 1)

    seen = []
    x = norm(F.conv2d(images, parameters["first.weight"], padding=1), "first")
    for name, source, stride in [("stage1.1", 0, 1), ("stage1.2", 0, 1), ("stage2.1", 0, 2), ("stage2.2", 1, 1)]:
        levels = features(x, bits, True)
        seen.append(scale(levels, source))
        padded = scale(F.pad(levels, (1, 1, 1, 1), value=pad), source)
        y = norm(F.conv2d(padded, Weights.apply(parameters[f"{name}.weight"], bits), stride=stride), name)
        if stride == 2:
            pooled = F.avg_pool2d(scale(x, source), 2)
            x = y + norm(F.conv2d(pooled, parameters[f"{name}.shortcut.weight"]), f"{name}.shortcut")
        else:
            x = y + x
    seen.append(scale(features(x, bits, True), 1))
    pooled = scale(x, 1).mean((2, 3))
    return F.linear(pooled, parameters["classifier.weight"], parameters["classifier.bias"]), seen


class Report:
    def __init__(self):
        self.failed = self.compared = 0
        self.worst = 0.0

    def close(self, what, ours, theirs):
        assert ours.shape == theirs.shape, (what, ours.shape, theirs.shape)
        gap = float((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-12))
        self.compared += 1
        self.worst = max(self.worst, gap)
        if not gap <= TOLERANCE:
            self.failed += 1
            print(f"FAIL  {what}: apart by {gap:.1e} of the largest number")


def functions(tensors, report):
    names = sorted({name.split("/")[0] for name in tensors})
    for name in names:
        kind, *words = name.split(" ")
        number = int(words[0].split("=")[1]) if words and "=" in words[0] else 0
        f = {
            "features": lambda x, n=number, w=words: features(x, n, w[-1] == "quadratic"),
            "weights": lambda x, n=number: Weights.apply(x, n),
            "relational": relational,
            "explicit": explicit,
            "divergence": lambda a, b, n=number: divergence(a, b, float(n)),
        }.get(kind)
        if f is None:
            continue
        leaves = []
        while f"{name}/x{len(leaves)}" in tensors:
            leaves.append(tensors[f"{name}/x{len(leaves)}"].clone().requires_grad_())
        value = f(*leaves)
        (value * tensors[f"{name}/weights"]).sum().backward()
        report.close(f"{name}: value", tensors[f"{name}/value"], value.detach())
        for i, leaf in enumerate(leaves):
            report.close(f"{name}: gradient {i}", tensors[f"{name}/grad{i}"], leaf.grad)


def networks(tensors, report):
    cases = {"binary": (1, -1.0), "binary-plus": (1, 1.0), "two": (2, 0.0)}
    for case, (bits, pad) in cases.items():
        own = {k.split("/", 1)[1]: v for k, v in tensors.items() if k.startswith(f"network {case}/")}

        def leaves(prefix):
            return {k[len(prefix) :]: v.clone().requires_grad_() for k, v in own.items() if k.startswith(prefix)}

        parameters, importances = leaves("parameter/"), leaves("importance/")
        logits, seen = network(own["images"], parameters, [importances["0"], importances["1"]], bits, pad)
        (logits * own["weights"]).sum().backward()
        report.close(f"network {case}: logits", own["logits"], logits.detach())
        for i, feature in enumerate(seen):
            report.close(f"network {case}: feature {i}", own[f"feature/{i}"], feature.detach())
        for name, parameter in parameters.items():
            report.close(f"network {case}: gradient of {name}", own[f"gradient/{name}"], parameter.grad)
        for group, s in importances.items():
            report.close(f"network {case}: gradient of importance {group}", own[f"importance-grad/{group}"], s.grad)


def main():
    torch.set_num_threads(1)
    tensors = read(sys.argv[1])
    report = Report()
    functions(tensors, report)
    networks(tensors, report)
    shrunk = (tensors["proximal/x0"] - 0.3).clamp_min(0)
    report.close("proximal step", tensors["proximal/value"], shrunk / shrunk.pow(2).mean().sqrt())
    assert report.compared > 60, report.compared
    said = f"{report.failed} comparisons failed" if report.failed else f"the same to {report.worst:.0e} of the largest number"
    print(f"quantised: {report.compared} values and gradients, {said}")
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
