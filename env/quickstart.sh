#!/usr/bin/env bash
# From a bare machine to a trained model: installs, builds, trains jobs/quickstart.toml on two ranks, exports, generates.
set -euo pipefail
cd "$(dirname "$0")/.."
env/setup.sh
cmake --preset release
cmake --build --preset release --target moebius
moebius=build/release/moebius
run=runs/quickstart

# Root (in containers) and machines with fewer cores than ranks need to say so to Open MPI, 4 and 5.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

rm -rf "$run"
mpirun -np 2 "$moebius" train jobs/quickstart.toml
checkpoint=$run/checkpoints/$(cat "$run/checkpoints/latest")
"$moebius" export "$checkpoint" -o "$run/export" --check
echo "loss of the first and the last iteration:"
sed -nE '1p;$p' "$run/metrics.jsonl" | sed -E 's/.*"iteration":([0-9]+),"loss":([0-9.]+).*/  iteration \1: \2/'
echo "asked, and what it answers:"
cat jobs/quickstart/question.jsonl
"$moebius" generate "$run/export" --messages jobs/quickstart/question.jsonl --max-new-tokens 32
