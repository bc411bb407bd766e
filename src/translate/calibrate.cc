#include "translate/calibrate.h"

#include <set>

#include "base/error.h"
#include "compile/compile.h"
#include "nn/transformer.h"
#include "passes/quantize.h"
#include "runtime/session.h"
#include "runtime/state.h"
#include "translate/engine.h"
#include "translate/forced_pairs.h"

namespace floe {
namespace {

constexpr int64_t kDecodeRows = 64;

// The scoring graph with what comes to each product as outputs "x0", "x1", ...
class Observed {
 public:
  Observed(const ModelConfig& config, const std::vector<std::string>& weights)
      : graph_(scoring_graph(config, {})) {
    for (const ProductInput& input : product_inputs(graph_, {weights.begin(), weights.end()})) {
      taps_.push_back({input.weight, graph_.type(input.x).dim(1) == source_length()});
      graph_.add_output("x" + std::to_string(taps_.size() - 1), input.x);
    }
  }
  const Graph& graph() const { return graph_; }

  // Each sentence's own positions, and a sample's end after each.
  void count(const Session& session, const PairBatch& batch) {
    for (size_t i = 0; i < taps_.size(); ++i) {
      const View x = session.output("x" + std::to_string(i));  // [B, length, d]
      const std::vector<int64_t>& lengths = taps_[i].of_source ? batch.source_tokens : batch.target_tokens;
      RangeHistogram& histogram = histograms_[taps_[i].weight];
      for (size_t row = 0; row < lengths.size(); ++row) {
        const float* begin = x.as<float>() + static_cast<int64_t>(row) * x.dim(1) * x.dim(2);
        try {
          histogram.add({begin, static_cast<size_t>(lengths[row] * x.dim(2))});
        } catch (const Error& error) {
          fail_user("the input of '{}': {}", taps_[i].weight, error.what());
        }
        histogram.end_sample();
      }
    }
  }

  float range(const std::string& weight, const RangeOptions& options) const {
    const auto found = histograms_.find(weight);
    const bool nothing = found == histograms_.end() || found->second.values() == 0;
    if (nothing || found->second.largest() == 0)
      fail_user("the input of '{}' was {} in the calibration set", weight,
                nothing ? "never seen" : "always 0");
    return found->second.range(options);
  }

 private:
  struct Tap {
    std::string weight;
    bool of_source;
  };
  Dim source_length() const {
    for (const NamedValue& input : graph_.inputs()) {
      if (input.name == "source") return graph_.type(input.value).dim(1);
    }
    return {};
  }

  Graph graph_;
  std::vector<Tap> taps_;
  std::map<std::string, RangeHistogram, std::less<>> histograms_;
};

}  // namespace

Calibration calibrate(const ModelFile& model, const std::vector<std::string>& weights,
                      const std::function<bool(std::string&)>& next_line, Device& device,
                      const CalibrationOptions& options) {
  KernelTable kernels;
  add_all_kernels(device.kind(), kernels);
  State state(&device);
  for (const auto& [name, tensor] : model.weights) state.set(name, copy_of(tensor));
  DecodeEngine engine(model.config, state, kernels, device,
                      {.max_rows = kDecodeRows, .cache_positions = kDecodeRows * model.config.max_positions});
  Observed observed(model.config, weights);
  Session session(compile({observed.graph()}, kernels, {.device = device.kind()}), kernels, device, state);
  Calibration result;
  for (bool more = true; more;) {
    std::vector<std::string> lines;
    std::string line;
    while (static_cast<int64_t>(lines.size()) < options.chunk_lines && (more = next_line(line)))
      lines.push_back(line);
    const std::vector<IdPair> pairs = greedy_pairs(model.text, engine, lines);
    for_each_batch(model.config, pairs, options.batch_tokens, [&](const PairBatch& batch) {
      session.run(observed.graph().name(), batch.feeds(model.config));
      observed.count(session, batch);
      for (size_t i = 0; i < batch.source_tokens.size(); ++i)
        result.tokens += batch.source_tokens[i] + batch.target_tokens[i];
    });
    result.sentences += static_cast<int64_t>(pairs.size());
  }
  if (result.sentences < options.least_sentences)
    fail_user("{} sentences ({} tokens) are too few to calibrate with; {} is the least", result.sentences,
              result.tokens, options.least_sentences);
  for (const std::string& weight : weights) {
    // A table that is only looked up multiplies nothing.
    if (product_inputs(observed.graph(), {weight}).empty()) continue;
    result.ranges[weight] = observed.range(weight, options.range);
  }
  return result;
}

}  // namespace floe
