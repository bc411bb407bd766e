// Tensor parallelism as a pass: from a graph for one device to the graph that each of `ways` ranks runs.
//
// Every value gets a placement: replicated, cut along a dim, or a partial sum. Cuts start at states that
// carry the mark shard_axis (dim index) and spread by each op's rule (OpDef::shard); where a value is not
// placed as the next op wants it, a collective is inserted. A column-parallel product followed by a
// row-parallel one so costs one all_reduce (Shoeybi et al., "Megatron-LM", 2019). The pass runs before
// autodiff: the collectives' own gradients give the backward pass its all_reduces, one for each whole value
// that meets cut ones.
//
// A merged weight (q, k, v in one) carries shard_sections, its lengths along shard_axis: each section is cut
// on its own, so a rank holds [q_r, k_r, v_r].
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "ir/graph.h"
#include "ops/collective/collective.h"
#include "tensor/tensor.h"

namespace floe {

struct ShardOptions {
  MeshAxis mesh;
};

// All ranks run the same graph. Outputs are whole on every rank. A state is cut where its marks say so and
// keeps them, with shard_ways added; a state that some op could only use after a gather (a vocabulary, as
// long as its ops have no rule for it) stays whole instead and loses the marks. Throws Error{user}: a length
// that `ways` does not divide (with the numbers of ways that fit), a partial sum given to an op that is not
// linear (naming it).
Graph shard(const Graph& graph, const ShardOptions& options);

// fan_out nodes do nothing once gradients are built: takes them out.
Graph drop_fan_outs(const Graph& graph);

// Which part of a state a rank holds; `marks` are those of the state node in the graph that shard() gave.
Tensor part_of(const Tensor& whole, const Attrs& marks, int64_t rank, int64_t ways);
// The whole state from all ranks' parts: checkpoints do not depend on the number of ways.
Tensor whole_of(std::span<const Tensor> parts, const Attrs& marks);

}  // namespace floe
