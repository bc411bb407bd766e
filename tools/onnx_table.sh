#!/usr/bin/env bash
# Writes docs/onnx-ops.md from a run of ONNX's node cases: tools/onnx_table.sh [BUILD_FOLDER]. Needs NumPy.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${1:-$root/build/dev}
python3 -c 'import numpy' || { echo "onnx_table: python3 cannot import numpy" >&2; exit 1; }
FLOE_ONNX_TABLE=$root/docs/onnx-ops.md "$build/tests/onnx/onnx_test" --gtest_filter='OnnxNodeCases.*' || true
git -C "$root" --no-pager diff --stat -- docs/onnx-ops.md
