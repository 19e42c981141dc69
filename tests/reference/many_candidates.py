"""Many small candidates on the CPU: Kiln against PyTorch, interleaved in one run, medians.

    python many_candidates.py BENCH [--rounds 5] [--seconds 3] [--net NAME]

BENCH is the executable of `cargo bench -p kiln-nn --bench many_candidates`; its head describes the networks and the
protocol, which are repeated here independently. Two opponents, both with the same networks, data, dtype and cores:

usual   one candidate after the other; DataLoader over a TensorDataset, images normalised by the data set; default threads;
        torch.optim.SGD; the loss is read with .item() each step; default memory layout.
best    two processes at once, each trains half of the candidates one after the other on one thread; images resident as
        u8, batches by index_select, normalised in the step; foreach optimiser; the loss is never read; the layout that
        is the faster one for PyTorch in a trial; glibc's allocator told to keep its memory, as Kiln does.

All rates are the steps of all candidates over the wall time, after ten steps of warm-up each; starts of processes are not
counted. Parameters and multiply-accumulates of an image must agree, or nothing is measured. Prints one line a network, and
JSON at the end.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time

NETS = ["tiny-cnn", "mlp", "dense-cnn", "dense-cnn-bf16", "mobile"]
LAYOUTS = ["contiguous", "channels-last"]
CANDIDATES, BATCH, IMAGES = 4, 64, 6000
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),  # glibc refuses more
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


def network(name):
    from torch import nn

    def conv(i, o, k, s, groups=1, act=True):
        layers = [nn.Conv2d(i, o, k, s, k // 2, groups=groups, bias=False), nn.BatchNorm2d(o)]
        return layers + ([nn.ReLU()] if act else [])

    class Inverted(nn.Module):
        def __init__(self, i, o, k, s):
            super().__init__()
            wide = 4 * i
            self.body = nn.Sequential(
                *conv(i, wide, 1, 1), *conv(wide, wide, k, s, groups=wide), *conv(wide, o, 1, 1, act=False)
            )
            self.shortcut = s == 1 and i == o

        def forward(self, x):
            y = self.body(x)
            return y + x if self.shortcut else y

    if name == "tiny-cnn":
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(784, 10)
        )
    if name == "mlp":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
        )
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if name.startswith("dense-cnn"):
        body = [conv(*c) for c in [(1, 32, 3, 1), (32, 64, 3, 2), (64, 64, 3, 1), (64, 128, 3, 2), (128, 128, 3, 1)]]
        return nn.Sequential(*sum(body, []), *head, nn.Linear(128, 10))
    body = [Inverted(*b) for b in [(16, 16, 3, 1), (16, 24, 3, 2), (24, 24, 3, 1), (24, 40, 5, 2), (40, 40, 5, 1)]]
    return nn.Sequential(*conv(1, 16, 3, 2), *body, *conv(40, 160, 1, 1), *head, nn.Linear(160, 10))


def size(name):
    """Parameters, and multiply-accumulates of one image, counted from what a pass does."""
    import torch
    from torch import nn

    net, macs = network(name).eval(), []

    def count(layer, _, out):
        # Every number that comes out of a convolution or a linear layer took one product a weight of its filter or row.
        macs.append(out.numel() * layer.weight[0].numel())

    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
    with torch.no_grad():
        net(torch.zeros(1, 1, 28, 28))
    return {"parameters": sum(p.numel() for p in net.parameters()), "macs": sum(macs)}


def precision(name):
    import torch

    return torch.autocast("cpu", torch.bfloat16) if name.endswith("-bf16") else contextlib.nullcontext()


def data():
    import torch

    images = torch.randint(0, 256, (IMAGES, 1, 28, 28), dtype=torch.uint8)
    return images, torch.randint(0, 10, (IMAGES,))


def usual(name, steps):
    """Seconds that all candidates take for `steps` steps each, one after the other."""
    import torch
    import torch.nn.functional as F
    from torch.utils.data import DataLoader, TensorDataset

    images, labels = data()
    loader = DataLoader(TensorDataset((images.float() / 255 - 0.5) / 0.29, labels), BATCH, shuffle=True, drop_last=True)
    seconds = 0.0
    for _ in range(CANDIDATES):
        net = network(name)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        done, total = -10, 0.0
        while done < steps:
            for x, y in loader:
                if done == 0:
                    began = time.perf_counter()
                optimizer.zero_grad()
                with precision(name):
                    loss = F.cross_entropy(net(x), y)
                loss.backward()
                optimizer.step()
                total += loss.item()
                done += 1
                if done == steps:
                    break
        seconds += time.perf_counter() - began
    return seconds


def best(name, steps, layout):
    """Trains half of the candidates for `steps` steps each, when told to; prints when it began and ended."""
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(1)
    images, labels = data()
    wide = layout == "channels-last"

    def channels_last(t):
        """Strides of channels-last also where there is one channel, which .to(memory_format=...) leaves as it is."""
        if t.dim() != 4:
            return t
        n, c, h, w = t.shape
        return torch.empty_strided(t.shape, (c * h * w, 1, w * c, c)).copy_(t)

    def stepper():
        net = network(name)
        if wide:
            for p in net.parameters():
                p.data = channels_last(p.data)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, foreach=True)
        while True:
            order = torch.randperm(IMAGES)
            for at in range(0, IMAGES - BATCH + 1, BATCH):
                index = order[at : at + BATCH]
                x = images.index_select(0, index).float().sub_(127.5).div_(74.0)
                if wide:
                    x = channels_last(x)
                optimizer.zero_grad(set_to_none=True)
                with precision(name):
                    loss = F.cross_entropy(net(x), labels.index_select(0, index))
                loss.backward()
                optimizer.step()
                yield

    candidates = [stepper() for _ in range(CANDIDATES // 2)]
    for candidate in candidates:
        for _ in range(10):
            next(candidate)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.time()
    for candidate in candidates:
        for _ in range(steps):
            next(candidate)
    print(json.dumps([began, time.time()]), flush=True)


def measure_usual(name, steps):
    out = subprocess.run([sys.executable, __file__, "--usual", name, str(steps)], check=True, stdout=subprocess.PIPE)
    return CANDIDATES * steps / float(out.stdout)


def measure_best(name, steps, layout):
    command = [sys.executable, __file__, "--best", name, str(steps), layout]
    environment = {**os.environ, **KEEP_MEMORY, "OMP_NUM_THREADS": "1"}
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, env=environment, **pipe) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    times = [json.loads(process.stdout.readline()) for process in both]
    for process in both:
        process.wait()
    return CANDIDATES * steps / (max(t[1] for t in times) - min(t[0] for t in times))


def measure_kiln(bench, name, seconds):
    command = [bench, "--net", name, "--rounds", "1", "--seconds", str(seconds)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    line, counted = json.loads(out), size(name)
    if any(line[what] != counted[what] for what in counted):
        sys.exit(f"{name}: the two sides train different networks: Kiln counts {line}, PyTorch {counted}")
    return line


def fastest_layout(name, steps):
    """The layout with which PyTorch does more steps a second; the faster of two trials each."""
    if name == "mlp":
        return LAYOUTS[0]
    return max(LAYOUTS, key=lambda layout: max(measure_best(name, steps, layout) for _ in range(2)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--net", choices=NETS)
    parser.add_argument("--usual", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--best", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.usual:
        return print(usual(options.usual[0], int(options.usual[1])))
    if options.best:
        return best(options.best[0], int(options.best[1]), options.best[2])
    if not options.bench:
        parser.error("name the executable of the bench")

    import torch

    cores = len(os.sched_getaffinity(0))
    print(f"{CANDIDATES} candidates, batch {BATCH}, {cores} cores, torch {torch.__version__}, {options.rounds} rounds, medians")
    print(f"{'network':<14} {'Kiln':>9} {'usual':>9} {'best':>9}  steps/s of all   Kiln/usual  Kiln/best   layouts: Kiln's, best's")
    table = []
    for name in [options.net] if options.net else NETS:
        rates, layout = {"kiln": [], "usual": [], "best": []}, None
        for _ in range(options.rounds):
            line = measure_kiln(options.bench, name, options.seconds)
            steps = max(20, line["steps"] // CANDIDATES // 2)
            layout = layout or fastest_layout(name, steps)
            rates["kiln"].append(line["steps_per_second"])
            rates["usual"].append(measure_usual(name, steps))
            rates["best"].append(measure_best(name, steps, layout))
        row = {side: statistics.median(values) for side, values in rates.items()}
        # Ratios pair by pair: the speed of a shared machine drifts between rounds.
        for side in ("usual", "best"):
            row[f"over_{side}"] = statistics.median(k / p for k, p in zip(rates["kiln"], rates[side]))
        layouts = f"{line['layout']}, {layout}"
        print(
            f"{name:<14} {row['kiln']:>9.1f} {row['usual']:>9.1f} {row['best']:>9.1f} {'':>16}"
            f" {row['over_usual']:>9.2f}x {row['over_best']:>9.2f}x   {layouts}",
            flush=True,
        )
        table.append({"network": name, "layouts": layouts, **row, "rates": rates})
    print(json.dumps(table))


if __name__ == "__main__":
    main()
