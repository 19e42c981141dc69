"""Opens what `kiln export` wrote with TensorBoard's own reader, Apache Arrow and Python's, and compares them.

    exports.py FOLDER

FOLDER holds `points.csv`, `points.jsonl`, `points.parquet` and the folder `events` of one run, exported from it.
"""

import json
import math
import sys
from pathlib import Path

import pyarrow.parquet
from tensorboard.backend.event_processing import event_accumulator


def same(a, b):
    return a == b or (math.isnan(a) and math.isnan(b))


def number(text):
    return math.nan if text is None else float(text)


def main():
    folder = Path(sys.argv[1])
    lines = [json.loads(line) for line in (folder / "points.jsonl").read_text().splitlines()]
    assert len(lines) > 20, "too few points for a test"

    table = pyarrow.parquet.read_table(folder / "points.parquet").to_pylist()
    assert len(table) == len(lines), (len(table), len(lines))
    for row, line in zip(table, lines):
        assert all(row[key] == line[key] for key in ("run", "series", "seed", "x")), (row, line)
        assert same(row["y"], number(line.get("y"))), (row, line)
        assert abs(row["time"].timestamp() - line["time"]) < 1e-5, (row, line)

    import csv

    with open(folder / "points.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines):
        assert row["series"] == line["series"] and float(row["x"]) == line["x"], (row, line)
        assert same(float(row["y"]), number(line.get("y"))), (row, line)

    (run,) = {line["run"] for line in lines}
    events = event_accumulator.EventAccumulator(str(folder / "events" / run), size_guidance={"scalars": 0})
    events.Reload()
    scalars = {}
    for line in lines:
        scalars.setdefault(line["series"], []).append(line)
    assert set(events.Tags()["scalars"]) == set(scalars), events.Tags()["scalars"]
    whole = all(line["x"] == int(line["x"]) for line in lines)
    for series, points in scalars.items():
        read = events.Scalars(series)
        assert len(read) == len(points), (series, len(read), len(points))
        for event, point in zip(read, points):
            assert event.step == round(point["x"] * (1 if whole else 1000)), (series, event, point)
            y = number(point.get("y"))
            assert same(event.value, y) or abs(event.value - y) <= 1e-6 * abs(y), (series, event, point)
            assert abs(event.wall_time - point["time"]) < 1e-3, (series, event, point)
    texts = events.Tags()["tensors"]
    assert "settings" in texts, texts
    settings = events.Tensors("settings")[0].tensor_proto.string_val[0].decode()
    assert "seed" in settings and events.SummaryMetadata("settings").plugin_data.plugin_name == "text"
    pictures = events.Tags()["images"]
    print(
        f"exports: {len(lines)} points of {len(scalars)} series are the same in CSV, JSON lines, Parquet and TensorBoard; "
        f"{len(pictures)} pictures"
    )


main()
