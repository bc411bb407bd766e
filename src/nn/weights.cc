#include "nn/weights.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>

#include "base/error.h"
#include "tensor/philox.h"
#include "tensor/quantize.h"

namespace floe {
namespace {

class TableBuilder {
 public:
  explicit TableBuilder(const ModelConfig& config) : c_(config) {}

  std::vector<WeightSpec> take() {
    const int64_t d = c_.d_model;
    const bool shared = c_.tied == Tied::all || c_.tied == Tied::source_target;
    if (shared && c_.has_encoder()) {
      embedding("embedding.weight", c_.target_vocabulary);
    } else {
      if (c_.has_encoder()) embedding("encoder.embedding.weight", c_.source_vocabulary);
      embedding("decoder.embedding.weight", c_.target_vocabulary);
    }
    if (c_.positions == PositionKind::learned) {
      if (c_.has_encoder())
        rows_.push_back({"encoder.positions.weight", {c_.max_positions, d}, Init::embedding});
      rows_.push_back({"decoder.positions.weight", {c_.max_positions, d}, Init::embedding});
    }
    if (c_.positions == PositionKind::sinusoidal) {
      rows_.push_back({.name = "positions.sinusoid",
                       .dims = {c_.max_positions, d},
                       .init = Init::sinusoid,
                       .trainable = false});
    }
    for (int64_t i = 0; i < c_.encoder_layers; ++i) {
      const std::string layer = fmt::format("encoder.{}", i);
      self_attention(layer + ".self_attention");
      feed_forward(layer + ".feed_forward");
    }
    if (c_.has_encoder() && c_.norm_placement == NormPlacement::pre) norm("encoder");
    for (int64_t i = 0; i < c_.decoder_layers; ++i) {
      const std::string layer = fmt::format("decoder.{}", i);
      self_attention(layer + ".self_attention");
      if (c_.has_encoder()) cross_attention(layer + ".cross_attention");
      feed_forward(layer + ".feed_forward");
    }
    if (c_.norm_placement == NormPlacement::pre) norm("decoder");
    if (c_.tied == Tied::none || c_.tied == Tied::source_target) {
      rows_.push_back({.name = "output.weight",
                       .dims = {c_.target_vocabulary, d},
                       .init = Init::xavier_uniform,
                       .shard_axis = 0,
                       .may_quantize = true});
    }
    if (c_.output_bias) {
      rows_.push_back(
          {.name = "output.bias", .dims = {c_.target_vocabulary}, .init = Init::zeros, .shard_axis = 0});
    }
    return std::move(rows_);
  }

 private:
  void embedding(const std::string& name, int64_t rows) {
    rows_.push_back({.name = name,
                     .dims = {rows, c_.d_model},
                     .init = Init::embedding,
                     .shard_axis = 0,
                     .may_quantize = true});
  }
  void norm(const std::string& place) {
    rows_.push_back({place + ".norm.gamma", {c_.d_model}, Init::ones});
    if (c_.norm_kind == NormKind::layer_norm)
      rows_.push_back({place + ".norm.beta", {c_.d_model}, Init::zeros});
  }
  // Rows are cut: each rank computes some of the outputs.
  void column_parallel(const std::string& name, int64_t out, std::vector<int64_t> sections = {}) {
    rows_.push_back({.name = name + ".weight",
                     .dims = {out, c_.d_model},
                     .init = Init::xavier_uniform,
                     .shard_axis = 0,
                     .sections = sections,
                     .may_quantize = true});
    if (c_.biases) {
      rows_.push_back({.name = name + ".bias",
                       .dims = {out},
                       .init = Init::zeros,
                       .shard_axis = 0,
                       .sections = std::move(sections)});
    }
  }
  // Columns are cut: each rank's result is a part of the sum, and the bias is added once, after it.
  void row_parallel(const std::string& name, int64_t in) {
    rows_.push_back({.name = name + ".weight",
                     .dims = {c_.d_model, in},
                     .init = Init::xavier_uniform,
                     .shard_axis = 1,
                     .may_quantize = true});
    if (c_.biases) rows_.push_back({name + ".bias", {c_.d_model}, Init::zeros});
  }
  void self_attention(const std::string& place) {
    const int64_t q = c_.heads * c_.head_dim();
    const int64_t kv = c_.kv_heads * c_.head_dim();
    norm(place);
    column_parallel(place + ".qkv", q + 2 * kv, {q, kv, kv});
    row_parallel(place + ".out", q);
  }
  void cross_attention(const std::string& place) {
    const int64_t q = c_.heads * c_.head_dim();
    const int64_t kv = c_.kv_heads * c_.head_dim();
    norm(place);
    column_parallel(place + ".q", q);
    column_parallel(place + ".kv", 2 * kv, {kv, kv});
    row_parallel(place + ".out", q);
  }
  void feed_forward(const std::string& place) {
    norm(place);
    if (c_.activation == Activation::swiglu) {
      column_parallel(place + ".up", 2 * c_.d_ff, {c_.d_ff, c_.d_ff});
    } else {
      column_parallel(place + ".up", c_.d_ff);
    }
    row_parallel(place + ".down", c_.d_ff);
  }

