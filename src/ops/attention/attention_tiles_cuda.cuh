// In which order the blocks of a persistent kernel take the tiles of attention: a tile is some queries of one
// head, and block i of n takes the tiles of places i, n + i, 2 n + i, ...
//
// Heads come in groups whose keys and values fit the L2 together. Where queries see unequal numbers of keys,
// a group's longest tiles come first and every second round is dealt backwards, so that who got long ones
// gets short ones next. The order changes no bit.
#pragma once
#include "ops/attention/attention_cuda.cuh"

namespace floe {

struct TileOrder {
  int tiles = 0;  // of a head
  int heads = 0;  // of all batch rows
  int group = 1;  // heads
  bool longest_first = false;

  static TileOrder of(const AttentionProblem& s, int rows) {
    TileOrder order;
    order.tiles = (s.queries + rows - 1) / rows;
    order.heads = s.batch * s.heads;
    order.longest_first = s.diagonal < s.keys - 1;
    constexpr int64_t kBytes = 24 << 20;  // of an H100's 50 MiB
    const int64_t head_bytes = static_cast<int64_t>(s.keys) * (s.width + s.value_width) * 2;
    int64_t group = 1;
    while (2 * group * head_bytes <= kBytes && group * s.group() < order.heads) group *= 2;
    order.group = static_cast<int>(group * s.group());
    return order;
  }

  int64_t count() const { return static_cast<int64_t>(tiles) * heads; }

  struct Place {
    int tile, head;
  };
  // Of this block's tile number `round`; tile < 0: there is none any more.
  __device__ Place at(int round) const {
    const int blocks = static_cast<int>(gridDim.x), block = static_cast<int>(blockIdx.x);
    const int from_start = longest_first && round % 2 == 1 ? blocks - 1 - block : block;
    const int place = round * blocks + from_start;
    if (place >= tiles * heads) return {-1, -1};
    const int whole = place / (group * tiles);
    const int rest = place - whole * group * tiles;
    const int first = whole * group;
    if (!longest_first) return {rest % tiles, first + rest / tiles};
    const int here = ::min(group, heads - first);
    return {tiles - 1 - rest / here, first + rest % here};
  }
};

}  // namespace floe
