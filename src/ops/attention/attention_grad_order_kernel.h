// In which order blocks of keys add their parts of dq, where several blocks hold the keys of one head.
//
// Floating-point sums depend on their order, so it is fixed: block n adds to query block m as number
// rank(n, m) and waits until that many have. The order follows a schedule in which nobody waits: all blocks
// start together and each takes one query block a step.
//   descending  block n starts at the first query block that sees one of its keys and walks up; the last
//               block of keys adds first. Work is handed out last block first, so a block only waits for such
//               as were handed out before it: right for any number of blocks. For causal masks.
//   rotated     all blocks see all queries; block n starts n * ratio query blocks on and walks round, so that
//               no two are at the same one. A block waits for its higher neighbour, round the ring, so all
//               blocks of a head must be able to run at once.
// Neither depends on how many queries there are beyond those that count, so padding changes no bit.
#pragma once

#if defined(__CUDACC__)
#define FLOE_HOST_DEVICE __host__ __device__
#else
#define FLOE_HOST_DEVICE
#endif

namespace floe {

struct GradOrder {
  int query_tile, key_tile;  // rows of a block
  int queries, length;       // of this row of the batch; length: keys that exist
  int diagonal;              // query i sees keys 0..i + diagonal
  bool rotated;

  // Whether all of a head's blocks may go round; `resident`: blocks that run at once.
  FLOE_HOST_DEVICE static bool can_rotate(int query_tile, int key_tile, int queries, int keys, int diagonal,
                                          int resident) {
    const int n = (keys + key_tile - 1) / key_tile, m = (queries + query_tile - 1) / query_tile;
    return diagonal >= keys && n <= resident && (n - 1) * (key_tile / query_tile) < m;
  }

  FLOE_HOST_DEVICE int query_blocks() const { return (queries + query_tile - 1) / query_tile; }
  // Blocks of keys that query block m sees: the first ones.
  FLOE_HOST_DEVICE int seen_blocks(int m) const {
    int last = (m + 1) * query_tile;
    if (last > queries) last = queries;
    int seen = last + diagonal;
    if (seen > length) seen = length;
    return seen > 0 ? (seen + key_tile - 1) / key_tile : 0;
  }
  // The first query block that sees a key of block n; query_blocks() where none does.
  FLOE_HOST_DEVICE int first(int n) const {
    const int blocks = query_blocks();
    if (n * key_tile >= length) return blocks;
    const int row = n * key_tile - diagonal;
    if (row >= queries) return blocks;
    return row > 0 ? row / query_tile : 0;
  }
  FLOE_HOST_DEVICE int steps(int n) const { return query_blocks() - first(n); }
  FLOE_HOST_DEVICE int ratio() const { return key_tile / query_tile; }
  // The query block of step i.
  FLOE_HOST_DEVICE int at(int n, int i) const {
    if (!rotated) return first(n) + i;
    const int m = n * ratio() + i, blocks = query_blocks();
    return m < blocks ? m : m - blocks;
  }
  FLOE_HOST_DEVICE int rank(int n, int m) const {
    const int seen = seen_blocks(m);
    if (!rotated) return seen - 1 - n;
    int top = m / ratio();  // the highest block that meets m before it goes round
    if (top > seen - 1) top = seen - 1;
    return n <= top ? top - n : top + seen - n;
  }
};

}  // namespace floe