  const ModelConfig& c_;
  std::vector<WeightSpec> rows_;
};

uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

// Uniform numbers in [0, 1) by index; streams of different names share no counter.
class NamedUniform {
 public:
  NamedUniform(uint32_t seed, std::string_view name) : seed_(seed), key_(fnv1a(name)) {}
  double operator()(int64_t index) const {
    const PhiloxCoordinates at{static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), 0,
                               static_cast<uint32_t>(key_ >> 32)};
    return philox_uniform(philox_bits(seed_, static_cast<uint32_t>(key_), at));
  }

 private:
  uint32_t seed_;
  uint64_t key_;
};

double normal_from(double u0, double u1) {  // Box and Muller, 1958; 1 - u0 lies in (0, 1]
  return std::sqrt(-2 * std::log(1 - u0)) * std::cos(2 * std::numbers::pi * u1);
}

// Angle of position `row` of the table in dimension pair i.
double sinusoid_angle(const ModelConfig& c, int64_t row, int64_t i) {
  const int64_t pairs = c.d_model / 2;
  const auto half = static_cast<double>(pairs);
  const bool spread_to_end = c.sinusoid != Sinusoid::interleaved && c.sinusoid != Sinusoid::hf_marian;
  const double exponent = static_cast<double>(i) / (spread_to_end ? half - 1 : half);
  const int64_t first = c.sinusoid == Sinusoid::opennmt   ? 1
                        : c.sinusoid == Sinusoid::fairseq ? c.pad_id + 1
                                                          : 0;
  return static_cast<double>(row + first) * std::pow(10000.0, -exponent);
}

void fill_sinusoid(const ModelConfig& c, Tensor* table) {
  const int64_t half = c.d_model / 2;
  for (int64_t row = 0; row < c.max_positions; ++row) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = sinusoid_angle(c, row, i);
      const bool interleaved = c.sinusoid == Sinusoid::interleaved;
      table->set(row * c.d_model + (interleaved ? 2 * i : i), std::sin(angle));
      table->set(row * c.d_model + (interleaved ? 2 * i + 1 : half + i), std::cos(angle));
    }
  }
}

}  // namespace

Type WeightSpec::type() const {
  Type type{DType::f32, {}};
  for (const int64_t dim : dims) type.dims.emplace_back(dim);
  return type;
}

Attrs WeightSpec::marks() const {
  Attrs attrs{{"trainable", trainable}, {"may_quantize", may_quantize}};
  if (shard_axis >= 0) attrs.set("shard_axis", int64_t{shard_axis});
  if (!sections.empty()) attrs.set("shard_sections", sections);
  return attrs;
}

std::vector<WeightSpec> weight_table(const ModelConfig& config) { return TableBuilder(config).take(); }

bool is_product_weight(const WeightSpec& spec) {
  return spec.dims.size() >= 2 || spec.name.ends_with(".bias");
}

