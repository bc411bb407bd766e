#include "train_case.h"

#include <fmt/core.h>

#include <random>
#include <span>

#include "command.h"

namespace floe {
namespace {

// Shapes of the models that Floe ships and of those that the literature trains.
const TrainCase kCases[] = {
    {"multi30k", 128, 256, 4, 4, 10000, 128, 24, 24, 0.3, 2, 7},
    {"tatoeba", 256, 512, 3, 4, 8000, 128, 24, 24, 0.3, 2, 5},
    {"small", 256, 1024, 3, 4, 8000, 128, 24, 24, 0.1, 2, 5},
    {"base-16x32", 512, 2048, 6, 8, 32000, 16, 32, 32, 0.1, 1, 3},
    {"base-128x32", 512, 2048, 6, 8, 32000, 128, 32, 32, 0.1, 1, 1},
};
const TrainCase kGpuCases[] = {
    {"small", 256, 1024, 3, 4, 8000, 128, 24, 24, 0.1, 10, 60},
    {"base", 512, 2048, 6, 8, 32000, 128, 32, 32, 0.1, 10, 40},
    {"base-large", 512, 2048, 6, 8, 32000, 256, 64, 64, 0.1, 10, 20},
    {"big", 1024, 4096, 6, 16, 32000, 256, 64, 64, 0.1, 10, 20},
};
const TrainCase kQuick = {"quick", 32, 64, 1, 2, 100, 4, 6, 6, 0.1, 1, 2};

}  // namespace

std::vector<TrainCase> train_cases(const TrainCaseChoice& choice) {
  if (choice.quick) return {kQuick};
  std::vector<TrainCase> cases;
  std::string names = "all";
  for (const TrainCase& c :
       choice.gpu ? std::span<const TrainCase>(kGpuCases) : std::span<const TrainCase>(kCases)) {
    names += fmt::format(", {}", c.name);
    if (choice.which == "all" || choice.which == c.name) cases.push_back(c);
  }
  if (cases.empty()) throw UsageError(fmt::format("--case is one of {}, not '{}'", names, choice.which));
  return cases;
}

std::string description(const TrainCase& c) {
  return fmt::format("{}: {}/{}, {}+{} layers, {} pieces, batch {}x{}", c.name, c.d_model, c.d_ff, c.layers,
                     c.layers, c.vocabulary, c.batch, c.source);
}

ModelConfig config_of(const TrainCase& c) {
  ModelConfig config;
  config.d_model = c.d_model;
  config.d_ff = c.d_ff;
  config.encoder_layers = config.decoder_layers = c.layers;
  config.heads = config.kv_heads = c.heads;
  config.source_vocabulary = config.target_vocabulary = c.vocabulary;
  config.residual_dropout = c.dropout;
  config.pad_id = 0;
  config.start_id = 2;
  config.eos_id = 3;
  return config;
}

BatchTensors random_batch(const TrainCase& c) {
  const int64_t B = c.batch, S = c.source, T = c.target;
  std::mt19937 random(1);
  std::uniform_int_distribution<int32_t> draw(4, static_cast<int32_t>(c.vocabulary) - 1);
  BatchTensors batch{Tensor(DType::i32, {B, S}), Tensor(DType::i32, {B}), Tensor(DType::i32, {B, T}),
                     Tensor(DType::i32, {B, T}), Tensor(DType::i32, {B})};
  for (Tensor* ids : {&batch.source, &batch.target_out})
    for (int64_t i = 0; i < ids->size(); ++i) ids->as<int32_t>()[i] = draw(random);
  for (int64_t b = 0; b < B; ++b) {
    batch.source_lengths.as<int32_t>()[b] = static_cast<int32_t>(S);
    batch.ordinals.as<int32_t>()[b] = static_cast<int32_t>(b);
    for (int64_t t = 0; t < T; ++t)
      batch.target_in.as<int32_t>()[b * T + t] = t == 0 ? 2 : batch.target_out.as<int32_t>()[b * T + t - 1];
  }
  return batch;
}

}  // namespace floe
