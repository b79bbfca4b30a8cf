#!/usr/bin/env python3
"""torch._grouped_mm on the problems of gpu_kernels.cu: 131,072 rows in 128 groups, bf16, the three products of training.

    torch_grouped_mm.py

Prints one JSON line a case, with the names that gpu_kernels has. PyTorch stores the weight
gradient in bf16 and adds in a second pass where gradients are added up: "bf16 stored" is the one to compare with.
Needs torch and a Hopper GPU.
"""

import json
import statistics

import torch

ROWS, GROUPS = 131072, 128
CALLS = 5  # of a run, without a gap
WARM_UP, MEASURED = 200.0, 300.0  # ms: the clock falls until the power is what it may be


def skewed_sizes():
    """As skewed_sizes() in gpu_kernels.cu."""
    empty = 10
    group, sizes = list(range(GROUPS)), [0] * GROUPS
    state = 12345
    for i in range(GROUPS - 1, 0, -1):
        state = (state * 1664525 + 1013904223) % 2**32
        j = (state >> 8) % (i + 1)
        group[i], group[j] = group[j], group[i]
    weights = [(i + 1.0) ** -0.8 for i in range(GROUPS - empty)]
    for i, weight in enumerate(weights):
        sizes[group[i]] = int(ROWS * weight / sum(weights))
    sizes[group[0]] += ROWS - sum(sizes)
    return sizes


def milliseconds(call):
    times, spent = [], 0.0
    while spent < WARM_UP + MEASURED:
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(CALLS):
            call()
        stop.record()
        stop.synchronize()
        spent += start.elapsed_time(stop)
        if spent > WARM_UP:
            times.append(start.elapsed_time(stop) / CALLS)
    return statistics.median(times)


def uniform(*shape):
    return torch.empty(shape, dtype=torch.bfloat16, device="cuda").uniform_(-1, 1)


def measure(out, width, kind, sizes):
    ends = torch.tensor(sizes, device="cuda").cumsum(0).to(torch.int32)
    x, dy, w = uniform(ROWS, width), uniform(ROWS, out), uniform(GROUPS, out, width)
    cases = {
        "forward": lambda: torch._grouped_mm(x, w.transpose(-2, -1), offs=ends),
        "input gradient": lambda: torch._grouped_mm(dy, w, offs=ends),
        "weight gradient bf16 stored": lambda: torch._grouped_mm(dy.t(), x, offs=ends),
    }
    for name, call in cases.items():
        time = milliseconds(call)
        print(
            json.dumps(
                {
                    "name": f"grouped {name} {out}x{width} {kind}",
                    "ms": round(time, 4),
                    "tflops": round(2e-9 * ROWS * out * width / time, 1),
                    "device": torch.cuda.get_device_name(),
                    "torch": torch.__version__,
                }
            ),
            flush=True,
        )


def main():
    for out, width in ((1536, 2048), (2048, 768)):
        measure(out, width, "even", [ROWS // GROUPS] * GROUPS)
        measure(out, width, "skewed", skewed_sizes())


if __name__ == "__main__":
    main()
