#!/usr/bin/env bash
# run.sh MOEBIUS [PYTHON]   moebius and transformers on the same GPU, one after the other: the slice of jobs/bench-qwen3-30b-a3b-slice.toml
# with 16,384 and with 65,536 tokens a step, moebius also with even routing, transformers as it comes and tuned (transformers_slice.py).
# PYTHON (python3) has torch and transformers 5. Takes 4 to 8 minutes. Prints a table and where moebius' time went; keeps what they are
# made of in $RESULTS, runs/bench-gpu-slice where that is not set.
set -euo pipefail
moebius=$(realpath "${1:?usage: run.sh MOEBIUS [PYTHON]}")
python=${2:-python3}
cd "$(dirname "$0")/../../.."
job=jobs/bench-qwen3-30b-a3b-slice.toml
config=${job%.toml}/config.json
results=${RESULTS:-runs/bench-gpu-slice}
here=tests/bench/gpu_slice
rm -rf "$results"
mkdir -p "$results"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1  # root, in containers

# moebius_run NAME SETTING...: also how long the first step took from here.
moebius_run() {
  local folder=$results/$1 settings=() begin=$EPOCHREALTIME setting line
  shift
  for setting in "job.output=$folder" "$@"; do settings+=(--set "$setting"); done
  mkdir -p "$folder"
  mpirun -np 1 --bind-to none "$moebius" train "$job" "${settings[@]}" 2>&1 | while IFS= read -r line; do
    [[ $line != *"first step done after"* ]] || awk "BEGIN {print $EPOCHREALTIME - $begin}" >"$folder/seconds_to_first_step"
    printf '%s\n' "$line"
  done >"$folder/log" || { echo "moebius failed:" >&2; tail -20 "$folder/log" >&2; }
}

# peer RECIPE: a line for each number of micro batches.
peer() {
  timeout 180 "$python" "$here/transformers_slice.py" "$config" --recipe "$1" --accumulate 1 4 \
    >"$results/transformers-$1.jsonl" 2>"$results/transformers-$1.log" ||
    { echo "transformers, $1, failed or took too long:" >&2; tail -20 "$results/transformers-$1.log" >&2; }
}

moebius_run moebius-learned
moebius_run moebius-even moe.routing=even train.iterations=20
moebius_run moebius-learned-65k train.global_batch_size=16 train.iterations=13
peer tuned
peer stock

"$python" "$here/summary.py" "$results" "$config"
