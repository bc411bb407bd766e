// Fixed scales for the inputs of a model's products: the float model translates the lines of a calibration
// set, reads source and translation once more as whole sequences, and what comes to each product is counted
// (tensor/range_histogram.h). Memory does not grow with the set; padding is never counted; neither the order
// of the lines nor the batches change a scale.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "device/device.h"
#include "tensor/range_histogram.h"
#include "translate/model_file.h"

namespace floe {

struct CalibrationOptions {
  RangeOptions range;
  int64_t least_sentences = 16;
  int64_t batch_tokens = 2048;  // padded
  int64_t chunk_lines = 256;    // read and translated at once
};

struct Calibration {
  std::map<std::string, float, std::less<>> ranges;  // by weight: T of what it is multiplied with
  int64_t sentences = 0, tokens = 0;                 // source and target together
};

// `next_line` as in translate/stream.h. Throws Error{user}: fewer sentences than options.least_sentences
// (with both numbers), a product that saw no value or nothing but zeros (by its weight), an activation that
// is not finite.
Calibration calibrate(const ModelFile& model, const std::vector<std::string>& weights,
                      const std::function<bool(std::string&)>& next_line, Device& device,
                      const CalibrationOptions& options);

}  // namespace floe
