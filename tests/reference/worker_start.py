"""How long it takes from the start of a process to its first training step, and how much memory: `kiln-worker` against a
plain PyTorch script that trains a network of the same size on the same file; medians, in turn.

    python worker_start.py WORKER [--rounds 11]

WORKER is the release build of `kiln-worker`. It is given the run folder of a training that is one step long, and its time
ends when `events.jsonl` tells the loss of that step; the script's ends when it has read its first loss. Memory is the
largest resident set until the process ends, as the kernel counted it.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIGITS = ROOT / "assets" / "digits"
SPEC = """\
method = "train"
seed = 1
[data]
set = "digits"
path = "{path}"
train = 32
valid = 1
test = 1
[space]
name = "digits-mlp"
[optim]
lr = 0.02
batch = 32
[run]
device = "cpu"
[train]
arch = "fast-2-64"
epochs = 1
"""


def script():
    """What somebody writes who wants to train a small network on the digits."""
    import csv
    import gzip

    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    with gzip.open(next(DIGITS.glob("*.csv.gz")), "rt") as file:
        rows = [[float(v) for v in row] for row in csv.reader(file)]
    table = torch.tensor(rows[:32])
    images, labels = table[:, :64] / 16, table[:, 64].long()

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.LayerNorm(64, elementwise_affine=False), nn.Linear(64, 64), nn.ReLU())

        def forward(self, x):
            return x + self.body(x)

    net = nn.Sequential(nn.Linear(64, 64), Residual(), Residual(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    for x, y in DataLoader(TensorDataset(images, labels), 32, shuffle=True):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        print(loss.item(), flush=True)


def until(told, command, **how):
    """Seconds until `told` says so, and MiB at most, of a process that must end well."""
    began = time.perf_counter()
    process = subprocess.Popen(command, **how)
    while not told(process):
        # Looks without taking the status away: the kernel's figures come with it.
        over = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        if over and not told(process):
            sys.exit(f"{command[0]} ended without a step (status {process.wait()})")
        time.sleep(0.0005)
    seconds = time.perf_counter() - began
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[0]} failed (status {process.returncode})")
    return seconds, usage.ru_maxrss / 1024


def worker(program):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "spec.toml").write_text(SPEC.format(path=DIGITS))
        events = folder / "events.jsonl"

        def told(_):
            if not events.exists():
                return False
            lines = (line for line in events.read_text().splitlines(keepends=True) if line.endswith("\n"))
            return any(json.loads(line).get("series") == "train/loss" for line in lines)

        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return until(told, [program, folder], cwd=folder, **quiet)


def python():
    read = lambda process: bool(process.stdout.readline())
    return until(read, [sys.executable, __file__, "--script"], stdout=subprocess.PIPE)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("worker", nargs="?")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--script", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.script:
        return script()
    if not options.worker:
        parser.error("name the executable of kiln-worker")
    program = os.path.abspath(options.worker)
    worker(program), python()  # warm
    rounds = [(worker(program), python()) for _ in range(options.rounds)]
    for side, name in enumerate(["kiln-worker", "PyTorch script"]):
        seconds = statistics.median(r[side][0] for r in rounds)
        memory = statistics.median(r[side][1] for r in rounds)
        print(f"{name:<15} {seconds:6.2f} s to the first step   {memory:5.0f} MiB")


if __name__ == "__main__":
    main()
