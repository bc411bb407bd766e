#!/usr/bin/env bash
# Runs a command line of nvcc, after a compiler cache if there is one, and fails where ptxas notes that the kernel it
# made is not the kernel that was written; it does not count these as errors itself:
#   C7508  setmaxnreg was ignored: registers are not divided between warpgroups
#   C7510  warpgroup products are run one after another (a call or a branch lies between)
#   C7511, C7512  the same, for want of registers
#   C7514, C7515  the same, as other code reads or writes their registers
#   C7519  a warpgroup.arrive was put in that the source lacks
#
#   tools/strict_ptxas.sh ccache nvcc ... -o OBJECT     (CMAKE_CUDA_COMPILER_LAUNCHER, set by cmake/cuda.cmake)
set -u
{ notes=$("$@" 2>&1 1>&3); } 3>&1
status=$?
[[ -n $notes ]] && printf '%s\n' "$notes" >&2
if [[ $status -eq 0 ]] && grep -qE '\(C75(08|10|11|12|14|15|19)\)' <<<"$notes"; then
  echo "strict_ptxas: the notes above are errors (tools/strict_ptxas.sh says what they mean)" >&2
  while [[ $# -gt 1 ]]; do
    [[ $1 == -o ]] && rm -f -- "$2"
    shift
  done
  exit 1
fi
exit $status
