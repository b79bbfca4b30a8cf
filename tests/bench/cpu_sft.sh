#!/usr/bin/env bash
# cpu_sft.sh PYTHON   the same steps in moebius (1 rank, 2 threads) and in transformers (eager; torch.compile), one after the
# other. PYTHON has torch and transformers 5. Prints tokens/s of the steps behind the first two.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:?usage: cpu_sft.sh PYTHON}
export OMP_NUM_THREADS=2
rm -rf runs/bench-cpu-sft
build/release/moebius train tests/bench/cpu_sft.toml 2>/dev/null
"$python" - <<'P'
import json
rows = [json.loads(line) for line in open("runs/bench-cpu-sft/metrics.jsonl")][2:]
tokens = 8 * 512 * len(rows)
print(json.dumps({"moebius": tokens / sum(row["seconds"] for row in rows), "peak_bytes": rows[-1]["peak_memory_bytes"]}))
P
for variant in "" "--compile" "--experts grouped_mm" "--experts grouped_mm --compile"; do
  # shellcheck disable=SC2086
  "$python" tests/bench/transformers_sft.py tests/bench/qwen3_moe_small --steps 6 $variant 2>/dev/null ||
    echo "transformers $variant: failed"
done
