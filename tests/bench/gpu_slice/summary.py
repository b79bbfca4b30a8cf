#!/usr/bin/env python3
"""The table of run.sh: summary.py FOLDER CONFIG.json.

FOLDER holds moebius' runs (<name>/metrics.jsonl, speed.txt, seconds_to_first_step) and transformers-<recipe>.jsonl. A row is the median of
the iterations from the fourth on; a ratio is of tokens/s, against transformers at the same tokens a step.
"""

import json
import pathlib
import statistics
import sys

from flops import flops_a_token

LENGTH = 4096
SKIPPED = 3
RECIPES = ("stock", "tuned")
COLUMNS = ("", "tokens a step", "ms a step", "tokens/s", "model TFLOP/s", "of stock", "of tuned", "peak GiB", "first step after, s")


def rows_of(file):
    return [json.loads(line) for line in file.read_text().splitlines() if line.strip()] if file.exists() else []


def number_in(file):
    text = file.read_text().strip() if file.exists() else ""
    return float(text) if text else None


def moebius_run(folder):
    rows = rows_of(folder / "metrics.jsonl")
    if len(rows) <= SKIPPED:
        return None
    return {
        "name": folder.name.replace("-", ", "),
        "tokens": round(rows[-1]["tokens_per_second"] * rows[-1]["seconds"]),
        "seconds": statistics.median(row["seconds"] for row in rows[SKIPPED:]),
        "peak": rows[-1]["peak_memory_bytes"],
        "first": number_in(folder / "seconds_to_first_step"),
    }


def peer_run(row):
    return {
        "name": f"transformers, {row['recipe']}",
        "recipe": row["recipe"],
        "tokens": row["tokens_a_step"],
        "seconds": row["ms_a_step"] / 1000,
        "peak": row["peak_memory_bytes"],
        "first": row["seconds_to_first_step"],
    }


def speed(run):
    return run["tokens"] / run["seconds"]


def ratio(run, others, recipe):
    for other in others:
        if other["recipe"] == recipe and other["tokens"] == run["tokens"]:
            return f"{speed(run) / speed(other):.3f}"
    return ""


def cells(run, flops, peers):
    return (
        run["name"],
        f"{run['tokens']}",
        f"{1000 * run['seconds']:.1f}",
        f"{speed(run):.0f}",
        f"{speed(run) * flops / 1e12:.1f}",
        *(ratio(run, peers, recipe) for recipe in RECIPES),
        f"{run['peak'] / 2**30:.1f}" if run["peak"] else "",
        f"{run['first']:.1f}" if run["first"] else "",
    )


def print_table(lines):
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def print_routing(ours):
    """Learned routing beside forced-even."""
    runs = {run["name"]: run for run in ours}
    learned, even = runs.get("moebius, learned"), runs.get("moebius, even")
    if learned and even:
        print(f"learned routing: {speed(learned) / speed(even):.3f} of the speed of even routing")


def main():
    folder, config = pathlib.Path(sys.argv[1]), sys.argv[2]
    folders = [child for child in sorted(folder.iterdir()) if child.is_dir()]
    ours = [run for child in folders if (run := moebius_run(child))]
    rows = [row for recipe in RECIPES for row in rows_of(folder / f"transformers-{recipe}.jsonl")]
    peers = [peer_run(row) for row in rows]
    flops = flops_a_token(config, LENGTH)
    print_table([COLUMNS] + [cells(run, flops, peers) for run in ours + peers])
    print_routing(ours)
    if rows:
        print(f"{rows[-1]['device']}; torch {rows[-1]['torch']}, transformers {rows[-1]['transformers']}; {flops / 1e9:.3f} GFLOP a token")
    for child in folders:
        if (child / "speed.txt").exists():
            print(f"\n{child.name}\n{(child / 'speed.txt').read_text()}", end="")
    if len(ours) != len(folders) or len(peers) != 2 * len(RECIPES):
        sys.exit("some runs are missing")


if __name__ == "__main__":
    main()
