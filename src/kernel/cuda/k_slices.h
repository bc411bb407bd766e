// How k is cut where C = A B has fewer tiles than a card has processors and k is long, as in the gradient of
// a weight over all rows of a batch. By the shape alone, so the sums' order does not depend on the card.
#pragma once
#include <cstddef>
#include <cstdint>

namespace floe {

struct KSlices {
  int64_t count = 1;   // of equal length; 1: k is not cut
  int64_t length = 0;  // a multiple of kStep where k is cut
  int64_t rest = 0;    // shorter than a slice

  static constexpr int64_t kStep = 64;
  static constexpr int64_t kMost = 64;                         // slices
  static constexpr int64_t kPartialBytes = int64_t{32} << 20;  // of all parts of C in f32

  int64_t parts() const { return count + (rest > 0 ? 1 : 0); }
};

KSlices k_slices(int64_t m, int64_t n, int64_t k);

}  // namespace floe
