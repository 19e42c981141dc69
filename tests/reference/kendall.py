"""Compares Kiln's Kendall tau-b with scipy's on random data with ties: kendall.py PROGRAM, the example `tau` of kiln-metrics."""

import subprocess
import sys

import numpy as np
from scipy.stats import kendalltau

LIMIT = 1e-12


def data():
    """Sizes from 2 to 4,000; none, few and nearly only ties, in one variable or both; correlated and not."""
    rng = np.random.default_rng(20200514)
    for n in [2, 3, 5, 10, 33, 100, 500, 3000, 4000]:
        for levels in [None, 2, 5, 50, 1000]:
            for share in [0.0, 0.3, 0.95]:
                x = rng.normal(size=n)
                y = share * x + (1 - share) * rng.normal(size=n)
                if levels is not None:
                    x = np.round(x * levels / 4) / 7
                    if levels != 50:
                        y = np.round(y * levels / 4) / 3
                yield x, y


def main(program):
    sets = list(data())
    text = "\n\n".join("\n".join(f"{a!r},{b!r}" for a, b in zip(x.tolist(), y.tolist())) for x, y in sets)
    answers = subprocess.run([program], input=text, capture_output=True, text=True, check=True).stdout.split()
    assert len(answers) == len(sets), (len(answers), len(sets))
    worst, undefined = 0.0, 0
    for (x, y), answer in zip(sets, answers):
        expected = kendalltau(x, y, variant="b").statistic
        if np.isnan(expected):
            assert answer == "none", (x, y, answer)
            undefined += 1
            continue
        difference = abs(float(answer) - expected)
        assert difference < LIMIT, (len(x), answer, expected)
        worst = max(worst, difference)
    print(f"Kendall tau-b: {len(sets)} data sets ({undefined} undefined in both), largest difference {worst:.1e}")


main(*sys.argv[1:])
