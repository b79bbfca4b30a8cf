#!/usr/bin/env python3
"""Losses of several ranks, on one GPU that they share or on several, beside those of one rank.

    ranks_reference.py MODEL ROWS --moebius "mpirun -np {np} --oversubscribe build/release/moebius" [--iterations 10] [--ranks 2 8]

MODEL is a Hugging Face folder of a small MoE model, ROWS a file of rows {"input_ids", "labels"}, --moebius a command in which {np}
stands for the number of ranks. Trains over meshes of 1, 2, 4 and 8 ranks, with aux and z loss, in fp32 and bf16. Losses and gradient
norms of fp32 differ by the order of sums: 1e-5 and 1e-4, relative. In bf16 each sum over ranks and each change of a product's shape
rounds again: 1e-2 for losses.

Prints a PASS or FAIL line a mesh and fails where there is a FAIL.
"""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile

MESHES = [  # ranks, then the axes above 1
    (2, {}), (2, {"tensor": 2}), (2, {"expert": 2}), (2, {"context": 2}), (2, {"pipeline": 2}),
    (4, {}), (4, {"tensor": 2, "expert": 2}), (4, {"expert": 4}), (4, {"context": 2, "pipeline": 2}),
    (8, {}), (8, {"tensor": 2, "expert": 8}), (8, {"tensor": 2, "pipeline": 2, "expert": 2}), (8, {"context": 2, "expert": 4}),
]  # fmt: skip
TOLERANCES = {"fp32": {"loss": 1e-5, "grad_norm": 1e-4}, "bf16": {"loss": 1e-2}}


def train(args, folder, precision, ranks, axes):
    job = {
        "model": {"path": args.model, "device": "cuda", "precision": precision},
        "data": {"train": [args.rows], "shuffle": False, "packing": False, "max_length": 128},
        "train": {"micro_batch_size": 1, "global_batch_size": 8, "iterations": args.iterations},
        "optimizer": {"lr": 1e-3},
        "moe": {"aux_loss_coeff": 0.01, "z_loss_coeff": 0.001},
        "parallel": axes,
        "checkpoint": {"interval": 0, "resume": "never"},
        "log": {"tensorboard": False},
        "job": {"output": str(folder / "run")},
    }
    lines = []
    for section, keys in job.items():
        lines += [f"[{section}]"] + [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    (folder / "job.toml").write_text("\n".join(lines) + "\n")
    command = shlex.split(args.moebius.replace("{np}", str(ranks))) + ["train", str(folder / "job.toml")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stderr[-1500:], file=sys.stderr)
        return None
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


def farthest(one, many, key):
    return max(abs(a[key] - b[key]) / abs(a[key]) for a, b in zip(one, many, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("rows")
    parser.add_argument("--moebius", required=True)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 8], help="only meshes of so many")
    args = parser.parse_args()
    failures = 0
    for precision, tolerances in TOLERANCES.items():
        one = None
        for ranks, axes in [(1, {}), *(mesh for mesh in MESHES if mesh[0] in args.ranks)]:
            with tempfile.TemporaryDirectory() as folder:
                rows = train(args, pathlib.Path(folder), precision, ranks, axes)
            name = f"{precision} ranks {ranks} " + " ".join(f"{axis} {size}" for axis, size in axes.items())
            if one is None:
                if rows is None:
                    sys.exit(f"FAIL  {name}")
                one = rows
                continue
            off = {key: farthest(one, rows, key) for key in ("loss", "grad_norm")} if rows else None
            good = off is not None and all(off[key] <= limit for key, limit in tolerances.items())
            failures += not good
            print("PASS " if good else "FAIL ", name, {key: f"{value:.1e}" for key, value in (off or {}).items()}, flush=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
