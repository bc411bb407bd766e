#!/usr/bin/env bash
# Shows Floe at work: a few sentences translated by the model that comes with it, what the key/value cache saves, and
# its score where the model's folder brings sentences with references.
#
#   scripts/demo.sh [MODEL]   MODEL is a model's folder, models/zh-en unless given
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

model=${1:-models/zh-en}
floe=build/release/apps/cli/floe

if [ ! -f "$model/config.json" ]; then
  echo "demo: there is no model in $model (no $model/config.json)" >&2
  exit 1
fi

scripts/setup.sh
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
mkdir -p build/release
if ! cmake --preset release >build/release/configure.log 2>&1; then
  cat build/release/configure.log >&2
  exit 1
fi
cmake --build --preset release -j "$(nproc)" --target floe

sentences=$model/examples.txt  # in the model's source language

printf '\n== Translation (%s)\n' "$model"
"$floe" translate --model "$model" --input "$sentences" | paste -d '\n' "$sentences" - | sed 'n; s/^/  → /'

printf '\n== From standard input\n'
head -n 1 "$sentences" | "$floe" translate --model "$model" --input -

# Held-out sentences with their references, when the model's folder brings them.
if [ -f "$model/test.src" ] && [ -f "$model/test.ref" ]; then
  printf '\n== Score on held-out sentences\n'
  "$floe" evaluate --model "$model" --source "$model/test.src" --references "$model/test.ref"
fi

printf '\n== The same translations without the key/value cache\n'
for _ in $(seq 40); do cat "$sentences"; done >build/demo.many
for cache in "" --no-kv-cache; do
  printf '%s: ' "${cache:-with the cache}"
  start=$(date +%s%N)
  "$floe" translate --model "$model" --input build/demo.many --output "build/demo.many${cache}.out" $cache
  echo "$((($(date +%s%N) - start) / 1000000)) ms"
done
cmp build/demo.many.out build/demo.many--no-kv-cache.out
