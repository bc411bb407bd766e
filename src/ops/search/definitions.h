// The parts of define_search.
#pragma once
#include "ir/op.h"

namespace floe {

void define_search_penalties(OpTable& table);
void define_beam(OpTable& table);
void define_sample(OpTable& table);
void define_turn(OpTable& table);

void require_i32(const InferArgs& args, int input, int rank, std::string_view name);
void require_dim(const InferArgs& args, int input, int axis, const Dim& dim, std::string_view name);

}  // namespace floe
