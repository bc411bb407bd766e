#!/usr/bin/env bash
# Formats every C++ and CUDA file in place.
#
#   tools/format.sh           formats
#   tools/format.sh --check   changes nothing; names what is not formatted and exits 1
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1:-} in
  "") mode=(-i) ;;
  --check) mode=(--dry-run -Werror) ;;
  *)
    echo "format: unknown option '$1'; known: --check" >&2
    exit 1
    ;;
esac

# Clang-format's releases differ in details, so one is fixed (scripts/setup.sh --clang).
if ! command -v clang-format-19 >/dev/null; then
  echo "format: clang-format-19 is missing; scripts/setup.sh --clang installs it" >&2
  exit 1
fi
git ls-files -coz --exclude-standard -- '*.h' '*.cc' '*.cu' '*.cuh' |
  xargs -0 -r clang-format-19 "${mode[@]}"
