"""Does in PyTorch what src/torch/examples/reference.rs did in Rust, and compares bit for bit. Exit status 1 on a difference."""

import json
import sys

import torch

DTYPES = {"F32": torch.float32, "I64": torch.int64, "U8": torch.uint8}


def read(path):
    """All tensors of a safetensors file, by name."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        data = bytearray(file.read())
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        flat = torch.frombuffer(data[begin:end], dtype=DTYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"]).clone()
    return tensors


def group(tensors, prefix):
    """The tensors `prefix/0`, `prefix/1`, ..."""
    out = []
    while f"{prefix}/{len(out)}" in tensors:
        out.append(tensors[f"{prefix}/{len(out)}"])
    assert out, f"no tensor called {prefix}/0 in the file"
    return out


def differences(ours, theirs):
    """How many elements differ in any bit, of how many, and by how many units in the last place at most."""
    different = total = worst = 0
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype, (a.shape, b.shape, a.dtype, b.dtype)
        if a.dtype == torch.float32:
            a, b = (ordered(t) for t in (a, b))
        gap = (a.to(torch.int64) - b.to(torch.int64)).abs()
        different += int((gap > 0).sum())
        total += gap.numel()
        worst = max(worst, int(gap.max()))
    return different, total, worst


def ordered(t):
    """The bits of floats as integers that count representable numbers."""
    bits = t.detach().contiguous().view(torch.int32).to(torch.int64)
    return torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


class Report:
    def __init__(self):
        self.failed = 0

    def same(self, what, ours, theirs):
        different, total, worst = differences(ours, theirs)
        if different:
            self.failed += 1
            print(f"FAIL  {what}: {different} of {total} differ, by up to {worst} ulp")
        else:
            print(f"same  {what} ({total} numbers)")

    def note(self, what, ours, theirs):
        different, total, worst = differences(ours, theirs)
        print(f"note  {what}: {different} of {total} differ, by up to {worst} ulp")


def streams(tensors, report):
    seeds = sorted({name.split("/")[1] for name in tensors if name.startswith("stream/")}, key=int)
    assert seeds
    for seed in seeds:
        g = torch.Generator().manual_seed(int(seed))
        draws = {
            "randn": torch.randn(1001, generator=g),
            "normal": torch.empty(1001).normal_(-2.0, 0.5, generator=g),
            "uniform": torch.empty(1001).uniform_(-1.0, 2.0, generator=g),
            "bernoulli": torch.empty(1001).bernoulli_(0.3, generator=g),
            "randperm": torch.randperm(5000, generator=g),
            "randint": torch.randint(9, (4, 25), generator=g),
            "state": g.get_state(),
        }
        for name, theirs in draws.items():
            report.same(f"generator {seed}: {name}", [tensors[f"stream/{seed}/{name}"]], [theirs])


def train(make, start, grads):
    """The parameters after a step of this optimiser for each of these gradients."""
    params = [torch.nn.Parameter(t.clone()) for t in start]
    optimizer = make(params)
    for step in grads:
        for param, grad in zip(params, step, strict=True):
            param.grad = grad.clone()
        optimizer.step()
    return params


def optimisers(tensors, report):
    start = group(tensors, "start")
    grads = []
    while f"grad/{len(grads)}/0" in tensors:
        grads.append(group(tensors, f"grad/{len(grads)}"))

    cases = sorted({tuple(name.split("/")[:2]) for name in tensors if name.startswith(("sgd ", "adamw "))})
    assert len(cases) == 16, cases
    for case, variant in cases:
        kind, *settings = case.split(" ")
        settings = {key: float(value) for key, value in (setting.split("=") for setting in settings)}
        if kind == "sgd":
            settings["nesterov"] = bool(settings["nesterov"])
            optimizer = torch.optim.SGD
        else:
            settings["betas"] = (settings.pop("beta1"), settings.pop("beta2"))
            optimizer = torch.optim.AdamW

        def run(**how):
            return train(lambda params: optimizer(params, **settings, **how), start, grads)

        ours = group(tensors, f"{case}/{variant}")
        report.same(f"{case}: {variant}", ours, run(**{variant: True}))
        plain = run(foreach=False)
        if (kind, variant) == ("sgd", "foreach"):
            report.same(f"{case}: foreach against plain torch", ours, plain)
        else:
            report.note(f"{case}: {variant} against plain torch", ours, plain)


def clipping(tensors, report):
    cases = sorted({name.split("/")[0] for name in tensors if name.startswith("clip ")})
    assert cases
    for case in cases:
        params = [torch.nn.Parameter(t.clone()) for t in group(tensors, "start")]
        for param, grad in zip(params, group(tensors, "grad/0"), strict=True):
            param.grad = grad.clone()
        norm = torch.nn.utils.clip_grad_norm_(params, float(case.split("=")[1]), foreach=True)
        report.same(f"{case}: norm", [tensors[f"{case}/norm"]], [norm])
        report.same(f"{case}: gradients", group(tensors, f"{case}/grad"), [param.grad for param in params])


def main():
    torch.set_num_threads(1)
    tensors = read(sys.argv[1])
    report = Report()
    streams(tensors, report)
    optimisers(tensors, report)
    clipping(tensors, report)
    print(f"torch {torch.__version__} on {torch.backends.cpu.get_cpu_capability()}:", end=" ")
    print(f"{report.failed} comparisons failed" if report.failed else "everything is the same, bit for bit")
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
