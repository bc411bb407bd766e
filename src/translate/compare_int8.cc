#include "translate/compare_int8.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "base/error.h"
#include "compile/compile.h"
#include "ir/op.h"
#include "nn/transformer.h"
#include "ops/matmul/matmul.h"
#include "ops/matmul_int8/matmul_int8.h"
#include "ops/quantize/quantize.h"
#include "ops/reshape/reshape.h"
#include "passes/quantize.h"
#include "runtime/session.h"
#include "runtime/state.h"
#include "tensor/quantize.h"
#include "translate/quantize_model.h"

namespace floe {
namespace {

constexpr int64_t kBatchTokens = 512;  // five results of every product are kept at once

std::string codes_state(const std::string& weight) { return "int8." + weight; }

// The op's meaning in place of the op.
Values simulated(Builder& b, std::string_view op, const Values& inputs) {
  Node node;
  node.op = &b.graph().ops().get(op);
  return node.op->meaning(b, node, inputs);
}

// Appends to the scoring graph, for product number i: outputs "float.i", "fake.i", "real.i", "fake_codes.i",
// "codes.i".
class Comparison {
 public:
  Comparison(const ModelConfig& config, const QuantizePlan& plan) : graph_(scoring_graph(config, {})) {
    std::set<std::string, std::less<>> names;
    for (const auto& [name, scale] : plan) names.insert(name);
    products_ = product_inputs(graph_, names);
    Builder b(graph_);
    for (size_t i = 0; i < products_.size(); ++i)
      add(b, std::to_string(i), products_[i], plan.at(products_[i].weight));
    for (const NamedValue& input : graph_.inputs()) {
      if (input.name == "source") source_length_ = graph_.type(input.value).dim(1);
    }
  }

  const Graph& graph() const { return graph_; }
  const std::vector<ProductInput>& products() const { return products_; }
  bool of_source(size_t i) const { return graph_.type(products_[i].x).dim(1) == source_length_; }

 private:
  void add(Builder& b, const std::string& number, const ProductInput& product, InputScale kind) {
    const Node node = graph_.node(product.node);
    const Type weight = graph_.type(node.inputs[1]);
    const std::string state = codes_state(product.weight);
    const Value codes = b.state(state, {DType::i8, weight.dims});
    const Value scales = b.state(scale_name(state), {DType::f32, {weight.dim(0), Dim(1)}});
    const Value bias = node.inputs.size() > 2 ? node.inputs[2] : Value{};
    QuantizedRows real;
    Value fake, fake_scale;
    if (kind == InputScale::fixed) {
      real.scales = fake_scale = b.state(input_scale_name(state), {DType::f32, {}});
      real.codes = quantize(b, product.x, real.scales);
    } else {
      real = quantize_rows(b, product.x);
      fake_scale = scale_of_absmax(b, absmax(b, product.x, ScalePer::row));
    }
    fake = simulated(b, "quantize", {product.x, fake_scale})[0];
    b.output("float." + number, node.result());
    b.output("fake." + number,
             matmul(b, simulated(b, "dequantize", {fake, fake_scale})[0],
                    simulated(b, "dequantize", {codes, scales})[0], {.transpose_b = true, .bias = bias}));
    b.output("real." + number,
             matmul_int8(
                 b, {.a = real.codes, .a_scale = real.scales, .w = codes, .w_scale = scales, .bias = bias}));
    b.output("fake_codes." + number, fake);
    b.output("codes." + number, real.codes);
  }

  Graph graph_;
  std::vector<ProductInput> products_;
  Dim source_length_;
};

// Sums over batches, of which a comparison is made in the end.
struct Sums {
  ProductComparison out;
  double signal = 0, noise = 0;
  int64_t saturated = 0;
  std::vector<bool> alive;  // by input channel

  void add_results(const float* plain, const float* fake, const float* real, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      const double error = static_cast<double>(real[i]) - plain[i];
      signal += static_cast<double>(plain[i]) * plain[i];
      noise += error * error;
      out.worst = std::max(out.worst, std::fabs(error));
      out.fake_worst = std::max(out.fake_worst, std::fabs(static_cast<double>(real[i]) - fake[i]));
    }
  }
  void add_codes(const int8_t* fake, const int8_t* real, int64_t rows, int64_t channels) {
    alive.resize(static_cast<size_t>(channels), false);
    for (int64_t i = 0; i < rows * channels; ++i) {
      out.different_codes += fake[i] != real[i] ? 1 : 0;
      saturated += real[i] == 127 || real[i] == -127 ? 1 : 0;
      if (real[i] != 0) alive[static_cast<size_t>(i % channels)] = true;
    }
    out.rows += rows;
    out.codes += rows * channels;
  }
  ProductComparison result(const Tensor& weight) {
    const int64_t outputs = weight.shape()[0], inputs = weight.shape()[1];
    out.inputs = inputs;
    out.outputs = outputs;
    out.dead_inputs = inputs - std::count(alive.begin(), alive.end(), true);
    for (int64_t row = 0; row < outputs; ++row) {
      const int8_t* codes = weight.as<int8_t>() + row * inputs;
      out.dead_outputs += std::all_of(codes, codes + inputs, [](int8_t code) { return code == 0; }) ? 1 : 0;
    }
    out.rms = out.rows == 0 ? 0 : std::sqrt(signal / static_cast<double>(out.rows * outputs));
    out.sqnr_db = noise == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(signal / noise);
    out.saturated = out.codes == 0 ? 0 : static_cast<double>(saturated) / static_cast<double>(out.codes);
    return out;
  }
};

// A row of a batch, without its padding.
template <class T>
const T* row_of(const View& view, size_t row) {
  return view.as<T>() + static_cast<int64_t>(row) * view.dim(1) * view.dim(2);
}

void set_state(State& state, const ModelFile& model) {
  for (const auto& [name, tensor] : model.weights) state.set(name, copy_of(tensor));
}

}  // namespace

