#!/usr/bin/env python3
"""Makes this subset of Fashion-MNIST: of each class, the first 500 training and the first 100 test images.

    subset.py FOLDER_WITH_THE_FOUR_OFFICIAL_FILES FOLDER_TO_WRITE_TO

The images keep their official order. Python 3 and its standard library.
"""

import gzip
import sys
from pathlib import Path

PIXELS = 28 * 28


def first_of_each_class(labels, count):
    seen, rows = [0] * 10, []
    for row, label in enumerate(labels):
        if seen[label] < count:
            seen[label] += 1
            rows.append(row)
    return rows


def write(path, sizes, values):
    header = bytes([0, 0, 8, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes)
    # Without a time and a name in it, the same bytes come out on every day.
    with open(path, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(header + values)


def main(source, target):
    for prefix, count in (("train", 500), ("t10k", 100)):
        images_name, labels_name = f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz"
        images = gzip.open(source / images_name).read()[16:]
        labels = gzip.open(source / labels_name).read()[8:]
        rows = first_of_each_class(labels, count)
        write(target / images_name, [len(rows), 28, 28], b"".join(images[r * PIXELS : (r + 1) * PIXELS] for r in rows))
        write(target / labels_name, [len(rows)], bytes(labels[r] for r in rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
