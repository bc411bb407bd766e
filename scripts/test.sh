#!/usr/bin/env bash
# Sets up, builds and tests Floe. The last lines printed are ctest's summary.
#
#   scripts/test.sh [options]
#     --lint          first: formatting, and clang-tidy on the files changed since main
#     --lint-all      the same, with clang-tidy on every file
#     --quick         the dev build: faster to compile, slower to run, no CUDA
#     --asan          address and undefined-behaviour sanitizers, in place of the release build
#     --tsan          thread sanitizer, in place of the release build
#     --cuda          fail when there is no nvcc (without this, CUDA code is compiled where nvcc 13 is found)
#     --fuzz SECONDS  then: each fuzz target for so long
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=release
lint=no
need_cuda=no
fuzz=0
while [ $# -gt 0 ]; do
  case $1 in
    --lint) lint=changed ;;
    --lint-all) lint=all ;;
    --quick) preset=dev ;;
    --asan) preset=asan ;;
    --tsan) preset=tsan ;;
    --cuda) need_cuda=yes ;;
    --fuzz)
      fuzz=${2:-}
      if ! [[ $fuzz =~ ^[1-9][0-9]*$ ]]; then
        echo "test: --fuzz needs a number of seconds, not '$fuzz'" >&2
        exit 1
      fi
      shift
      ;;
    *)
      echo "test: unknown option '$1'; see the head of scripts/test.sh" >&2
      exit 1
      ;;
  esac
  shift
done
if [ $need_cuda = yes ] && [ $preset != release ]; then
  echo "test: --cuda goes with the release build, not with $preset" >&2
  exit 1
fi

# Objects of other checkouts of the same sources serve too.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
jobs=$(nproc)

setup=()
if [ $lint != no ] || [ $preset = tsan ] || [ "$fuzz" != 0 ]; then
  setup=(--clang)
fi
scripts/setup.sh "${setup[@]}"

cuda=OFF
nvcc_major=$(nvcc --version 2>/dev/null | sed -nE 's/.*release ([0-9]+)\..*/\1/p' || true)
if [ $preset != release ]; then
  echo "test: the $preset build leaves CUDA out"
elif [ "${nvcc_major:-0}" -ge 13 ]; then
  cuda=ON
  count=$(git ls-files -co --exclude-standard -- '*.cu' | wc -l)
  echo "test: nvcc $nvcc_major found: CUDA is compiled too ($count .cu files)"
elif [ $need_cuda = yes ]; then
  echo "test: --cuda needs nvcc 13 or newer on PATH; found ${nvcc_major:-none}" >&2
  exit 1
else
  echo "test: no nvcc 13 or newer on PATH: CUDA is left out"
fi

python3 tools/check_rooms.py
if [ $lint != no ]; then
  tools/format.sh --check
fi

configure() { # preset, options
  local log=build/$1/configure.log
  mkdir -p "build/$1"
  if ! cmake --preset "$@" >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
  fi
}

configure $preset -DFLOE_CUDA=$cuda
case $lint in
  changed) tools/tidy.sh "build/$preset" ;;
  all) tools/tidy.sh --all "build/$preset" ;;
esac

if [ "$fuzz" != 0 ]; then
  configure fuzz
  cmake --build --preset fuzz --target fuzz -j "$jobs"
  mapfile -t targets < <(find build/fuzz/fuzz -maxdepth 1 -type f -name 'fuzz_*' -perm -u+x | sort)
  if [ ${#targets[@]} -eq 0 ]; then
    echo "test: --fuzz: fuzz/ holds no target" >&2
    exit 1
  fi
  for target in "${targets[@]}"; do
    name=${target##*/fuzz_}
    found=build/fuzz/corpus/$name # what libFuzzer finds; inputs worth keeping are copied to fuzz/corpus
    mkdir -p "$found"
    kept=()
    [ ! -d "fuzz/corpus/$name" ] || kept=("fuzz/corpus/$name")
    echo "test: fuzzing $name for $fuzz s"
    "$target" -max_total_time="$fuzz" -artifact_prefix=build/fuzz/ -print_final_stats=1 "$found" "${kept[@]}" \
      >"build/fuzz/$name.log" 2>&1 || { tail -n 60 "build/fuzz/$name.log" >&2; exit 1; }
  done
fi

cmake --build --preset $preset -j "$jobs"
# Under a sanitizer a thousand lines translated over and over take minutes and touch no code that the others do not.
leave_out=()
case $preset in asan | tsan) leave_out=(-E '^golden\.(Models/Invariance|ArenNumbers)') ;; esac
exec ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j "$jobs" "${leave_out[@]}"
