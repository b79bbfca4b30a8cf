#!/usr/bin/env bash
# Builds everything and runs all tests. Arguments go to ctest: env/test.sh -L fast
set -euo pipefail
cd "$(dirname "$0")/.."
env/setup.sh
cmake --preset release
cmake --build --preset release
ctest --preset release "$@"
