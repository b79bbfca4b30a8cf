#!/usr/bin/env python3
"""Log-probabilities in bf16, moebius' beside transformers': is moebius off by more than bf16's own rounding?

    mpirun -np 1 moebius score HF_DIR --input score.jsonl --out ours.jsonl     (bf16 on a GPU)
    score_reference.py HF_DIR score.jsonl ours.jsonl [--exact EXPECTED.jsonl] [--device cuda]

Prints, for all log-probabilities of the rows, the largest and the mean absolute difference of moebius and of transformers in bf16 from
the exact ones, and of the two from each other. Exact are those of EXPECTED.jsonl, or of transformers in fp32. A router near a tie
chooses otherwise after rounding, in either program: the largest difference is that of such a token, the mean tells more.
Fails where moebius' mean difference from the exact ones is more than 1.25 times that of transformers.
Needs torch and transformers 5.
"""

import argparse
import json
import sys

import torch
import transformers

TOLERANCE = 1.25


def read(file):
    with open(file, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def flat(rows):
    """All log-probabilities of rows {"logprobs": [null, ...]}."""
    return torch.tensor([value for row in rows for value in row["logprobs"][1:]], dtype=torch.float64)


@torch.no_grad()
def transformers_logprobs(folder, rows, dtype, device):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").to(device).eval()
    scored = []
    for row in rows:
        ids = torch.tensor(row["input_ids"], device=device)
        logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1].float()
        logprobs = logits.log_softmax(-1).gather(1, ids[1:, None])[:, 0]
        scored.append({"logprobs": [None, *logprobs.tolist()]})
    return flat(scored)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hf_dir")
    parser.add_argument("rows", help='rows {"input_ids": [...]}')
    parser.add_argument("ours", help="what moebius score wrote of them")
    parser.add_argument("--exact", help="rows of log-probabilities of higher precision")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    torch.backends.cuda.matmul.allow_tf32 = False
    rows = read(args.rows)
    ours = flat(read(args.ours))
    theirs = transformers_logprobs(args.hf_dir, rows, torch.bfloat16, args.device)
    exact = flat(read(args.exact)) if args.exact else transformers_logprobs(args.hf_dir, rows, torch.float32, args.device)
    if not ours.shape == theirs.shape == exact.shape:
        sys.exit(f"not the same rows: {len(ours)} log-probabilities of moebius, {len(theirs)} of transformers, {len(exact)} exact")

    pairs = {"moebius - exact": ours - exact, "transformers - exact": theirs - exact, "moebius - transformers": ours - theirs}
    print(f"{args.hf_dir}: {len(ours)} log-probabilities, bf16 on {args.device}")
    for name, difference in pairs.items():
        print(f"  {name:24} largest {difference.abs().max():.4f}  mean {difference.abs().mean():.5f}  bias {difference.mean():+.5f}")
    ratio = (pairs["moebius - exact"].abs().mean() / pairs["transformers - exact"].abs().mean()).item()
    print(f"  moebius' mean difference is {ratio:.3f} times that of transformers")
    sys.exit(0 if ratio <= TOLERANCE else f"more than {TOLERANCE} times")


if __name__ == "__main__":
    main()
