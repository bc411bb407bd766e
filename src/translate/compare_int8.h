// What INT8 does to a model, product by product. Each product of the float model's graph gets, on the same
// input, its two INT8 forms: `real`, the kernels that translation runs, and `fake`, the same written out in
// float ops. So an error here is that product's own; errors of the products before it have no part in it.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "device/device.h"
#include "translate/forced_pairs.h"
#include "translate/int8.h"
#include "translate/model_file.h"

namespace floe {

struct ProductComparison {
  std::string weight;
  int64_t rows = 0;       // that were multiplied, padding left out
  double sqnr_db = 0;     // 10 log10 of the float result's energy over the error's; infinite without an error
  double worst = 0;       // largest |real - float|
  double rms = 0;         // of the float result
  double fake_worst = 0;  // largest |real - fake|: roundings of float sums
  int64_t codes = 0, different_codes = 0;  // of the input; real against fake, which must be none
  double saturated = 0;                    // share of the codes that are -127 or 127
  int64_t inputs = 0, dead_inputs = 0;     // channels whose code was never other than 0
  int64_t outputs = 0, dead_outputs = 0;   // rows of the weight that are 0
};

// `model` is float; `quantized` the same with INT8 weights, calibrated or not.
std::vector<ProductComparison> compare_products(const ModelFile& model, const ModelFile& quantized,
                                                std::span<const IdPair> pairs, Device& device);

// The pairs' targets as a model scores them, a number for each target token, batches of pairs one after the
// other. `lowering` is for a model that is INT8.
std::vector<double> token_log_probs(const ModelFile& model, std::span<const IdPair> pairs, Device& device,
                                    Int8 lowering = Int8::real);

struct Sensitivity {
  std::string weight;
  double log_prob_change = 0;  // mean over tokens of |log p - log p of the float model|
  double loss_change = 0;      // mean of -log p, minus the float model's
};
// Each weight alone INT8, all others float; what disturbs most comes first.
std::vector<Sensitivity> sensitivities(const ModelFile& model, const ModelFile& quantized,
                                       std::span<const IdPair> pairs, Device& device);

}  // namespace floe
