#!/usr/bin/env bash
# Runs clang-tidy (.clang-tidy) on C++ sources, as the build folder compiles them. A header is checked with the
# sources of its own name and with whatever includes it.
#
#   tools/tidy.sh [BUILD]         on files changed since the main branch; on main itself, in the last ten commits
#   tools/tidy.sh --all [BUILD]   on every file
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

all=no
if [ "${1:-}" = --all ]; then
  all=yes
  shift
fi
build=${1:-build/release}
if [ ! -f "$build/compile_commands.json" ]; then
  echo "tidy: $build is not configured: cmake --preset $(basename "$build")" >&2
  exit 1
fi
if ! command -v clang-tidy-19 >/dev/null; then
  echo "tidy: clang-tidy-19 is missing; scripts/setup.sh --clang installs it" >&2
  exit 1
fi

# The commit that the working tree is compared with.
base_commit() {
  local base main
  for main in origin/main main; do
    base=$(git merge-base HEAD "$main" 2>/dev/null) || continue
    [ "$base" != "$(git rev-parse HEAD)" ] || continue
    echo "$base"
    return
  done
  git rev-list --max-count=11 HEAD | tail -n 1
}

changed() {
  git diff --name-only --diff-filter=d "$(base_commit)"
  git ls-files -o --exclude-standard
}

sources() {
  if [ $all = yes ]; then
    git ls-files -co --exclude-standard -- '*.cc'
  else
    changed | sed -nE 's/\.h$/.cc/p; /\.cc$/p' | sort -u
  fi
}

# Only what this configuration compiles: no CUDA without nvcc, no fuzz target without clang.
files=()
while read -r file; do
  if grep -qF "\"file\": \"$PWD/$file\"" "$build/compile_commands.json"; then
    files+=("$file")
  fi
done < <(sources)

echo "tidy: ${#files[@]} files"
[ ${#files[@]} -gt 0 ] || exit 0
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" clang-tidy-19 --quiet -p "$build" 2>/dev/null
