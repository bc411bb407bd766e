// Training steps that are measured: shapes of models, and batches of random ids for them.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "nn/config.h"
#include "train/batch_tensors.h"

namespace floe {

struct TrainCase {
  std::string name;
  int64_t d_model = 0, d_ff = 0, layers = 0, heads = 0, vocabulary = 0;
  int64_t batch = 0, source = 0, target = 0;
  double dropout = 0;
  int warmup = 0, steps = 0;
};

struct TrainCaseChoice {
  std::string which;   // a name, or all
  bool gpu = false;    // larger ones
  bool quick = false;  // one that is tiny, whatever `which` says
};
// Throws UsageError listing the names.
std::vector<TrainCase> train_cases(const TrainCaseChoice& choice);

// "base: 512/2048, 6+6 layers, 32000 pieces, batch 128x32"
std::string description(const TrainCase& c);

ModelConfig config_of(const TrainCase& c);

// Random ids that are no special ones, all sentences of full length: as train_peer.py draws them.
BatchTensors random_batch(const TrainCase& c);

}  // namespace floe