int64_t parameter_count(const ModelConfig& config) {
  int64_t sum = 0;
  for (const WeightSpec& spec : weight_table(config)) sum += spec.trainable ? count(spec.dims) : 0;
  return sum;
}

Tensor initial_weight(const ModelConfig& config, const WeightSpec& spec, uint32_t seed) {
  Tensor tensor(DType::f32, spec.dims);
  const NamedUniform uniform(seed, spec.name);
  switch (spec.init) {
    case Init::xavier_uniform: {
      const double bound = std::sqrt(6.0 / static_cast<double>(spec.dims[0] + spec.dims[1]));
      for (int64_t i = 0; i < tensor.size(); ++i) tensor.set(i, bound * (2 * uniform(i) - 1));
      break;
    }
    case Init::embedding: {
      const double deviation = 1 / std::sqrt(static_cast<double>(config.d_model));
      for (int64_t i = 0; i < tensor.size(); ++i) {
        tensor.set(i, deviation * normal_from(uniform(2 * i), uniform(2 * i + 1)));
      }
      break;
    }
    case Init::ones:
      for (int64_t i = 0; i < tensor.size(); ++i) tensor.set(i, 1);
      break;
    case Init::zeros:
      break;
    case Init::sinusoid:
      fill_sinusoid(config, &tensor);
      break;
  }
  return tensor;
}

Weights initial_weights(const ModelConfig& config, uint32_t seed) {
  Weights weights;
  for (const WeightSpec& spec : weight_table(config)) weights[spec.name] = initial_weight(config, spec, seed);
  return weights;
}

void add_made_weights(const ModelConfig& config, Weights* weights) {
  for (const WeightSpec& spec : weight_table(config)) {
    if (!spec.trainable) (*weights)[spec.name] = initial_weight(config, spec, 0);
  }
}

bool is_int8(const Weights& weights, std::string_view name) {
  const auto found = weights.find(name);
  return found != weights.end() && found->second.dtype() == DType::i8;
}

bool has_int8(const Weights& weights) {
  return std::ranges::any_of(weights, [](const auto& row) { return row.second.dtype() == DType::i8; });
}

Weights dequantized(Weights weights) {
  Weights out;
  std::set<std::string, std::less<>> scales;
  for (const auto& [name, tensor] : weights) {
    if (tensor.dtype() != DType::i8) continue;
    scales.insert({scale_name(name), input_scale_name(name)});
    out.emplace(name, dequantize_rows(tensor, weights.at(scale_name(name))));
  }
  for (auto& [name, tensor] : weights) {
    if (scales.count(name) == 0) out.emplace(name, std::move(tensor));
  }
  return out;
}

void check_weights(const ModelConfig& config, const Weights& weights, std::string_view file) {
  const std::vector<WeightSpec> table = weight_table(config);
  std::set<std::string, std::less<>> known;
  const auto check = [&](const std::string& name, DType dtype, const Shape& shape) {
    known.insert(name);
    const auto found = weights.find(name);
    if (found == weights.end()) fail_user("{}: tensor '{}' is missing", file, name);
    const Tensor& tensor = found->second;
    if (tensor.dtype() != dtype || tensor.shape() != shape) {
      fail_user("{}: tensor '{}' must be {}{}, got {}{}", file, name, name_of(dtype), text_of(shape),
                name_of(tensor.dtype()), text_of(tensor.shape()));
    }
  };
  for (const WeightSpec& spec : table) {
    known.insert(spec.name);
    if (!spec.trainable && weights.find(spec.name) == weights.end()) continue;
    if (!spec.may_quantize || !is_int8(weights, spec.name)) {
      check(spec.name, DType::f32, spec.dims);
      continue;
    }
    check(spec.name, DType::i8, spec.dims);
    check(scale_name(spec.name), DType::f32, {spec.dims[0], 1});
    if (weights.contains(input_scale_name(spec.name))) check(input_scale_name(spec.name), DType::f32, {});
  }
  for (const auto& [name, tensor] : weights) {
    if (known.count(name) == 0) fail_user("{}: tensor '{}' has no place in this model", file, name);
  }
}

}  // namespace floe
