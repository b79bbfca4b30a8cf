#!/usr/bin/env python3
"""The table of run.sh: summary.py FOLDER CONFIG.json.

FOLDER holds moebius' runs (<name>/metrics.jsonl, <name>/seconds_to_first_step) and transformers.jsonl. A row is the median of the
iterations behind the first three; a ratio is against transformers at the same tokens a step.
"""

import json
import pathlib
import statistics
import sys

from flops import flops_a_token

LENGTH = 4096
SKIPPED = 3
COLUMNS = ("", "tokens a step", "ms a step", "tokens/s", "model TFLOP/s", "ratio", "peak GB", "to first step, s")


def rows_of(file):
    return [json.loads(line) for line in file.read_text().splitlines() if line.strip()] if file.exists() else []


def moebius_run(folder):
    rows = rows_of(folder / "metrics.jsonl")
    measured = rows[SKIPPED:]
    if not measured:
        return None
    seconds = statistics.median(row["seconds"] for row in measured)
    tokens = round(rows[-1]["tokens_per_second"] * rows[-1]["seconds"])
    first = folder / "seconds_to_first_step"
    phases = {key: statistics.median(row[key] for row in measured) for key in rows[-1] if key.startswith("seconds_")}
    return {
        "name": folder.name,
        "tokens": tokens,
        "seconds": seconds,
        "peak": rows[-1].get("peak_memory_bytes"),
        "first": float(first.read_text()) if first.exists() and first.read_text().strip() else None,
        "phases": phases,
    }


def peer_run(row):
    return {
        "name": f"transformers, compile {row['compile']}, {row['attention']}",
        "tokens": row["tokens_a_step"],
        "seconds": row["ms_a_step"] / 1000,
        "peak": row["peak_memory_bytes"],
        "first": row["seconds_to_first_step"],
    }


def cells(run, flops, peers):
    speed = run["tokens"] / run["seconds"]
    peer = peers.get(run["tokens"])
    return (
        run["name"],
        f"{run['tokens']}",
        f"{1000 * run['seconds']:.1f}",
        f"{speed:.0f}",
        f"{speed * flops / 1e12:.1f}",
        f"{speed / peer:.3f}" if peer else "",
        f"{run['peak'] / 1e9:.1f}" if run["peak"] else "",
        f"{run['first']:.1f}" if run["first"] else "",
    )


def print_table(lines):
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    for line in lines:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |")
        if line is COLUMNS:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def main():
    folder, config = pathlib.Path(sys.argv[1]), sys.argv[2]
    peer_rows = rows_of(folder / "transformers.jsonl")
    ours = [run for child in sorted(folder.iterdir()) if child.is_dir() and (run := moebius_run(child))]
    theirs = [peer_run(row) for row in peer_rows]
    peers = {run["tokens"]: max(p["tokens"] / p["seconds"] for p in theirs if p["tokens"] == run["tokens"]) for run in theirs}
    flops = flops_a_token(config, LENGTH)
    print_table([COLUMNS] + [cells(run, flops, peers) for run in ours + theirs])
    for run in ours:
        parts = ", ".join(f"{key[8:]} {1000 * value:.2f}" for key, value in run["phases"].items())
        print(f"{run['name']}, ms a phase: {parts}")
    if peer_rows:
        row = peer_rows[-1]
        print(f"{row['device']}; torch {row['torch']}, transformers {row['transformers']}; {flops / 1e9:.3f} GFLOP a token")


if __name__ == "__main__":
    main()
