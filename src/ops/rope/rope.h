// rope: rotary position embedding (Su et al.: "RoFormer", 2021). x [B, S, H, D] with D even, positions i32
// [B, S]. Pair i of a head turns by positions * base^(-2i / D). Pairs are (i, i + D/2), or (2i, 2i + 1) when
// interleaved. `inverse` turns back, which is also the gradient.
#pragma once
#include "ir/builder.h"

namespace floe {

struct RopeOptions {
  double base = 10000.0;
  bool interleaved = false;
  bool inverse = false;
};
Value rope(Builder& b, Value x, Value positions, RopeOptions options = {});

}  // namespace floe
