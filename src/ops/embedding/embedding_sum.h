// embedding_sum: what a decoder's first layer reads, tokens beside positions, at once: what a pass makes of
// two embeddings and their sum (passes/embedding_sums.h), so that a device starts one kernel.
//   table [V, d], ids i32 [...], added_table [P, d], added_ids i32 [...]
//   -> table[ids] * scale + added_table[added_ids], [..., d]
// Each operation is in f32 and rounded to f32, whatever the tables' types are; the sum is rounded to `out`.
#pragma once
#include "ir/builder.h"
#include "ir/op.h"

namespace floe {

struct EmbeddingSumArgs {
  Value table, ids, added_table, added_ids;
  double scale = 1;  // 1: no multiplication
  DType out = DType::f32;
};
Value embedding_sum(Builder& b, const EmbeddingSumArgs& args);

void define_embedding_sum(OpTable& table);  // a part of define_embedding

}  // namespace floe
