#include "translate/model_session.h"

#include <algorithm>

#include "runtime/state.h"
#include "translate/engine.h"
#include "translate/int8.h"

namespace floe {
namespace {

// A GPU's step of four times as many rows takes little longer; its memory is made sure of by fit_beam.
constexpr int64_t kGpuRoom = 4;

DecodeEngineOptions engine_options(const ModelConfig& config, const Device& device,
                                   const ModelSessionOptions& options) {
  DecodeEngineOptions engine;
  engine.cached = options.kv_cache;
  engine.precision = options.precision;
  if (!device.on_host()) {
    for (int64_t* room : {&engine.max_rows, &engine.cache_positions, &engine.source_positions})
      *room *= kGpuRoom;
  }
  // One sentence of the greatest length with the widest beam always fits.
  const int64_t beam = std::max<int64_t>(options.beam, 1);
  engine.fit_beam = beam;
  engine.max_rows = std::max(engine.max_rows, beam);
  engine.cache_positions = std::max(engine.cache_positions, beam * config.max_positions);
  engine.source_positions = std::max(engine.source_positions, config.max_positions);
  return engine;
}

}  // namespace

struct ModelSession::Parts {
  Parts(const ModelConfig& config, Weights weights, Device& device, const DecodeEngineOptions& options)
      : state(&device) {
    add_all_kernels(device.kind(), kernels);
    if (!runs_int8(device.kind(), kernels)) weights = dequantized(std::move(weights));
    for (auto& [name, tensor] : weights_for(options.precision, config, std::move(weights)))
      state.set(name, std::move(tensor));
    engine = std::make_unique<DecodeEngine>(config, state, kernels, device, options);
  }
  KernelTable kernels;
  State state;
  std::unique_ptr<DecodeEngine> engine;
};

ModelSession::ModelSession(ModelFile model, Device& device, const ModelSessionOptions& options)
    : config_(model.config),
      text_(std::move(model.text)),
      parts_(std::make_unique<Parts>(config_, std::move(model.weights), device,
                                     engine_options(config_, device, options))) {}

ModelSession::~ModelSession() = default;

Translator ModelSession::translator(const TranslatorOptions& options, Translator::Warn warn) {
  return Translator(text_, *parts_->engine, options, std::move(warn));
}

DecodeEngine& ModelSession::engine() { return *parts_->engine; }

}  // namespace floe
