// In which order the blocks of a kernel take the tiles of attention: a tile is some queries of one head, and
// block i of n takes the tiles of places i, n + i, 2 n + i, ...
//
// Heads come in groups whose keys and values fit the L2 together. Where queries see unequal numbers of keys
// (a causal mask) there are two ways. A block for each tile: a group's longest tiles come first and the
// hardware hands them out. Or blocks that stay: they take pairs of the longest tile left of a head and the
// shortest, which together are as long as any other pair. The order changes no bit.
#pragma once
#include "ops/attention/attention_cuda.cuh"

namespace floe {

struct TileOrder {
  int tiles = 0;  // of a head
  int heads = 0;  // of all batch rows
  int group = 1;  // heads
  bool longest_first = false, pairs = false;

  static TileOrder of(const AttentionProblem& s, int rows, bool stays) {
    TileOrder order;
    order.tiles = (s.queries + rows - 1) / rows;
    order.heads = s.batch * s.heads;
    order.longest_first = s.diagonal < s.keys - 1;
    order.pairs = order.longest_first && stays;
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
  // Of this block's tile number `round`. head < 0: there is none any more; tile < 0: none this round.
  __device__ Place at(int round) const {
    const int blocks = static_cast<int>(gridDim.x), block = static_cast<int>(blockIdx.x);
    const int of_head = pairs ? (tiles + 1) / 2 : tiles;
    const int place = (pairs ? round / 2 : round) * blocks + block;
    if (place >= of_head * heads) return {-1, -1};
    const int whole = place / (group * of_head);
    const int rest = place - whole * group * of_head;
    const int first = whole * group;
    if (!longest_first) return {rest % tiles, first + rest / tiles};
    const int here = ::min(group, heads - first);
    const int from_longest = rest / here, head = first + rest % here;
    // The longest of an odd number of tiles has no partner.
    if (pairs && round % 2 == 1) return {from_longest - tiles % 2, head};
    return {tiles - 1 - from_longest, head};
  }
};

}  // namespace floe
