#!/usr/bin/env bash
# setup.sh [tools]   installs what a bare Debian 12 or Ubuntu 24.04 lacks to build and test moebius; `tools` adds the
# formatter, the linter and ccache. Through apt-get, and sudo where you are not root. Says nothing where all is there.
set -euo pipefail
cd "$(dirname "$0")"
source ./versions

packages=$build_packages
case "${1:-}" in
  '') ;;
  tools) packages+=" $tool_packages" ;;
  *) echo "setup.sh: '$1' is unknown; usage: env/setup.sh [tools]" >&2; exit 2 ;;
esac

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

if ! command -v apt-get dpkg-query >/dev/null; then
  echo "setup.sh: knows Debian 12 and Ubuntu 24.04 only; on another system, install what these packages hold:" $packages >&2
  exit 1
fi
missing=()
for package in $packages; do
  is_installed "$package" || missing+=("$package")
done
[ ${#missing[@]} = 0 ] && exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup.sh: not root and no sudo; let an administrator run: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
  [ -t 0 ] || as_root+=(-n)  # nobody is there to type a password
fi

echo "setup.sh: installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1 </dev/null; }
if ! { apt update && apt install -y --no-install-recommends "${missing[@]}"; }; then
  cat "$log" >&2
  echo "setup.sh: apt-get could not install ${missing[*]} (its own words above)" >&2
  exit 1
fi
