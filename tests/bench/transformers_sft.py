#!/usr/bin/env python3
"""Tokens per second of a full-parameter AdamW step in transformers, the peer that moebius is measured against on a CPU.

    transformers_sft.py HF_DIR --length 512 --micro 4 --accumulate 2 --steps 6 [--compile] [--experts grouped_mm|eager]

Every step takes `accumulate` micro batches of `micro` rows of `length` random tokens, all trained, in fp32: forward, backward,
clipping to norm 1, AdamW. Prints one JSON line: tokens/s of the steps behind the first two (warm-up, compilation).
Needs torch and transformers 5; threads as OMP_NUM_THREADS says.
"""

import argparse
import json
import time

import torch
from transformers import AutoConfig, AutoModelForCausalLM


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hf_dir")
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--micro", type=int, default=4)
    parser.add_argument("--accumulate", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--experts", default="eager")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()

    torch.manual_seed(1)
    config = AutoConfig.from_pretrained(args.hf_dir)
    model = AutoModelForCausalLM.from_config(
        config, dtype=torch.float32, attn_implementation=args.attention, experts_implementation=args.experts
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    forward = torch.compile(model) if args.compile else model

    seconds = []
    for _ in range(args.steps):
        begin = time.perf_counter()
        for _ in range(args.accumulate):
            ids = torch.randint(config.vocab_size, (args.micro, args.length))
            loss = forward(input_ids=ids, labels=ids, use_cache=False).loss / args.accumulate
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - begin)

    measured = seconds[2:]
    tokens = args.micro * args.length * args.accumulate
    print(
        json.dumps(
            {
                "tokens_per_second": tokens * len(measured) / sum(measured),
                "seconds": seconds,
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
                "compile": args.compile,
                "experts": args.experts,
            }
        )
    )


if __name__ == "__main__":
    main()
