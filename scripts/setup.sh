#!/usr/bin/env bash
# Installs what Floe is built and tested with, on Debian 12 or 13. Quick when everything is there already.
#
#   scripts/setup.sh              what the build and its tests need
#   scripts/setup.sh --clang      and clang: formatting, clang-tidy, the thread sanitizer, fuzzing
#   scripts/setup.sh --pip NAME…  and these Python packages, in build/venv (benchmarks only, never tests)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Package, then why it is here.
packages_build="
  g++                   # C++20 compiler
  cmake                 # build: presets
  ninja-build           # build
  ccache                # a second build costs seconds
  git                   # changed files for the linter
  python3               # tools/check_rooms.py
  ca-certificates       # https for git and pip
  libhwy-dev            # SIMD kernels
  libsentencepiece-dev  # tokenization
  libicu-dev            # Unicode classes, sentence splitting
  zlib1g-dev            # checksums and compressed data
  libzip-dev            # npz archives
  libprotozero-dev      # ONNX files
  libcli11-dev          # command line
  nlohmann-json3-dev    # JSON
  libtomlplusplus-dev   # TOML configuration
  libfmt-dev            # messages
  libgtest-dev          # tests
  libgmock-dev          # tests
  libonnx-testdata      # tests: ONNX's own node cases
  python3-numpy         # tests: runs what is printed for NumPy
"
# One release for every Debian, so that all machines format and warn alike.
packages_clang="
  clang-19              # thread sanitizer, fuzzing
  clang-format-19       # formatting
  clang-tidy-19         # lint
  libclang-rt-19-dev    # sanitizer and libFuzzer run times
"
packages_pip="
  python3-venv          # build/venv
"

names() { sed -E 's/#.*//' <<<"$1" | xargs; }

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    echo "setup: '$*' needs root; run it as root or install sudo" >&2
    exit 1
  fi
}

missing() {
  local name
  for name in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || echo "$name"
  done
}

need() {
  local wanted
  mapfile -t wanted < <(missing "$@")
  [ ${#wanted[@]} -gt 0 ] || return 0
  echo "setup: installing ${wanted[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    "${wanted[@]}" >/dev/null
}

if ! command -v apt-get >/dev/null; then
  echo "setup: no apt-get here. Install by hand: $(names "$packages_build")" >&2
  exit 1
fi

need $(names "$packages_build")
while [ $# -gt 0 ]; do
  case $1 in
    --clang)
      need $(names "$packages_clang")
      shift
      ;;
    --pip)
      shift
      need $(names "$packages_pip")
      [ -x "$root/build/venv/bin/pip" ] || /usr/bin/python3 -m venv "$root/build/venv"
      "$root/build/venv/bin/pip" install -q "$@"
      shift $#
      ;;
    *)
      echo "setup: unknown option '$1'; known: --clang, --pip NAME…" >&2
      exit 1
      ;;
  esac
done
echo "setup: everything needed is installed"
