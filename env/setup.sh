#!/usr/bin/env bash
# setup.sh [tools] [cuda] [parquet]   installs what a bare Debian 12 or Ubuntu 24.04 lacks to build and test moebius, through apt-get, and
# sudo where you are not root. `tools` adds the formatter, the linter and ccache; `cuda` fetches the headers of cudnn-frontend
# from PyPI to build/third_party/include, `parquet` Apache Arrow to build/third_party/pyarrow. Says nothing where all is there.
set -euo pipefail
cd "$(dirname "$0")"
source ./versions

packages=$build_packages
wants_cuda=no wants_parquet=no
for part in "$@"; do
  case "$part" in
    tools) packages+=" $tool_packages" ;;
    cuda) wants_cuda=yes ;;
    parquet) wants_parquet=yes ;;
    *) echo "setup.sh: '$part' is unknown; usage: env/setup.sh [tools] [cuda] [parquet]" >&2; exit 2 ;;
  esac
done

third_party=$PWD/../build/third_party
has_cudnn_frontend() {
  local header=$third_party/include/cudnn_frontend_version.h
  [ -f "$header" ] &&
    [ "$(sed -nE 's/^#define CUDNN_FRONTEND_(MAJOR|MINOR|PATCH)_VERSION //p' "$header" | paste -sd.)" = "$cudnn_frontend" ]
}
has_pyarrow() {
  local header=$third_party/pyarrow/include/arrow/util/config.h
  [ -f "$header" ] && [ "$(sed -nE 's/^#define ARROW_VERSION_STRING "(.*)"/\1/p' "$header")" = "$pyarrow" ]
}
needs_cudnn_frontend=no needs_pyarrow=no
[ "$wants_cuda" = no ] || has_cudnn_frontend || needs_cudnn_frontend=yes
[ "$wants_parquet" = no ] || has_pyarrow || needs_pyarrow=yes
if [ "$needs_cudnn_frontend$needs_pyarrow" != nono ] && ! python3 -m pip --version >/dev/null 2>&1; then
  packages+=" $pip_packages"
fi

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

install_packages() {
  local package missing=() as_root=()
  if ! command -v apt-get dpkg-query >/dev/null; then
    echo "setup.sh: knows Debian 12 and Ubuntu 24.04 only; on another system, install what these packages hold:" $packages >&2
    exit 1
  fi
  for package in $packages; do
    is_installed "$package" || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return

  if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "setup.sh: not root and no sudo; let an administrator run: apt-get install ${missing[*]}" >&2
      exit 1
    fi
    as_root=(sudo)
    [ -t 0 ] || as_root+=(-n)  # nobody is there to type a password
  fi
  echo "setup.sh: installing ${missing[*]}"
  apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" >>"$scratch/log" 2>&1 </dev/null; }
  if ! { apt update && apt install -y --no-install-recommends "${missing[@]}"; }; then
    cat "$scratch/log" >&2
    echo "setup.sh: apt-get could not install ${missing[*]} (its own words above)" >&2
    exit 1
  fi
}

# fetch_wheel NAME==VERSION PLATFORM CURE   unpacks it to $scratch/unpacked. That of one Python serves all: no Python is in
# what is used of it.
fetch_wheel() {
  echo "setup.sh: fetching $1"
  rm -rf "$scratch/wheel" "$scratch/unpacked"
  if ! python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.12 \
       --implementation cp --platform "$2" -d "$scratch/wheel" "$1" >"$scratch/log" 2>&1; then
    cat "$scratch/log" >&2
    echo "setup.sh: pip could not download $1 (its own words above); on a machine without PyPI, unpack that wheel (a zip" \
         "archive): $3" >&2
    exit 1
  fi
  python3 -m zipfile -e "$scratch"/wheel/*.whl "$scratch/unpacked"
}

fetch_cudnn_frontend() {
  fetch_wheel nvidia-cudnn-frontend==$cudnn_frontend manylinux_2_27_x86_64 "its include/ to build/third_party/include"
  mkdir -p "$third_party/include"
  rm -rf "$third_party"/include/cudnn_*
  cp -r "$scratch/unpacked/include/." "$third_party/include"
}

fetch_pyarrow() {
  fetch_wheel pyarrow==$pyarrow "manylinux_2_28_$(uname -m)" "its pyarrow/ to build/third_party/pyarrow"
  local from=$scratch/unpacked/pyarrow to=$third_party/pyarrow
  rm -rf "$to"
  mkdir -p "$to"
  cp -r "$from"/include "$from"/libarrow.so.* "$from"/libparquet.so.* "$to"
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
install_packages
[ "$needs_cudnn_frontend" = no ] || fetch_cudnn_frontend
[ "$needs_pyarrow" = no ] || fetch_pyarrow
if [ "$wants_cuda" = yes ] && [ -z "${CUDACXX:-}" ] && ! command -v nvcc >/dev/null; then
  echo "setup.sh: nvcc is not on the PATH. The CUDA toolkit $cuda_toolkit (nvcc, cuBLASLt) with cuDNN $cudnn and NCCL is yours or your" \
       "cluster's to install (module load cuda); without it moebius is built for CPUs alone" >&2
fi
