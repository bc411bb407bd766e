// Tiny models that the tests of this room share.
#pragma once
#include <string>

#include "ir/evaluate.h"
#include "nn/config.h"
#include "nn/weights.h"

namespace floe {

inline ModelConfig tiny_model() {
  ModelConfig c;
  c.d_model = 8;
  c.encoder_layers = 1;
  c.decoder_layers = 2;
  c.heads = c.kv_heads = 2;
  c.d_ff = 12;
  c.source_vocabulary = c.target_vocabulary = 11;
  c.max_positions = 16;
  c.residual_dropout = 0;
  return c;
}

inline ModelConfig tiny_decoder() {
  ModelConfig c = tiny_model();
  c.architecture = Architecture::decoder_only;
  c.encoder_layers = 0;
  c.source_vocabulary = 0;
  return c;
}

// Norms' gains and all biases are moved off their start, so that a test sees them.
inline RefMap tiny_states(const ModelConfig& config, uint32_t seed = 7) {
  RefMap states;
  for (const WeightSpec& spec : weight_table(config)) {
    RefTensor value = ref_of(initial_weight(config, spec, seed));
    if (spec.init == Init::ones || spec.init == Init::zeros) {
      for (size_t i = 0; i < value.f.size(); ++i) value.f[i] += 0.1 * (static_cast<double>(i % 5) - 2);
    }
    states[spec.name] = std::move(value);
  }
  return states;
}

inline RefTensor ids(Shape shape, std::vector<int64_t> values) {
  RefTensor tensor(DType::i32, std::move(shape));
  tensor.i = std::move(values);
  return tensor;
}

}  // namespace floe
