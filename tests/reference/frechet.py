"""Compares Kiln's square root of matrices and Fréchet distance with scipy's: frechet.py PROGRAM, the example `frechet` of
kiln-metrics."""

import subprocess
import sys

import numpy as np
from scipy.linalg import sqrtm

LIMIT = 1e-6


def matrices(rng):
    """Covariances of 2 to 128 features, of full rank, with eigenvalues over eight powers of ten, and of few samples."""
    for n in [2, 3, 8, 32, 64, 128]:
        basis = np.linalg.qr(rng.normal(size=(n, n)))[0]
        yield basis @ np.diag(rng.uniform(0.5, 2.0, n)) @ basis.T
        yield basis @ np.diag(10.0 ** rng.uniform(-6, 2, n)) @ basis.T
        yield np.cov(np.maximum(rng.normal(size=(4 * n, n)), 0.0).T)


def sets(rng):
    """Pairs of sets of features such as a ReLU leaves, some of them never active."""
    for n, d in [(200, 4), (500, 32), (2000, 64), (2600, 128)]:
        mix, scale = rng.normal(size=(d, d)) / np.sqrt(d), rng.uniform(0.1, 3.0, d)
        a = np.maximum(rng.normal(size=(n, d)) @ mix * scale + 0.3, 0.0)
        b = np.maximum(rng.normal(size=(n, d)) @ mix.T * scale - 0.1, 0.0)
        yield a, b
        a[:, 0] = b[:, 0] = 0.0
        yield a, b


def frechet(a, b):
    """The definition, with the product of both covariances under scipy's root."""
    mean = ((a.mean(0) - b.mean(0)) ** 2).sum()
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    root = sqrtm(cov_a @ cov_b + 1e-14 * np.eye(len(cov_a)))
    return mean + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root).real


def text(array):
    return " ".join(repr(float(x)) for x in np.asarray(array).ravel())


def main(program):
    rng = np.random.default_rng(20200204)
    roots, pairs = list(matrices(rng)), list(sets(rng))
    lines = [line for m in roots for line in (f"root {len(m)}", text(m))]
    for a, b in pairs:
        lines += [f"distance {len(a)} {a.shape[1]}", text(a) + " " + text(b)]
    asked = "\n".join(lines) + "\n"
    answers = subprocess.run([program], input=asked, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(answers) == len(roots) + len(pairs), len(answers)
    worst = 0.0
    for matrix, answer in zip(roots, answers):
        expected = sqrtm(matrix).real
        got = np.array(answer.split(), dtype=float).reshape(expected.shape)
        gap = np.abs(got - expected).max() / np.abs(expected).max()
        assert gap < LIMIT, (len(matrix), gap)
        worst = max(worst, gap)
    print(f"square roots: {len(roots)} matrices, largest relative difference {worst:.1e}")
    worst = 0.0
    for (a, b), answer in zip(pairs, answers[len(roots):]):
        expected = frechet(a, b)
        gap = abs(float(answer) - expected) / expected
        assert gap < LIMIT, (a.shape, answer, expected)
        worst = max(worst, gap)
    print(f"Fréchet distances: {len(pairs)} pairs of sets, largest relative difference {worst:.1e}")


main(*sys.argv[1:])
