#include "translate/quantize_model.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "tensor/quantize.h"

namespace floe {
namespace {

bool begins_with_words(const std::string& name, const std::string& words) {
  return name.starts_with(words) && (name.size() == words.size() || name[words.size()] == '.');
}

}  // namespace

std::vector<std::string> int8_candidates(const ModelConfig& config,
                                         const std::vector<std::string>& keep_float) {
  std::vector<std::string> names;
  std::set<std::string> used;
  for (const WeightSpec& spec : weight_table(config)) {
    if (!spec.may_quantize) continue;
    bool keep = false;
    for (const std::string& words : keep_float) {
      if (!begins_with_words(spec.name, words)) continue;
      used.insert(words);
      keep = true;
    }
    if (!keep) names.push_back(spec.name);
  }
  for (const std::string& words : keep_float) {
    if (used.count(words) == 0)
      fail_user("'{}' is the name, or the beginning of the name, of no weight that may be INT8", words);
  }
  return names;
}

QuantizeReport quantize_model(ModelFile* model, const QuantizeOptions& options) {
  if (has_int8(model->weights)) fail_user("the model's weights are INT8 already");
  QuantizeReport report;
  report.quantized = int8_candidates(model->config, options.keep_float);
  for (const std::string& name : report.quantized) {
    QuantizedMatrix q = quantize_rows(model->weights.at(name), name);
    model->weights[name] = std::move(q.codes);
    model->weights[scale_name(name)] = std::move(q.scales);
  }
  for (const WeightSpec& spec : weight_table(model->config)) {
    if (spec.may_quantize && !is_int8(model->weights, spec.name)) report.kept.push_back(spec.name);
  }
  return report;
}

ModelFile mixed_model(const ModelFile& model, const ModelFile& quantized,
                      const std::set<std::string, std::less<>>& int8) {
  ModelFile out{
      .config = model.config, .text = model.text, .generation = model.generation, .notes = model.notes};
  for (const auto& [name, tensor] : model.weights) {
    if (int8.count(name) == 0) out.weights.emplace(name, copy_of(tensor));
  }
  for (const std::string& name : int8) {
    for (const std::string& part : {name, scale_name(name), input_scale_name(name)}) {
      const auto found = quantized.weights.find(part);
      if (found != quantized.weights.end()) out.weights.emplace(part, copy_of(found->second));
    }
  }
  return out;
}

void set_input_scales(ModelFile* model, const Calibration& calibration) {
  for (const auto& [weight, range] : calibration.ranges) {
    FLOE_CHECK(is_int8(model->weights, weight), "'{}' is calibrated and not INT8", weight);
    model->weights[input_scale_name(weight)] = Tensor::scalar(scale_for(range));
  }
}

}  // namespace floe
