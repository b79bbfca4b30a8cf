#!/usr/bin/env bash
# run.sh MOEBIUS PYTHON [flags of transformers_slice.py]   moebius and transformers on the same GPU, one after the other: the slice of
# jobs/bench-qwen3-30b-a3b-slice.toml with 16,384 and with 65,536 tokens a step, moebius also with even routing. PYTHON has torch and
# transformers 5. Prints a table; keeps what it is made of in $RESULTS, runs/bench-gpu-slice where that is not set.
set -euo pipefail
cd "$(dirname "$0")/../../.."
moebius=${1:?usage: run.sh MOEBIUS PYTHON [flags of transformers_slice.py]}
python=${2:?usage: run.sh MOEBIUS PYTHON [flags of transformers_slice.py]}
shift 2
job=jobs/bench-qwen3-30b-a3b-slice.toml
config=${job%.toml}/config.json
results=${RESULTS:-runs/bench-gpu-slice}
here=tests/bench/gpu_slice
rm -rf "$results"
mkdir -p "$results"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1  # root, in containers

# moebius_run NAME SETTINGS...: also how long the first row of its metrics took from here.
moebius_run() {
  local folder=$results/$1 setting settings=() begin=$EPOCHREALTIME watcher
  shift
  for setting in "job.output=$folder" "$@"; do settings+=(--set "$setting"); done
  mkdir -p "$folder"
  (
    until [ -s "$folder/metrics.jsonl" ]; do sleep 0.05; done
    awk "BEGIN {print $EPOCHREALTIME - $begin}" >"$folder/seconds_to_first_step"
  ) &
  watcher=$!
  mpirun -np 1 "$moebius" train "$job" "${settings[@]}" >"$folder/log" 2>&1 ||
    { echo "moebius $folder failed:" >&2; tail -20 "$folder/log" >&2; }
  kill "$watcher" 2>/dev/null || true
  wait "$watcher" 2>/dev/null || true
  rm -rf "$folder/checkpoints"
}

moebius_run moebius-learned
moebius_run moebius-even moe.routing=even train.iterations=15
moebius_run moebius-learned-65k train.global_batch_size=16 train.iterations=13

peer() { "$python" "$here/transformers_slice.py" "$config" --accumulate 1 4 "$@" >"$results/transformers.jsonl" 2>"$results/transformers.log"; }
if ! peer "$@"; then
  tail -20 "$results/transformers.log" >&2
  if [ ! -s "$results/transformers.jsonl" ]; then
    echo "transformers failed; again with flash attention" >&2
    peer "$@" --attention flash || tail -20 "$results/transformers.log" >&2
  fi
fi

"$python" "$here/summary.py" "$results" "$config"
