// From a float model to an INT8 one: which weights become codes, and where their inputs' scales come from.
#pragma once
#include <set>
#include <string>
#include <vector>

#include "translate/calibrate.h"
#include "translate/model_file.h"

namespace floe {

struct QuantizeOptions {
  // Weights that stay float: names, or beginnings of names up to a dot ("encoder", "decoder.3.feed_forward").
  std::vector<std::string> keep_float;
};

struct QuantizeReport {
  std::vector<std::string> quantized, kept;  // weights that may be quantized
};

// Each row of a weight gets its own scale; a table that is tied is one weight and stays one. Throws
// Error{user}: a name of keep_float that fits no such weight, a weight that is not finite, a model that is
// INT8 already.
QuantizeReport quantize_model(ModelFile* model, const QuantizeOptions& options);

// The weights of `calibration` get its scales for what they are multiplied with; they must be INT8.
void set_input_scales(ModelFile* model, const Calibration& calibration);

// A copy of `model` whose weights of `int8` are those of `quantized`.
ModelFile mixed_model(const ModelFile& model, const ModelFile& quantized,
                      const std::set<std::string, std::less<>>& int8);

// The weights that may be quantized and that `keep_float` does not name, in the order of the model.
std::vector<std::string> int8_candidates(const ModelConfig& config,
                                         const std::vector<std::string>& keep_float);

}  // namespace floe
