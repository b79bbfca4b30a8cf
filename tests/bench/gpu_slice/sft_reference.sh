#!/usr/bin/env bash
# sft_reference.sh MOEBIUS TOKENIZER DATA [SETTING ...]   the same training twice, in fp32 on the CPU and in bf16 on the GPU: 200 steps of
# sft_alpaca.toml. Prints the losses and PASS where they are apart by at most 1 % in the mean over the steps, and FAIL, with exit code 1,
# otherwise.
#   MOEBIUS    a command, such as "mpirun -np 1 --bind-to none build/release/moebius"
#   TOKENIZER  a folder with the tokenizer.json and tokenizer_config.json of a Qwen3
#   DATA       rows of chats, such as alpaca
#   SETTING    of both runs: train.iterations=20
# RUN=cpu and RUN=gpu run one of the two; the other's losses are those in $RESULTS, runs/sft-reference where that is not set. GPU="cpu fp32"
# takes another device and precision for the second run: how far apart are runs that should not differ?
set -euo pipefail
usage="usage: sft_reference.sh MOEBIUS TOKENIZER DATA [SETTING ...]"
read -ra moebius <<<"${1:?$usage}"
tokenizer=$(realpath "${2:?$usage}") data=$(realpath "${3:?$usage}")
shift 3
here=$(cd "$(dirname "$0")" && pwd)
results=$(realpath -m "${RESULTS:-runs/sft-reference}")
program=${moebius[-1]}
moebius[-1]=$(realpath "$(command -v "$program")")
cd "$here/../../.."
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1  # root, in containers

run() {  # NAME DEVICE PRECISION SETTING...
  local folder=$results/$1 settings=() setting
  for setting in "job.output=$folder" "model.device=$2" "model.precision=$3" "model.tokenizer=$tokenizer" "data.train=[\"$data\"]" "${@:4}"; do
    settings+=(--set "$setting")
  done
  rm -rf "$folder"
  mkdir -p "$folder"
  "${moebius[@]}" train "$here/sft_alpaca.toml" "${settings[@]}" >"$folder/log" 2>&1 ||
    { echo "FAIL  the run $1 ended with exit code $?:"; tail -20 "$folder/log"; exit 1; }
}
read -r device precision <<<"${GPU:-cuda bf16}"
[ "${RUN:-cpu}" != cpu ] || run cpu cpu fp32 "$@"
[ "${RUN:-gpu}" != gpu ] || run gpu "$device" "$precision" "$@"

losses() { sed -nE 's/.*"loss":([^,}]*).*/\1/p' "$results/$1/metrics.jsonl"; }
paste <(losses cpu) <(losses gpu) | awk '
  NF != 2 || $1 + 0 <= 0 || $2 + 0 <= 0 { bad = 1; exit }
  { off = ($2 - $1) / $1; size = off < 0 ? -off : off; sum += size; signed += off
    if (size > worst) { worst = size; at = NR }
    if (NR == 1) first = $1
    last = $1
    if (NR % 20 == 1) printf "  step %4d  cpu %.4f  gpu %.4f  %+.3f %%\n", NR, $1, $2, 100 * off }
  END {
    if (bad || NR == 0) { print "FAIL  line " NR ": the runs have not the same steps, or a loss is no number"; exit 1 }
    if (last > 0.9 * first) { printf "FAIL  nothing is learned: loss %.4f, then %.4f\n", first, last; exit 1 }
    passed = sum / NR <= 0.01
    printf "%s  %d steps, loss %.3f to %.3f: apart by %.3f %% in the mean (at most 1 %%), %+.3f %% with sign, %.3f %% at the worst (step %d)\n",
           passed ? "PASS" : "FAIL", NR, first, last, 100 * sum / NR, 100 * signed / NR, 100 * worst, at
    exit !passed }'
