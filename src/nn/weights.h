// The table of weights of a model: what each is called, how large it is, how it starts, how it is cut over
// ranks. The loader, the checkpoint, the optimizer and every pass read this table or its marks on the graph's
// state nodes.
//
// Names are the place in the model: "encoder.0.self_attention.qkv.weight". Linear weights are [out, in].
// Merged rows:
//   self_attention.qkv    [(heads + 2 kv_heads) * head_dim, d_model]: queries, keys, values
//   cross_attention.kv    [2 kv_heads * head_dim, d_model]: keys, values
//   feed_forward.up       [d_ff, d_model]; swiglu [2 d_ff, d_model]: gate, up
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ir/builder.h"
#include "nn/config.h"
#include "tensor/tensor.h"

namespace floe {

enum class Init {
  xavier_uniform,  // U(-a, a), a = sqrt(6 / (rows + columns)) of the merged matrix (Glorot, Bengio, 2010)
  embedding,       // N(0, 1 / sqrt(d_model))
  ones,
  zeros,
  sinusoid,  // positions by the config's convention
};

struct WeightSpec {
  std::string name;
  Shape dims;
  Init init = Init::zeros;
  int shard_axis = -1;            // the dim cut over tensor-parallel ranks; -1: every rank holds it whole
  std::vector<int64_t> sections;  // of shard_axis, when merged: each is cut on its own
  bool may_quantize = false;      // a matrix product's weight
  bool trainable = true;          // false: a table made from the config, in no model file

  Type type() const;
  Attrs marks() const;  // trainable, may_quantize, shard_axis and shard_sections where there are any
};

// Of a config that validates; in the order in which the model uses them.
std::vector<WeightSpec> weight_table(const ModelConfig& config);

// Whether inference in bf16 keeps the weight as bf16: matrices, tables, and biases of products. Scales and
// shifts of norms stay f32.
bool is_product_weight(const WeightSpec& spec);

int64_t parameter_count(const ModelConfig& config);  // elements of trainable weights, tied ones once

using Weights = std::map<std::string, Tensor, std::less<>>;

// A weight's values depend on the seed and its own name and dims, not on the other weights.
Tensor initial_weight(const ModelConfig& config, const WeightSpec& spec, uint32_t seed);
Weights initial_weights(const ModelConfig& config, uint32_t seed);

// The rows that are made from the config and not stored; added to weights that came from a file.
void add_made_weights(const ModelConfig& config, Weights* weights);

// A weight that may_quantize may be INT8: codes i8 under its name, with the scales that tensor/quantize.h
// names beside it.
bool is_int8(const Weights& weights, std::string_view name);
bool has_int8(const Weights& weights);
// Codes become f32, their scales go.
Weights dequantized(Weights weights);

// Throws Error{user} naming the weight: one that is missing, too many, or of other dims or type than the
// table says. Made weights may be absent; weights may be INT8 where the table lets them.
void check_weights(const ModelConfig& config, const Weights& weights, std::string_view file);

}  // namespace floe
