#!/usr/bin/env bash
# sft_reference.sh MOEBIUS [JOB --set KEY=VALUE ...]   the same training twice, in fp32 on the CPU and in bf16 on the GPU, and how far the
# losses are apart: fails where that is more than 1 % in the mean over the steps. JOB is jobs/quickstart.toml with a smaller learning rate
# where none is given; take one whose losses do not come near 0, where 1 % says nothing. RUN=gpu or RUN=cpu runs one of the two and compares
# with what the other left in $RESULTS, runs/sft-reference where that is not set.
set -euo pipefail
cd "$(dirname "$0")/../../.."
moebius=${1:?usage: sft_reference.sh MOEBIUS [JOB --set KEY=VALUE ...]}
shift
[ $# -gt 0 ] || set -- jobs/quickstart.toml --set optimizer.lr=4e-4 --set optimizer.min_lr=0  # or it learns the rows by heart
results=${RESULTS:-runs/sft-reference}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1  # root, in containers

run() {  # NAME, then the job and its settings
  local folder=$results/$1 device=$2 precision=$3
  shift 3
  rm -rf "$folder"
  mkdir -p "$folder"
  mpirun -np 1 --bind-to none "$moebius" train "$@" --set "job.output=$folder" --set model.device="$device" \
    --set model.precision="$precision" --set parallel.expert=1 --set log.tensorboard=false >"$folder/log" 2>&1 ||
    { tail -20 "$folder/log" >&2; exit 1; }
  rm -rf "$folder/checkpoints"
}
[ "${RUN:-cpu}" = cpu ] && run cpu cpu fp32 "$@"
[ "${RUN:-gpu}" = gpu ] && run gpu cuda bf16 "$@"

paste <(sed -nE 's/.*"loss":([^,}]*).*/\1/p' "$results/cpu/metrics.jsonl") \
      <(sed -nE 's/.*"loss":([^,}]*).*/\1/p' "$results/gpu/metrics.jsonl") |
  awk '
    NF != 2 { print "line " NR ": the runs have not the same steps"; bad = 1; exit }
    { off = ($2 - $1) / $1; size = off < 0 ? -off : off; sum += size; signed += off
      if (size > worst) { worst = size; at = NR }
      if (NR % 20 == 1) printf "  step %4d  cpu %.4f  gpu %.4f  %+.3f %%\n", NR, $1, $2, 100 * off }
    END {
      if (bad || NR == 0) exit 1
      printf "%d steps: losses apart by %.3f %% in the mean, %+.3f %% with their sign, %.3f %% at the worst (step %d)\n",
             NR, 100 * sum / NR, 100 * signed / NR, 100 * worst, at
      exit sum / NR > 0.01 }'
