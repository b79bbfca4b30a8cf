#!/usr/bin/env python3
"""Log-probabilities of moebius beside those of transformers, on the same device and in the same precision.

    score_reference.py MODEL... --moebius build/release/moebius [--rows score.jsonl] [--device cuda]

MODEL is a Hugging Face folder; --rows a file of rows {"input_ids": [...]}, looked for in each MODEL. --moebius is a command, such as
"mpirun -np 1 build/release/moebius".

fp32: no log-probability may be farther than 1e-4 from transformers' in fp32 (without TF32).
bf16 (on a GPU): moebius must be as near to the exact log-probabilities, those of transformers in fp32, as transformers in bf16 is, with
a quarter to spare, in the median and in the mean; and from transformers in bf16 it may be as far as two that round independently are,
1.41 times as far as each from the exact ones. (transformers with other attention and experts: 0.88 to 1.01, and 0.7 to 0.9.) Where a
router is near a tie, either program may choose otherwise after rounding: the largest differences are of such tokens.

Prints a PASS or FAIL line for each check and fails where there is a FAIL. Needs torch and transformers 5.
"""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile

import torch
import transformers

FP32_TOLERANCE = 1e-4
RATIO_EXACT, RATIO_APART = 1.25, 1.5


def read(file):
    with open(file, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def flat(rows):
    """All log-probabilities of rows {"logprobs": [null, ...]}."""
    return torch.tensor([value for row in rows for value in row["logprobs"][1:]], dtype=torch.float64)


def moebius_logprobs(args, folder, rows_file, precision):
    with tempfile.TemporaryDirectory() as temporary:
        out = pathlib.Path(temporary) / "scored.jsonl"
        flags = ["--input", str(rows_file), "--out", str(out), "--device", args.device, "--precision", precision]
        done = subprocess.run([*shlex.split(args.moebius), "score", str(folder), *flags], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"moebius score {folder} in {precision} failed:\n{done.stderr}")
        return flat(read(out))


@torch.no_grad()
def transformers_logprobs(args, folder, rows, dtype):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").to(args.device).eval()
    scored = []
    for row in rows:
        ids = torch.tensor(row["input_ids"], device=args.device)
        logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1].float()
        logprobs = logits.log_softmax(-1).gather(1, ids[1:, None])[:, 0]
        scored.append({"logprobs": [None, *logprobs.tolist()]})
    return flat(scored)


def verdict(passed, text):
    print(f"{'PASS' if passed else 'FAIL'}  {text}", flush=True)
    return passed


def check_fp32(name, ours, exact):
    worst = (ours - exact).abs().max().item()
    return verdict(worst <= FP32_TOLERANCE, f"{name} fp32: {len(ours)} log-probabilities, largest difference {worst:.2e} of {FP32_TOLERANCE:.0e}")


def check_bf16(name, ours, theirs, exact):
    pairs = {"moebius - exact": ours - exact, "transformers - exact": theirs - exact, "moebius - transformers": ours - theirs}
    for pair, difference in pairs.items():
        size = difference.abs()
        print(f"      {pair:24} median {size.median():.5f}  mean {size.mean():.5f}  largest {size.max():.3f}  bias {difference.mean():+.5f}")
    mine, peer, apart = (difference.abs() for difference in pairs.values())
    median, mean, apart = (mine.median() / peer.median()).item(), (mine.mean() / peer.mean()).item(), (apart.mean() / peer.mean()).item()
    return verdict(
        max(median, mean) <= RATIO_EXACT and apart <= RATIO_APART,
        f"{name} bf16: in units of transformers' own distance from exact, moebius is {median:.3f} (median) and {mean:.3f} (mean) from exact, "
        f"at most {RATIO_EXACT}, and {apart:.3f} from transformers, at most {RATIO_APART}",
    )


def check(args, folder):
    rows_file = folder / args.rows
    rows = read(rows_file)
    exact = transformers_logprobs(args, folder, rows, torch.float32)
    ours = moebius_logprobs(args, folder, rows_file, "fp32")
    if ours.shape != exact.shape:
        return verdict(False, f"{folder.name}: {len(ours)} log-probabilities of moebius, {len(exact)} of transformers")
    passed = check_fp32(folder.name, ours, exact)
    if args.device == "cpu":  # moebius computes in fp32 there
        return passed
    theirs = transformers_logprobs(args, folder, rows, torch.bfloat16)
    return check_bf16(folder.name, moebius_logprobs(args, folder, rows_file, "bf16"), theirs, exact) and passed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path, metavar="MODEL")
    parser.add_argument("--moebius", required=True)
    parser.add_argument("--rows", default="score.jsonl")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cuda", "cpu"])
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    results = [check(args, folder) for folder in args.models]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