std::vector<ProductComparison> compare_products(const ModelFile& model, const ModelFile& quantized,
                                                std::span<const IdPair> pairs, Device& device) {
  KernelTable kernels;
  add_all_kernels(device.kind(), kernels);
  const QuantizePlan plan = quantize_plan(quantized.config, quantized.weights);
  const Comparison comparison(model.config, plan);
  State state(&device);
  set_state(state, model);
  for (const auto& [name, scale] : plan) {
    state.set(codes_state(name), copy_of(quantized.weights.at(name)));
    state.set(scale_name(codes_state(name)), copy_of(quantized.weights.at(scale_name(name))));
    if (scale == InputScale::fixed)
      state.set(input_scale_name(codes_state(name)), copy_of(quantized.weights.at(input_scale_name(name))));
  }
  Session session(compile({comparison.graph()}, kernels, {.device = device.kind()}), kernels, device, state);
  std::vector<Sums> sums(comparison.products().size());
  for_each_batch(model.config, pairs, kBatchTokens, [&](const PairBatch& batch) {
    session.run(comparison.graph().name(), batch.feeds(model.config));
    for (size_t i = 0; i < sums.size(); ++i) {
      const auto view = [&](const char* name) { return session.output(name + std::to_string(i)); };
      const View plain = view("float."), fake = view("fake."), real = view("real.");
      const View fake_codes = view("fake_codes."), codes = view("codes.");
      const auto& lengths = comparison.of_source(i) ? batch.source_tokens : batch.target_tokens;
      for (size_t row = 0; row < lengths.size(); ++row) {
        sums[i].add_results(row_of<float>(plain, row), row_of<float>(fake, row), row_of<float>(real, row),
                            lengths[row] * plain.dim(2));
        sums[i].add_codes(row_of<int8_t>(fake_codes, row), row_of<int8_t>(codes, row), lengths[row],
                          codes.dim(2));
      }
    }
  });
  std::vector<ProductComparison> out;
  for (size_t i = 0; i < sums.size(); ++i) {
    const std::string& weight = comparison.products()[i].weight;
    sums[i].out.weight = weight;
    out.push_back(sums[i].result(quantized.weights.at(weight)));
  }
  return out;
}

std::vector<double> token_log_probs(const ModelFile& model, std::span<const IdPair> pairs, Device& device,
                                    Int8 lowering) {
  KernelTable kernels;
  add_all_kernels(device.kind(), kernels);
  State state(&device);
  set_state(state, model);
  const Graph graph =
      int8_graph(scoring_graph(model.config, {}), quantize_plan(model.config, model.weights), lowering);
  Session session(compile({graph}, kernels, {.device = device.kind()}), kernels, device, state);
  std::vector<double> out;
  for_each_batch(model.config, pairs, kBatchTokens, [&](const PairBatch& batch) {
    session.run(graph.name(), batch.feeds(model.config));
    const View scores = session.output("scores");  // [B, T]
    for (size_t row = 0; row < batch.target_tokens.size(); ++row) {
      const float* at = scores.as<float>() + static_cast<int64_t>(row) * scores.dim(1);
      out.insert(out.end(), at, at + batch.target_tokens[row]);
    }
  });
  return out;
}

std::vector<Sensitivity> sensitivities(const ModelFile& model, const ModelFile& quantized,
                                       std::span<const IdPair> pairs, Device& device) {
  const std::vector<double> plain = token_log_probs(model, pairs, device);
  std::vector<Sensitivity> list;
  for (const auto& [name, kind] : quantize_plan(quantized.config, quantized.weights)) {
    const std::vector<double> got = token_log_probs(mixed_model(model, quantized, {name}), pairs, device);
    Sensitivity s{.weight = name};
    for (size_t i = 0; i < plain.size(); ++i) {
      s.log_prob_change += std::fabs(got[i] - plain[i]) / static_cast<double>(plain.size());
      s.loss_change += (plain[i] - got[i]) / static_cast<double>(plain.size());
    }
    list.push_back(std::move(s));
  }
  std::ranges::stable_sort(
      list, [](const Sensitivity& a, const Sensitivity& b) { return a.log_prob_change > b.log_prob_change; });
  return list;
}

}  // namespace floe
