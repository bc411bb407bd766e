#include "kernel/cuda/k_slices.h"

#include <algorithm>

namespace floe {
namespace {

// Of an H100, for bf16. A guess is enough: what is cut is measured against what is not.
constexpr int64_t kProcessors = 132;
constexpr int64_t kTile = 128;
constexpr double kTileStep = 6.8e-9;  // seconds for a tile and 1 of k: 600 TFLOP/s in all
constexpr double kFoldBytes = 4e12;   // a second, mostly in L2
constexpr double kLaunch = 3e-6;
constexpr int64_t kLeastSide = 32;  // of C

int64_t divided_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

double seconds(const KSlices& cut, int64_t m, int64_t n) {
  const int64_t tiles = divided_up(m, kTile) * divided_up(n, kTile);
  const auto product = [&](int64_t count, int64_t length) {
    return static_cast<double>(divided_up(tiles * count, kProcessors) * length) * kTileStep;
  };
  double time = product(cut.count, cut.length);
  if (cut.parts() == 1) return time;
  if (cut.rest > 0) time += product(1, cut.rest) + kLaunch;
  // A part is written and read.
  return time + kLaunch + static_cast<double>(cut.parts() * m * n * 8) / kFoldBytes;
}

}  // namespace

KSlices k_slices(int64_t m, int64_t n, int64_t k) {
  KSlices best{.count = 1, .length = k};
  if (std::min(m, n) < kLeastSide) return best;
  double least = seconds(best, m, n);
  for (int64_t wanted = 2; wanted <= KSlices::kMost; ++wanted) {
    KSlices cut;
    cut.length = k / wanted / KSlices::kStep * KSlices::kStep;
    if (cut.length == 0) break;
    cut.count = k / cut.length;
    cut.rest = k % cut.length;
    if (cut.count > KSlices::kMost || cut.parts() * m * n * 4 > KSlices::kPartialBytes) continue;
    const double time = seconds(cut, m, n);
    if (time >= least) continue;
    best = cut;
    least = time;
  }
  return best;
}

}  // namespace floe
