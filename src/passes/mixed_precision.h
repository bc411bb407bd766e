// bf16 where the work is, f32 where sums are: from a model's f32 graph to one whose products, attention,
// norms and embeddings read and write bf16 (Micikevicius et al., "Mixed precision training", 2018; bf16 needs
// no loss scaling). Run it on a loss graph before autodiff: weights stay f32 states that are cast where they
// are read, so their gradients arrive as f32 again and the optimizer sees the master weights.
//
// Element-by-element work stays f32 between two roundings: fusion takes the casts into its groups, so what
// lies in memory between kernels is bf16 and what lies in registers is not. A value that is read both as bf16
// and as f32 is the rounded one for both, so that only one copy of it need exist. Norms keep f32 scales,
// losses and statistics are f32.
#pragma once
#include <functional>
#include <string_view>

#include "ir/graph.h"

namespace floe {

enum class Precision { f32, bf16 };
std::string_view name_of(Precision value);
void parse(std::string_view text, Precision* value);  // throws Error{user} listing the names

Graph mixed_precision(const Graph& graph);

// States of f32 that `narrow` names are bf16 from here on: read through a cast, updated through one. For
// inference, before mixed_precision, whose casts of them then vanish in simplify: weights and caches are
// stored as they are read.
Graph narrow_states(const Graph& graph, const std::function<bool(std::string_view)>& narrow);

// A bf16 product that is read only as f32 gives f32 at once: the gradients of weights. After autodiff.
Graph widen_products(const Graph& graph);

}  // namespace floe
