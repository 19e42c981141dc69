#!/usr/bin/env python3
"""Makes nas-bench-201.csv.gz from a table with one line a cell and one column a run.

    python3 assets/cells/compact.py TABLE.csv.gz assets/cells/nas-bench-201.csv.gz

Columns that are read: arch, params_c10, train_time_s_200_c10, and c10_, c100_ and in16_val_200_run1 to run3, where an
empty field is a run that nobody has made. Accuracies are means over the runs, in percent.
"""

import csv
import gzip
import io
import sys

SHORT = {"none": "none", "skip_connect": "skip", "nor_conv_1x1": "c1", "nor_conv_3x3": "c3", "avg_pool_3x3": "ap"}


def genes(arch):
    edges = [edge for node in arch.split("+") for edge in node.strip("|").split("|")]
    return "-".join(SHORT[edge.split("~")[0]] for edge in edges)


def mean(row, data):
    runs = [row[f"{data}_val_200_run{i}"] for i in (1, 2, 3)]
    runs = [float(run) for run in runs if run]
    return f"{sum(runs) / len(runs):.3f}"


def main(source, target):
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["arch", "accuracy", "cifar100", "imagenet16", "params", "seconds"])
    with gzip.open(source, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            accuracies = [mean(row, data) for data in ("c10", "c100", "in16")]
            seconds = f"{float(row['train_time_s_200_c10']):.0f}"
            writer.writerow([genes(row["arch"]), *accuracies, row["params_c10"], seconds])
    with open(target, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(out.getvalue().encode())


main(*sys.argv[1:])
