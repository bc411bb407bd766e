#!/usr/bin/env bash
# Shows Floe at work: a few sentences translated by the model that comes with it, what the key/value cache and INT8
# save, and its score where the model's folder brings sentences with references.
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

for _ in $(seq 40); do cat "$sentences"; done >build/demo.many
translate_many() {  # NAME [OPTION...]: the time of translating build/demo.many to build/demo.NAME.out
  local name=$1 start
  shift
  start=$(date +%s%N)
  "$floe" translate --input build/demo.many --output "build/demo.$name.out" "$@"
  echo "$((($(date +%s%N) - start) / 1000000)) ms"
}

printf '\n== The same translations without the key/value cache\n'
printf 'with the cache: %s\n' "$(translate_many float --model "$model")"
printf 'without: %s\n' "$(translate_many uncached --model "$model" --no-kv-cache)"
cmp build/demo.float.out build/demo.uncached.out

printf '\n== The same model in INT8\n'
rm -rf build/demo.int8
"$floe" quantize "$model" -o build/demo.int8
printf 'float: %s\n' "$(translate_many float --model "$model")"
printf 'INT8: %s\n' "$(translate_many int8 --model build/demo.int8)"
printf '%s of %s lines differ from those of the float model\n' \
  "$(diff --suppress-common-lines -y build/demo.float.out build/demo.int8.out | wc -l)" "$(wc -l <build/demo.many)"
