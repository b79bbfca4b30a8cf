#!/usr/bin/env bash
# check.sh MODULES   every include against the dependency table of CMakeLists.txt ("name: its;dependencies" a line),
# and every vendor header against the modules that may see it. Prints each forbidden include; fails if there is one.
set -euo pipefail
declare -A depends allowed
while IFS=': ' read -r module list; do
  [ -n "$module" ] && depends[$module]=${list//;/ }
done < "$1"

closure() {  # all modules that $1 may include, itself first
  local seen=" $1 " queue=$1 next
  while [ -n "$queue" ]; do
    next=""
    for module in $queue; do
      for dependency in ${depends[$module]:-}; do
        case "$seen" in *" $dependency "*) ;; *) seen+="$dependency "; next+=" $dependency" ;; esac
      done
    done
    queue=$next
  done
  echo "$seen"
}

# vendor header pattern -> modules
fences=(
  'mpi\.h|cluster parallel checkpoint'
  'nccl\.h|cluster parallel'
  '(infiniband|ucp)/|cluster'
  'hdf5\.h|checkpoint'
  'toml\+\+/|job'
  '(cublas|cudnn).*|kernels'
  'cuda_runtime.*|tensor kernels parallel'
  'CLI/|commands'
  '(arrow|parquet)/|data'
)
failures=0
for module in "${!depends[@]}"; do
  folder=src/$module
  [ "$module" = kernels ] && folder=kernels
  [ -d "$folder" ] || { echo "$module: no folder $folder"; failures=1; continue; }
  may=$(closure "$module")
  while IFS=: read -r file line text; do
    target=$(sed -E 's/.*"([a-z_0-9]+)\/.*/\1/' <<< "$text")
    case "$may" in *" $target "*) ;; *) echo "$file:$line: $module may not include $target: $text"; failures=1 ;; esac
  done < <(grep -rnE '^#include "' "$folder" --include=*.h --include=*.cpp --include=*.cu --include=*.cuh || true)
  for fence in "${fences[@]}"; do
    pattern=${fence%|*} modules=" ${fence##*|} "
    case "$modules" in *" $module "*) continue ;; esac
    if grep -rnE "^#include <$pattern" "$folder"; then echo "  ($module may not see this vendor header)"; failures=1; fi
  done
done
# Arrow's headers, which a build may lack, stay in one folder.
if grep -rnE '^#include <(arrow|parquet)/' src/data --include=*.h --include=*.cpp | grep -v '^src/data/arrow/'; then
  echo "  (only src/data/arrow may see this vendor header)"; failures=1
fi
[ "$failures" = 0 ] && echo "every include points downward: ${#depends[@]} modules"
exit "$failures"
